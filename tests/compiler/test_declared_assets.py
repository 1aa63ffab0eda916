"""What a flow's nodes declare as assets, and what the validator says of it."""

from typing import Any

import pytest
from drawing import draw, node

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.starts.assets import declared_assets
from rayflow_dagster.compiler.validator import FlowValidator


def flow_with(asset: Any, **keys: Any) -> dict[str, Any]:
    """A flow whose node ``x`` has one output and ``asset``."""
    nodes = {
        "s": node("start", inputs={"a": {"type": "int", "default": 1}}),
        "x": node("identity", asset=asset),
        "r": "return",
    }
    return draw(nodes, "s > x, x > r, s.a - x.value, x.value - r.a", **keys)


def findings(loader: NodeLoader, flow: dict[str, Any]) -> list[Finding]:
    return list(FlowValidator(loader).check(flow))


def declared(loader: NodeLoader, flow: dict[str, Any]) -> dict[str, Any]:
    """Key -> the declared asset."""
    found = declared_assets(FlowValidator(loader).require_valid(flow))
    return {"/".join(asset.path): asset for asset in found}


FULL = {
    "key": ["reports", "daily"],
    "group": "reports",
    "deps": ["raw/orders", ["raw", "prices"]],
    "description": "What was sold.",
    "output": "value",
    "metadata": {"owner": "sales", "limits": [1, 2]},
}


def test_an_asset_may_say_all_that_it_can(loader: NodeLoader) -> None:
    flow = flow_with(FULL)

    asset = declared(loader, flow)["reports/daily"]

    assert findings(loader, flow) == []
    assert (asset.node, asset.output, asset.options.group) == ("x", "value", "reports")
    assert asset.deps == (("raw", "orders"), ("raw", "prices"))


def test_the_one_output_of_a_node_needs_no_name(loader: NodeLoader) -> None:
    assert declared(loader, flow_with({"key": "a"}))["a"].output == "value"


@pytest.mark.parametrize("asset", [{"key": "a/b"}, {"key": ["a", "b"]}])
def test_a_key_is_text_or_its_parts(loader: NodeLoader, asset: Any) -> None:
    assert declared(loader, flow_with(asset))["a/b"].path == ("a", "b")


def test_null_is_no_asset(loader: NodeLoader) -> None:
    assert findings(loader, flow_with(None)) == []
    assert declared(loader, flow_with(None)) == {}


@pytest.mark.parametrize(
    ("asset", "said"),
    [
        ("a/b", "data.asset: must be an object with keys, {...}, not 'a/b'"),
        ({}, "data.asset.key: is missing"),
        ({"key": 5}, "data.asset.key: must be a key such as 'reports/daily'"),
        ({"key": [5]}, "data.asset.key: must be a key such as 'reports/daily'"),
        ({"key": "a", "deps": "b"}, "data.asset.deps: must be a list of keys, not 'b'"),
        ({"key": "a", "deps": ["b", 5]}, "data.asset.deps[1]: must be a key such as"),
        ({"key": "a", "group": "my group"}, "data.asset.group: must be a name of letters"),
        ({"key": "a", "description": 5}, "data.asset.description: must be text, not 5"),
        ({"key": "a", "metadata": []}, "data.asset.metadata: must be an object with keys"),
        ({"key": "a", "metadata": {"dagster/row_count": "x"}}, "are Dagster's own"),
        ({"key": "a", "grup": "g"}, "data.asset.grup: there is no such key"),
        ({"key": "a", "grup": "g"}, "did you mean 'group'?"),
        ({"key": "a", "output": "valu"}, "no output 'valu' (known: value); did you mean 'value'?"),
        ({"key": ""}, "data.asset.key: a part is empty in ''"),
        ({"key": "a//b"}, "data.asset.key: a part is empty in 'a//b'"),
        ({"key": []}, "data.asset.key: a part is empty in []"),
        ({"key": "a b"}, "data.asset.key: 'a b' cannot be a part of it"),
        ({"key": ["a/b"]}, "data.asset.key: 'a/b' cannot be a part of it"),
        ({"key": "a*"}, "data.asset.key: 'a*' cannot be a part of it"),
        ({"key": "a", "deps": ["b c"]}, "data.asset.deps[0]: 'b c' cannot be a part of it"),
    ],
)
def test_a_wrong_form_is_one_finding_that_tells_the_place(
    loader: NodeLoader, asset: Any, said: str
) -> None:
    (finding,) = findings(loader, flow_with(asset))

    assert (finding.rule, finding.severity, finding.node) == ("asset", "error", "x")
    assert said in finding.message
    assert "node 'x' data.asset" in finding.message


def test_parts_of_a_key_may_be_in_any_script(loader: NodeLoader) -> None:
    assert findings(loader, flow_with({"key": "Größe/日本-v1.2_x"})) == []


