"""Bad input gets a clear error and nothing else happens: as text, and as Python objects."""

import json
import math

import pytest
from drawing import draw, node
from hypothesis import given
from hypothesis import strategies as st
from shapes import fixture_names, load_fixture, test_loader

from rayflow_dagster.compiler.flow import MAX_BYTES, canonicalize, parse_flow, read_flow
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.errors import FlowFormatError

LOADER = test_loader()
VALID = draw({"s": "start", "r": "return"}, "s > r")


def with_ids(*ids):
    """A flow whose nodes have these ids."""
    return {"nodes": [{"id": each, "type": "start", "data": {}} for each in ids], "edges": []}


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


def circle() -> list:
    value: list = []
    value += [value, value]
    return value


TEXTS = {
    "empty": (b"", "not JSON"),
    "not JSON": (b"{nodes: []}", "line 1 column 2"),
    "cut off": (b'{"nodes": [', "not JSON"),
    "a tab in a text": (b'{"name": "\t"}', "Invalid control character at line 1 column 11"),
    "UTF-16": ('{"nodes": []}'.encode("utf-16"), "not UTF-8 (byte 0 is 0xff); save it as UTF-8"),
    "latin-1": ('{"a": "ü"}'.encode("latin-1"), "not UTF-8 (byte 7 is 0xfc)"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON value"),
    "Infinity": (b'{"a": [-Infinity]}', "-Infinity is not a JSON value"),
    "duplicate keys": (b'{"nodes": [], "nodes": []}', "the key 'nodes' stands twice"),
    "duplicate keys inside": (b'{"a": [{"b": 1, "b": 1}]}', "the key 'b' stands twice"),
    "a thousand levels": (b"[" * 1000 + b"]" * 1000, "nested deeper than 100 levels"),
    "a million levels": (b'{"a":' * 1_000_000, "nested deeper than 100 levels"),
    "a list": (b"[]", "not a list"),
    "a text": (b'"flow"', "not a str"),
    "null": (b"null", "not a NoneType"),
    "a number of many digits": (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
    "50 MB": (b" " * 50_000_000, "may have 20,971,520. Keep data out of the flow"),
}


@pytest.mark.parametrize(("text", "said"), TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_flow_is_refused(text, said, tmp_path):
    with pytest.raises(FlowFormatError) as caught:
        parse_flow(text, "x.json")
    assert said in str(caught.value)
    assert "in flow 'x.json'" in str(caught.value)
    file = tmp_path / "x.json"
    file.write_bytes(text)
    with pytest.raises(FlowFormatError) as read:
        read_flow(file)
    assert said in str(read.value)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    with pytest.raises(FlowFormatError, match="cannot be read: No such file"):
        read_flow(tmp_path / "missing.json")
    with pytest.raises(FlowFormatError, match="cannot be read"):
        read_flow(tmp_path)


def test_brackets_and_quotes_inside_texts_are_no_nesting():
    text = json.dumps({"a": "[" * 500 + '\\"' * 3 + "{" * 500 + "\\"})
    assert parse_flow(text) == json.loads(text)


def test_a_byte_order_mark_is_no_part_of_the_flow():
    assert parse_flow(b"\xef\xbb\xbf{}") == parse_flow("\ufeff{}") == {}


def test_a_flow_of_the_greatest_size_is_read():
    text = json.dumps({**VALID, "note": ""})
    text = text[:-2] + "x" * (MAX_BYTES - len(text)) + text[-2:]
    assert parse_flow(text)["nodes"] == VALID["nodes"]


FLOWS = {
    "no object": ([], "a flow is a JSON object, not list"),
    "None": (None, "a flow is a JSON object, not NoneType"),
    "nodes missing": ({"edges": []}, "nodes: is missing; list the flow's nodes"),
    "nodes no list": ({"nodes": {}}, "nodes: must be a list, not an object; list"),
    "nodes null": ({"nodes": None}, "nodes: must be a list, not null; list"),
    "a node no object": ({"nodes": [5]}, "not 5; list the flow's nodes there, each as"),
    "no node": ({"nodes": [], "edges": []}, "nodes: there are none; draw at least"),
    "edges no list": ({**VALID, "edges": {}}, "edges: must be a list"),
    "an edge without ends": (
        {**VALID, "edges": [{}]},
        "edges[0].source: is missing; name the node",
    ),
    "a number as id": (with_ids(5), "nodes[0].id: must be text, not 5"),
    "null as id": (with_ids(None), "nodes[0].id: must be text, not null; give it an id"),
    "an empty id": (with_ids(""), "nodes[0].id: must not be empty"),
    "a type that is no text": (
        {"nodes": [{"id": "a", "type": 5}]},
        "nodes[0].type (id 'a'): must be text, not 5",
    ),
    "a wired node that says nothing of itself": (
        {"nodes": [{"id": "a"}, {"id": "b"}], "edges": [{"source": "a", "target": "a"}]},
        "nodes[0].type (id 'a'): is missing; name its node class there",
    ),
    "nodes in a state of a program": (
        {"workflow": {"graph": VALID}},
        "nodes: they stand in 'workflow.graph' and not at the top",
    ),
    "nodes in one of several": ({"flows": [VALID, VALID]}, "they stand in 'flows[0]' and not"),
    "nodes in data": ({"id": 7, "data": {**VALID, "data": VALID}}, "they stand in 'data' and not"),
    "nodes in flow_data in an export": ({"flow": {"flow_data": VALID}}, "in 'flow.flow_data' and"),
    "wires in the nodes": (
        {
            "name": "sum",
            "nodes": [
                {"id": "entry", "type": "OnStart"},
                {"id": "add", "type": "Add", "exec_in": "entry", "inputs": {"a": 5, "b": 1}},
                {"id": "exit", "type": "FlowOutput", "inputs": {"result": "add.result"}},
            ],
        },
        "this is the format of Rayflow 1.x, whose wires stand in the nodes",
    ),
    "Rayflow's without a wire": (
        {
            "name": "none",
            "version": "1",
            "outputs": {},
            "variables": [],
            "events": [],
            "nodes": [{"id": "entry", "type": "OnStart"}],
        },
        "this is the format of Rayflow 1.x",
    ),
    "data no object": ({"nodes": [{"id": "a", "type": "start", "data": []}]}, "nodes[0].data"),
    "a thousand levels": ({**VALID, "note": deep(1000)}, "nested deeper than 100 levels"),
    "a circle": ({**VALID, "note": circle()}, "nested deeper than 100 levels"),
    "a deep constant": (
        draw({"s": "start", "x": node("constant", values={"VALUE": deep(100_000)})}, "s > x"),
        "nested deeper than 100 levels",
    ),
    "NaN": ({**VALID, "note": [math.nan]}, "note[0]: is nan, which is not a JSON value"),
    "infinity": ({**VALID, "note": math.inf}, "note: is inf, which is not a JSON value"),
    "a huge number": ({**VALID, "note": 10**10_000}, "note: is a number of more than 300 digits"),
    "a key that is no text": ({**VALID, "note": {5: 5}}, "note: has a key that is not text"),
    "a Python value": ({**VALID, "note": (1,)}, "note: is a Python tuple"),
    "a lone surrogate": (
        draw({"s": node("start", label="\ud83d")}, ""),
        "nodes[0].data.label: has half a character",
    ),
    "a lone surrogate in a key": (
        {**VALID, "note": {"\ud83d": 1}},
        "note: has a key that has half",
    ),
    "millions of values": ({**VALID, "note": [[0] * 1000] * 3000}, "more than 500,000 values"),
}


@pytest.mark.parametrize(("flow", "said"), FLOWS.values(), ids=FLOWS)
def test_an_object_that_is_no_flow_is_refused(flow, said):
    assert_is_refused(flow, said)


def test_a_flow_of_many_nodes_is_refused():
    """Made here: every process that loads the tests would have all these objects all the time."""
    said = "400,000 are more than a flow may have (5,000); split the flow"
    assert_is_refused(with_ids(*map(str, range(400_000))), said)


def assert_is_refused(flow, said):
    with pytest.raises(FlowFormatError) as caught:
        canonicalize(flow)
    assert said in str(caught.value)
    str(caught.value).encode()  # can be printed
    valid, errors = FlowValidator(LOADER).validate(flow)
    assert not valid
    assert said in "\n".join(errors)


@pytest.mark.parametrize("name", [name for name in FLOWS if name.startswith(("nodes in", "wires"))])
def test_a_drawing_in_another_form_is_one_finding(name):
    assert len(FlowValidator(LOADER).validate(FLOWS[name][0])[1]) == 1


def test_what_is_no_flow_is_one_outline_finding_per_problem():
    validator = FlowValidator(LOADER)
    validator.validate(with_ids(5, None, ""))
    assert [finding.rule for finding in validator.findings] == ["outline"] * 3


@pytest.mark.parametrize("label", ["größe", "合計 🎉", "שלום", "\u202eabc", "", " ", "a\nb", "\0"])
def test_labels_may_be_in_any_script(label):
    flow = draw(
        {"s": node("start", label=label), "x": node("math.add", label=label), "r": "return"},
        "s > x, x > r",
    )
    valid, errors = FlowValidator(LOADER).validate(flow)
    assert not valid
    assert len(errors) == 2
    assert all("node 'x'" in error for error in errors)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
IDS = st.sampled_from(["a", "b", "A", "", "error"]) | JSON
PORTS = (
    st.sampled_from(
        ["exec_out", "exec-in", "exec_in", "output-value", "value", "error", "true", "", "a"]
    )
    | JSON
)
KINDS = (
    st.sampled_from(
        [
            "start",
            "return",
            "math.add",
            "logic.branch",
            "custom",
            "variables.get_variable",
            "../x.py",
            "flow_nodes.identity.IdentityNode",
            "virtual://variables/get_1",
            "\0.py",
            ".py",
            "..py",
            "/",
        ]
    )
    | JSON
)
DATA = JSON | st.fixed_dictionaries(
    {},
    optional={
        "label": JSON,
        "inputs": JSON | st.dictionaries(st.sampled_from(["a", "value"]), JSON, max_size=2),
        "outputs": JSON,
        "constants": JSON,
        "constantValues": JSON | st.fixed_dictionaries({"VARIABLE": JSON, "value": JSON}),
        "configuredConstants": JSON,
        "path": KINDS,
        "config": JSON | st.fixed_dictionaries({"api_schema": JSON, "response_schema": JSON}),
        "retry": JSON,
        "ray": JSON,
        "tags": JSON,
        "pool": JSON,
    },
)
NODES = JSON | st.fixed_dictionaries({"id": IDS, "type": KINDS}, optional={"data": DATA})
EDGES = JSON | st.fixed_dictionaries(
    {"source": IDS, "target": IDS},
    optional={"id": IDS, "sourceHandle": PORTS, "targetHandle": PORTS, "type": KINDS},
)
LIKE_FLOWS = st.fixed_dictionaries(
    {"nodes": st.lists(NODES, max_size=4) | JSON, "edges": st.lists(EDGES, max_size=4) | JSON},
    optional={
        "variables": JSON,
        "on_error": JSON,
        "settings": JSON | st.fixed_dictionaries({"retry": JSON, "ray": JSON}),
        "name": JSON,
        "metadata": JSON,
    },
)


def assert_never_raises(flow) -> None:
    """Validating gives findings whatever comes, and canonicalising twice changes nothing."""
    valid, errors = FlowValidator(LOADER).validate(flow)
    assert valid is not bool(errors)
    "\n".join(errors).encode()
    try:
        once = canonicalize(flow, LOADER.registry)
    except FlowFormatError:
        assert not valid
    else:
        assert canonicalize(once, LOADER.registry) == once


@given(JSON | LIKE_FLOWS | st.fixed_dictionaries({"flow": LIKE_FLOWS | JSON, "metadata": JSON}))
def test_no_json_makes_the_validator_raise(flow):
    assert_never_raises(flow)


def places(value, trail=()):
    """The path of every value in ``value``."""
    yield trail
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*trail, key))


def places_of(name):
    return st.sampled_from([place for place in places(load_fixture(name)) if place])


@given(
    st.sampled_from(fixture_names()).flatmap(
        lambda name: st.tuples(st.just(name), st.lists(places_of(name), min_size=1, max_size=3))
    ),
    JSON | IDS | PORTS | KINDS,
)
def test_no_mutation_of_a_valid_flow_makes_the_validator_raise(chosen, value):
    name, mutated = chosen
    flow = load_fixture(name)
    for *trail, last in mutated:
        holder = flow
        for key in trail:
            try:
                holder = holder[key]
            except (KeyError, IndexError, TypeError):
                break  # an earlier mutation has taken this place away
        else:
            if isinstance(holder, dict) or (
                isinstance(holder, list) and last in range(len(holder))
            ):
                holder[last] = value
    assert_never_raises(flow)


@pytest.mark.parametrize("extra", [{"name": 5}, {"tags": []}, {"description": {}}], ids=str)
def test_a_wrong_title_does_not_hide_other_findings(extra):
    broken = {**VALID, **extra, "edges": [*VALID.get("edges", []), {"source": "a", "target": "?"}]}

    rules = {finding.rule for finding in FlowValidator().check(broken)}

    assert {"flow_options", "unknown_node"} <= rules


@pytest.mark.parametrize("node_id", ["  ", "a\nb", "a\x00", "\x1b[31m"])
def test_an_id_that_cannot_be_seen_is_refused(node_id):
    node = {"id": node_id, "type": "start"}

    messages = [str(finding) for finding in FlowValidator().check({"nodes": [node]})]

    assert "must be visible text on one line" in messages[0]
