"""Secrets: what is taken for one, where it is looked up, and what hides its value."""

import base64
import pickle
from typing import Any

import pytest
from drawing import draw, node
from running import execute
from shapes import TESTS

from rayflow_dagster import RayflowNode
from rayflow_dagster.cli.inputs import parse_value
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.defs.ops import start_config
from rayflow_dagster.errors import SecretError, VariableError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.port_types import accepts, parse_type
from rayflow_dagster.project import Project
from rayflow_dagster.secrets.lookup import SecretLookup, shown_error
from rayflow_dagster.secrets.references import Mask, Secret, has_secret, secrets_in, spelled
from rayflow_dagster.testing import in_process, run_node_locally
from rayflow_dagster.values.preview import preview

PROJECT = Project.at(TESTS, ["flow_nodes", "secret_nodes"])
VALUE = "s3cr3t-Zx9/qu'ote"
REFERENCE = {"$env": "RF_TOKEN"}


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RF_TOKEN", VALUE)
    return VALUE


@pytest.fixture
def local() -> FlowOrchestrator:
    return FlowOrchestrator(PROJECT, connect=in_process)


def _flow(kind: str = "secret_nodes.teller.ComputingNode", **data: Any) -> dict[str, Any]:
    inputs = data.pop("inputs", {"token": "any"})
    nodes = {
        "start": node("start", inputs=inputs),
        "n": node(kind, **data),
        "return_": "return",
    }
    return draw(nodes, "start > n, start.token - n.token, n > return_, n.count - return_.count")


def _identity(**start: Any) -> dict[str, Any]:
    nodes = {"start": node("start", inputs={"token": start}), "n": "identity", "return_": "return"}
    wires = "start > n, start.token - n.value, n > return_, n.value - return_.value"
    return draw(nodes, wires)


def test_a_reference_becomes_a_secret_at_any_depth_and_nothing_else_does() -> None:
    value = {"a": [REFERENCE, {"$env": 1}, {"$env": "A", "b": 1}, {"$env": ""}], "c": REFERENCE}

    found = secrets_in(value)

    assert found["a"] == [Secret("RF_TOKEN"), *value["a"][1:]]
    assert found["c"] == Secret("RF_TOKEN")
    assert spelled(found) == value
    plain = {"a": [1, {"b": 2}]}
    assert secrets_in(plain) is plain
    assert spelled(plain) is plain


def test_a_value_that_contains_itself_is_looked_through_once() -> None:
    circle: list[Any] = [1]
    circle.append(circle)

    assert not has_secret(circle)


def test_a_secret_travels_and_is_shown_as_its_reference() -> None:
    secret = Secret("RF_TOKEN")

    assert pickle.loads(pickle.dumps(secret)) == secret
    assert preview({"a": secret}) == '{\'a\': {"$env": "RF_TOKEN"}}'


@pytest.mark.parametrize(
    ("kind", "fits"),
    [("str", True), ("int", True), ("bool | None", True), ("any", True), ("list[str]", False)],
)
def test_a_secret_fits_where_a_text_can_become_the_value(kind: str, fits: bool) -> None:
    assert accepts(parse_type(kind), Secret("A")) is fits


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "42", 42), ("float", "1e3", 1000.0), ("bool", "Yes", True), ("str", "42", "42"),
        ("any", "42", "42"), ("int | None", "42", 42), ("int | str", "42", "42"),
    ],
)  # fmt: skip
def test_a_secret_becomes_a_value_of_the_declared_type(kind: str, text: str, value: Any) -> None:
    lookup = SecretLookup("n", {"A": text})

    found = lookup.looked_up(Secret("A"), "input 'x'", kind)

    assert found == value
    assert type(found) is type(value)


def test_a_secret_in_a_list_or_dict_becomes_a_value_of_the_items_type() -> None:
    lookup = SecretLookup("n", {"A": "42"})

    assert lookup.looked_up([1, Secret("A")], "input 'x'", "list[int] | None") == [1, 42]
    assert lookup.looked_up({"a": [Secret("A")]}, "input 'x'", "dict") == {"a": ["42"]}