def test_of_several_outputs_one_must_be_named(loader: NodeLoader) -> None:
    inputs = {name: {"type": "int", "default": 1} for name in ("a", "b")}
    nodes = {"s": node("start", inputs=inputs, asset={"key": "k"}), "r": "return"}

    (finding,) = findings(loader, draw(nodes, "s > r, s.a - r.a"))

    assert "say with 'output' which of the node's outputs it is (known: a, b)" in finding.message


def test_a_node_without_outputs_has_no_asset(loader: NodeLoader) -> None:
    nodes = {"s": "start", "b": node("logic.branch", asset={"key": "k"}), "r": "return"}
    nodes["b"]["data"]["constantValues"] = {"condition": True}  # type: ignore[index]

    found = findings(loader, draw(nodes, "s > b, b.true > r"))

    assert [f.message for f in found if f.rule == "asset"] == [
        "node 'b' data.asset.output: the node has no output that could be an asset"
    ]


def test_the_asset_of_return_is_the_whole_result(loader: NodeLoader) -> None:
    def returning(asset: dict[str, Any]) -> dict[str, Any]:
        nodes = {"s": node("start", inputs={"a": "int"}), "r": node("return", asset=asset)}
        return draw(nodes, "s > r, s.a - r.a")

    (finding,) = findings(loader, returning({"key": "k", "output": "a"}))

    assert "RETURN's asset is the whole result" in finding.message
    assert declared(loader, returning({"key": "k"}))["k"].output is None


def chain(first: Any, second: Any, last: Any = None, **keys: Any) -> dict[str, Any]:
    """START, two nodes and RETURN in a row; the second START input goes by them."""
    nodes = {
        "s": node("start", inputs={"a": "int", "b": {"type": "int", "default": 1}}),
        "x": node("identity", asset=first),
        "y": node("identity", asset=second),
        "r": node("return", asset=last),
    }
    wires = "s > x, x > y, y > r, s.a - x.value, x.value - y.value, y.value - r.y, s.b - r.b"
    return draw(nodes, wires, **keys)


def test_two_nodes_with_one_key_are_a_finding_that_names_both(loader: NodeLoader) -> None:
    (finding,) = findings(loader, chain({"key": "a/b"}, {"key": ["a", "b"]}))

    assert (finding.rule, finding.node) == ("asset_key", "y")
    assert "node 'x' has the asset 'a/b' as well" in finding.message


def test_an_asset_that_depends_on_itself_is_a_finding(loader: NodeLoader) -> None:
    (finding,) = findings(loader, flow_with({"key": "a/b", "deps": [["a", "b"]]}))

    assert (finding.rule, finding.node) == ("asset_deps", "x")
    assert "an asset cannot depend on itself ('a/b')" in finding.message


def test_deps_against_the_wires_are_a_finding(loader: NodeLoader) -> None:
    (finding,) = findings(loader, chain({"key": "a", "deps": ["b"]}, {"key": "b"}))

    assert finding.rule == "asset_deps"
    assert "the assets 'a', 'b' depend on each other in a circle" in finding.message


def test_a_misspelled_key_of_data_is_pointed_at(loader: NodeLoader) -> None:
    flow = flow_with(None)
    flow["nodes"][1]["data"] = {"assets": {"key": "a"}}

    (finding,) = findings(loader, flow)

    assert (finding.rule, finding.severity) == ("misspelled_option", "warning")
    assert "did you mean 'asset'?" in finding.message


def test_wires_tell_what_an_asset_is_made_from(loader: NodeLoader) -> None:
    found = declared(loader, chain({"key": "a"}, {"key": "b"}, {"key": "c"}))
    through = declared(loader, chain({"key": "a"}, None, {"key": "c", "deps": ["a", "z"]}))

    assert found["a"].deps == ()
    assert found["b"].deps == (("a",),)
    assert found["c"].deps == (("b",),)
    assert through["c"].deps == (("a",), ("z",))


def sensor(**inputs: Any) -> dict[str, Any]:
    return {"type": "flow", "flow": "Other flow", "inputs": inputs}


def test_a_result_that_a_sensor_gives_to_start_leads_to_the_assets_behind_it(
    loader: NodeLoader,
) -> None:
    assets = ({"key": "a"}, {"key": "b"}, {"key": "c"})
    first = chain(*assets, sensors=[sensor(a="{{ result.total }}")])
    second = chain(*assets, sensors=[sensor(a=1, b="{{ result.total }}")])
    none = chain(*assets, sensors=[sensor(a=7)])

    def flows(flow: dict[str, Any]) -> dict[str, Any]:
        return {key: asset.flows for key, asset in declared(loader, flow).items()}

    assert flows(first) == {"a": ("Other flow",), "b": (), "c": ()}
    assert flows(second) == {"a": (), "b": (), "c": ("Other flow",)}
    assert flows(none) == {"a": (), "b": (), "c": ()}