def test_a_text_of_another_type_is_refused_without_being_shown() -> None:
    with pytest.raises(SecretError) as raised:
        SecretLookup("n", {"A": "s3cr3t"}).looked_up(Secret("A"), "input 'x'", "int")

    assert "input 'x': secret 'A': its value is not int" in str(raised.value)
    assert "s3cr3t" not in repr(vars(raised.value)) + str(raised.value)


def test_an_error_of_the_project_that_tells_a_value_stays_of_its_class() -> None:
    lookup = SecretLookup("n", {"A": "s3cr3t"})
    value = lookup.looked_up(Secret("A"), "input 'x'")

    shown = shown_error(VariableError(f"variable '{value}' is not declared"), lookup.mask)

    assert type(shown) is VariableError
    assert str(shown) == "variable '***' is not declared"


def test_only_the_very_text_that_was_handed_out_becomes_the_reference_again() -> None:
    lookup = SecretLookup("n", {"A": "s3cr3t"})
    given = lookup.looked_up({"a": [Secret("A")]}, "input 'x'")
    equal = "".join(["s3", "cr3t"])

    assert lookup.restored(given) == {"a": [Secret("A")]}
    assert lookup.restored([equal]) == ["s3cr3t"]


@pytest.mark.parametrize("kind", ["int", "float"])
def test_the_very_number_that_was_handed_out_becomes_the_reference_again(kind: str) -> None:
    lookup = SecretLookup("n", {"A": "48151623"})
    number = lookup.looked_up(Secret("A"), "input 'x'", kind)

    assert lookup.restored([number, 48151623.0]) == [Secret("A", kind), 48151623.0]
    assert lookup.mask.hide(f"{number!r}") == "***"


@pytest.mark.parametrize(
    ("kind", "text"),
    [("int", "256"), ("int", "-5"), ("bool", "yes"), ("str", ""), ("int", " 0256 ")],
)
def test_what_python_has_one_object_of_stays_a_value(kind: str, text: str) -> None:
    lookup = SecretLookup("n", {"A": text})
    value = lookup.looked_up(Secret("A"), "input 'x'", kind)

    assert lookup.restored([value]) == [value]
    assert type(lookup.restored(value)) is type(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("any", 4815), ("int", 4815), ("float", 4815), ("int | str", 4815), ("str", "4815"),
        ("int | None", 4815),
    ],
)  # fmt: skip
def test_a_number_that_was_handed_on_is_one_again_where_it_fits(kind: str, value: Any) -> None:
    found = SecretLookup("n", {"A": "4815"}).looked_up(Secret("A", "int"), "input 'x'", kind)

    assert found == value
    assert type(found) is type(value)


def test_a_secret_that_cannot_be_kept_from_view_is_not_handed_on() -> None:
    lookup = SecretLookup("n", {"A": "s3cr3t"})
    circle: list[Any] = [lookup.looked_up(Secret("A"), "input 'x'")]
    circle.append(circle)
    plain: list[Any] = []
    plain.append(plain)

    assert lookup.restored(plain) is plain
    with pytest.raises(ValueError, match="contains itself"):
        lookup.restored(circle)


def test_a_secret_in_any_plain_container_is_looked_up_handed_on_and_shown() -> None:
    held = {Secret("A"): (Secret("A"), {Secret("A")}, frozenset([(Secret("A"), 1)]))}
    lookup = SecretLookup("n", {"A": "s3cr3t"})
    given = lookup.looked_up(held, "input 'x'")

    assert given == {"s3cr3t": ("s3cr3t", {"s3cr3t"}, frozenset([("s3cr3t", 1)]))}
    assert lookup.restored(given) == held
    assert lookup.looked_up([(1, 2)], "input 'x'") == [(1, 2)]
    text = '{"$env": "A"}'
    assert spelled(held) == {text: ({"$env": "A"}, {text}, frozenset([(text, 1)]))}


@pytest.mark.parametrize(
    ("kind", "default", "told"),
    [
        ("list", REFERENCE, "a list or dict cannot come from one environment"),
        ("int", {"$env": "RAY_TOKEN"}, "RAY_TOKEN cannot be passed on"),
        ("int", {"$env": ""}, "cannot be the name of an environment variable"),
        ("int", {"$env": 5}, "the name of an environment variable is a text"),
        (
            "str",
            {"$env": "A", "x": 1},
            'a reference {"$env": "NAME"} to a secret has no other keys',
        ),
    ],
)
def test_a_wrong_reference_is_one_error_that_says_why(
    monkeypatch: pytest.MonkeyPatch, kind: str, default: Any, told: str
) -> None:
    monkeypatch.setenv("RF_TOKEN", VALUE)
    (problem,) = PROJECT.validator().validate(_identity(type=kind, default=default))[1]

    assert told in problem


def test_a_wrong_reference_deep_in_a_default_is_told_where_it_is_the_reason() -> None:
    def told(default: Any) -> list[str]:
        flow = _identity(type="dict[str, list[int]]", default=default)
        return PROJECT.validator().validate(flow)[1]

    (inner,) = told({"a": {"$env": "RF_TOKEN"}})
    (name,) = told({"a": [1, {"$env": "RAY_TOKEN"}]})
    (other,) = told({"a": ["x", {"$env": "RF_TOKEN"}]})

    assert "a list or dict cannot come from one environment variable" in inner
    assert "RAY_TOKEN cannot be passed on" in name
    assert "is not dict[str, list[int]]; correct one of the two" in other


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        ("str", {"$env": "RAY_X"}, "RAY_X cannot be passed on: names that begin with RAY_ are Ray"),
        ("list[str]", [{"$env": "RAY_X"}], "names that begin with RAY_ are Ray's own"),
        ("list", REFERENCE, 'takes list, not {"$env": "RF_TOKEN"}: a list or dict cannot come'),
        ("int", {"$env": "A", "x": 1}, "has no other keys"),
        ("int", {"a": 1}, "takes int, not {'a': 1}, which is dict"),
    ],
)
def test_a_wrong_reference_among_a_runs_inputs_says_why(
    local: FlowOrchestrator, kind: str, given: Any, told: str
) -> None:
    outcome = execute(local, _identity(type=kind), token=given)

    assert told in outcome["error"]


@pytest.mark.parametrize(
    "spelling",
    [
        VALUE, repr(VALUE), ascii(VALUE), f"x?key={VALUE.replace('/', '%2F')}", str(VALUE.encode()),
        f"cut here: '{VALUE[:9]}'...", f"{VALUE[:5]}...",
    ],
)  # fmt: skip
def test_the_mask_hides_a_value_in_its_spellings(spelling: str) -> None:
    mask = Mask()
    mask.add(VALUE)

    hidden = mask.hide(f"<{spelling}>")

    assert "***" in hidden
    assert "s3cr" not in hidden
    assert mask.hide("nothing of it") == "nothing of it"


def test_the_mask_hides_a_longer_value_before_one_that_it_begins_with() -> None:
    mask = Mask()
    mask.add("abcd")
    mask.add("abcdefgh")

    assert mask.hide("abcdefgh abcd") == "*** ***"


def test_the_mask_hides_the_lines_of_a_key() -> None:
    mask = Mask()
    mask.add("-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----")

    assert mask.hide("line 2 is MIIEvQIBADANBg") == "line 2 is ***"


def test_a_missing_variable_is_a_warning_and_a_set_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = _flow(
        "secret_nodes.teller.TellerNode", values={"KEY": REFERENCE, "HEADERS": {"a": [REFERENCE]}}
    )
    validator = FlowValidator(PROJECT.validator().node_loader)
    monkeypatch.delenv("RF_TOKEN", raising=False)
    list_of_findings = [each for each in validator.check(flow) if each.rule == "secret"]
    monkeypatch.setenv("RF_TOKEN", VALUE)
    afterwards = [each for each in validator.check(flow) if each.rule == "secret"]

    assert [(each.severity, each.node, each.port) for each in list_of_findings] == [
        ("warning", "n", "KEY"), ("warning", "n", "HEADERS"),
    ]  # fmt: skip
    assert "'RF_TOKEN' is not set in this process" in list_of_findings[0].message
    assert afterwards == []


@pytest.mark.parametrize("name", [3, "", "A=B", "RAY_AUTH"])
def test_a_reference_that_names_no_variable_is_an_error(name: Any) -> None:
    flow = _identity(type="any", default={"$env": name})

    findings = [each for each in PROJECT.validator().check(flow) if each.rule == "secret"]

    assert [(each.severity, each.node, each.port) for each in findings] == [
        ("error", "start", "token")
    ]


@pytest.mark.parametrize(
    ("literal", "what"),
    [
        ("postgresql://ada:s3cret@db/shop", "a URL with a password"),
        ({"headers": [{"Authorization": "Bearer abcdef123456"}]}, "a bearer token"),
        ("http://shop.example/a:b@c", None),
        ("the bearer waits", None),
    ],
)
def test_what_should_be_a_reference_is_a_warning_that_does_not_show_it(literal, what):
    flow = _identity(type="any", default=literal)
    found = [each for each in PROJECT.validator().check(flow) if each.rule == "secret"]
    assert [each.severity for each in found] == ["warning"] * (what is not None)
    assert all(f"has {what}, which" in str(each) for each in found)
    assert not any("s3cret" in str(each) or "abcdef" in str(each) for each in found)


def test_a_reference_fits_a_constant_and_a_default_of_a_plain_type_only() -> None:
    good = _identity(type="int", default=REFERENCE)
    bad = _identity(type="list[int]", default=REFERENCE)

    assert PROJECT.validator().validate(good) == (True, [])
    (problem,) = PROJECT.validator().validate(bad)[1]
    assert "is not list[int]" in problem


def test_a_value_that_is_only_passed_on_stays_the_reference(
    token: str, local: FlowOrchestrator
) -> None:
    by_default = execute(local, _identity(type="str", default=REFERENCE))
    nested = execute(local, _identity(type="dict"), token={"a": [REFERENCE, 1]})

    assert by_default["result"] == {"value": REFERENCE}
    assert nested["result"] == {"value": {"a": [REFERENCE, 1]}}


def test_a_node_gets_the_value_of_an_input_and_of_constants(
    token: str, local: FlowOrchestrator
) -> None:
    flow = _flow(
        "secret_nodes.teller.TellerNode", values={"KEY": REFERENCE, "HEADERS": {"a": [REFERENCE]}}
    )
    flow["edges"][-1]["sourceHandle"] = "size"
    flow["variables"] = {"kept": {"type": "str", "default": ""}}

    outcome = execute(local, flow, token=REFERENCE)

    assert outcome["error"] is None
    assert outcome["result"] == {"count": 2 * len(token)}


def test_a_variable_keeps_the_reference_and_a_reader_gets_the_value(
    token: str, local: FlowOrchestrator
) -> None:
    nodes = {
        "start": node("start", inputs={"token": "str"}),
        "set": node("variables.set_variable", values={"VARIABLE": "kept"}),
        "get": node("variables.get_variable", values={"VARIABLE": "kept"}),
        "n": "secret_nodes.teller.ComputingNode",
        "return_": "return",
    }
    wires = (
        "start > set, start.token - set.value, set > get, get > n, get.value - n.token,"
        "n > return_, n.header - return_.header, get.value - return_.kept"
    )
    flow = draw(nodes, wires, variables={"kept": {"type": "str", "default": ""}})

    outcome = execute(local, flow, token=REFERENCE)

    assert outcome["error"] is None
    assert outcome["result"] == {"header": f"Bearer {token}", "kept": REFERENCE}


def test_a_number_passes_through_a_variable_and_wires_of_any_type(
    monkeypatch: pytest.MonkeyPatch, local: FlowOrchestrator
) -> None:
    monkeypatch.setenv("RF_PORT", "54321")
    nodes = {
        "start": node("start", inputs={"port": "int"}),
        "keep": "secret_nodes.teller.KeepingNode",
        "n": "secret_nodes.teller.ComputingNode",
        "return_": "return",
    }
    wires = (
        "start > keep, start.port - keep.number, keep > n, keep.number - n.token,"
        "n > return_, n.header - return_.header, keep.number - return_.same, keep.sum - return_.sum"
    )
    flow = draw(nodes, wires, variables={"kept": {"type": "list[int]", "default": []}})

    outcome = execute(local, flow, port={"$env": "RF_PORT"})

    assert outcome["error"] is None
    assert outcome["result"] == {
        "header": "Bearer 54321", "same": {"$env": "RF_PORT"}, "sum": 54322,
    }  # fmt: skip


class _GivesReference(RayflowNode):
    inputs = {"token": "any"}
    outputs = {"value": "any"}

    def process(self, token: Any) -> dict[str, Any]:
        return {"value": {"$env": "RF_TOKEN"} if token is None else token}


def test_a_dict_of_that_shape_from_a_node_is_never_looked_up(token: str) -> None:
    computed = run_node_locally(_GivesReference, token=None)["value"]

    assert run_node_locally(_GivesReference, token=computed) == {"value": REFERENCE}


def test_a_missing_variable_fails_the_run_naming_it_the_node_and_the_input(
    monkeypatch: pytest.MonkeyPatch, local: FlowOrchestrator
) -> None:
    monkeypatch.delenv("RF_TOKEN", raising=False)

    outcome = execute(local, _flow(), token=REFERENCE)

    assert outcome["success"] is False
    assert "Node n failed: input 'token': secret 'RF_TOKEN'" in outcome["error"]
    assert "is not set where the node runs" in outcome["error"]


@pytest.mark.parametrize("kind", ["WrongOutputNode", "TellerNode"])
def test_an_error_hides_the_value(token: str, local: FlowOrchestrator, kind: str) -> None:
    flow = _flow(f"secret_nodes.teller.{kind}")
    flow["variables"] = {"kept": {"type": "str", "default": ""}}
    if kind == "TellerNode":
        flow["nodes"][1]["data"]["constantValues"] = {"KEY": REFERENCE, "fails": True}
        flow["edges"][-1]["sourceHandle"] = "size"

    outcome = execute(local, flow, token=REFERENCE)

    assert outcome["success"] is False
    assert "***" in outcome["error"]
    assert token[:4] not in outcome["error"]


def test_inputs_at_a_prompt_may_be_references() -> None:
    text = '{"$env": "RF_TOKEN"}'

    assert parse_value("str", text) == REFERENCE
    assert parse_value("int | None", text) == REFERENCE
    assert parse_value("str", '{"other": 1}') == '{"other": 1}'
    assert parse_value("list[str]", f"[{text}]") == [REFERENCE]
    with pytest.raises(ValueError, match="as JSON it is dict"):
        parse_value("list[str]", text)
    with pytest.raises(ValueError, match="names that begin with RAY_ are Ray's own"):
        parse_value("str", '{"$env": "RAY_TOKEN"}')
    assert parse_value("dict", '{"$env": 5}') == {"$env": 5}


def test_the_launchpad_fills_in_a_scalar_and_takes_a_reference() -> None:
    field = start_config({"a": "int", "b": "list[str]"}, {"a": REFERENCE}, {})["a"]

    assert field.default_value == REFERENCE
    assert field.config_type.scalar_type.given_name == "Int"  # what the launchpad scaffolds


def test_base64_of_a_value_is_the_authors_own() -> None:
    mask = Mask()
    mask.add(VALUE)
    text = base64.b64encode(VALUE.encode()).decode()

    assert mask.hide(text) == text
