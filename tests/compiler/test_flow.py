"""Every spelling of a flow has one canonical form."""

import copy

import pytest
from drawing import draw, node
from shapes import FIXTURES, fixture_names, load_fixture

from rayflow_dagster.compiler.flow import canonical_bytes, canonicalize, flow_hash, read_flow
from rayflow_dagster.types import GET_VARIABLE_CLASS, RETURN_CLASS, SET_VARIABLE_CLASS, START_CLASS

ADD = "rayflow_dagster.nodes.math.add.AddNode"
SITE = "/home/ann/.venv/lib/python3.12/site-packages/rayflow/nodes"


@pytest.mark.parametrize("name", fixture_names())
def test_canonicalising_twice_changes_nothing(name, loader):
    once = canonicalize(load_fixture(name), loader.registry)
    assert canonicalize(once, loader.registry) == once


@pytest.mark.parametrize("name", fixture_names())
def test_the_raw_flow_is_not_changed(name, loader):
    raw = load_fixture(name)
    before = copy.deepcopy(raw)
    canonicalize(raw, loader.registry)
    assert raw == before


@pytest.mark.parametrize("name", fixture_names())
def test_a_file_is_read_as_it_stands(name):
    assert read_flow(FIXTURES / f"{name}.json") == load_fixture(name)


@pytest.mark.parametrize(
    ("spelling", "class_path"),
    [
        ("start", START_CLASS),
        ("base.start", START_CLASS),
        ("return", RETURN_CLASS),
        ("base.return", RETURN_CLASS),
        ("rayflow.nodes.base.return_.ReturnNode", RETURN_CLASS),
        ("rayflow.nodes.base.return.ReturnNode", RETURN_CLASS),
        ("math.add", ADD),
        (ADD, ADD),
        ("rayflow.nodes.math.add.AddNode", ADD),
        ("rayflow.nodes.math.add.MathAddNode", ADD),
        ("logic.and", "rayflow_dagster.nodes.logic.and_.AndNode"),
        ("logic.not", "rayflow_dagster.nodes.logic.not_.NotNode"),
        ("variables.get_variable", GET_VARIABLE_CLASS),
        ("flow_nodes.add.AddNode", "flow_nodes.add.AddNode"),
        ("no.such.Node", "no.such.Node"),
    ],
)
def test_a_class_may_be_spelled_in_many_ways(loader, spelling, class_path):
    (drawn,) = canonicalize({"nodes": [{"id": "x", "type": spelling}]}, loader.registry)["nodes"]
    assert drawn["type"] == class_path


@pytest.mark.parametrize(
    ("path", "class_path"),
    [
        (f"{SITE}/math/add.py", ADD),
        (f"{SITE}/base/return.py", RETURN_CLASS),
        ("C:\\venv\\rayflow\\nodes\\math\\add.py", ADD),
        ("rayflow/nodes/base/start.py", START_CLASS),
        ("flow_nodes/add.py", "flow_nodes.add.AddNode"),
        ("./flow_nodes/add.py", "flow_nodes.add.AddNode"),
        ("virtual://variables/get_17", GET_VARIABLE_CLASS),
        ("virtual://variables/set_17", SET_VARIABLE_CLASS),
        ("virtual://variables/drop_17", "virtual://variables/drop_17"),
        ("math.add", ADD),
        ("../secret.py", "../secret.py"),
    ],
)
def test_an_editor_names_the_class_in_data_path(loader, path, class_path):
    drawn = {"id": "x", "type": "custom", "data": {"path": path}}
    (canonical,) = canonicalize({"nodes": [drawn]}, loader.registry)["nodes"]
    assert canonical["type"] == class_path


def test_a_file_of_an_allowed_root_may_be_named_absolutely(loader):
    path = str(FIXTURES.parent / "flow_nodes" / "add.py")
    drawn = {"id": "x", "type": "custom", "data": {"path": path}}
    (canonical,) = canonicalize({"nodes": [drawn]}, loader.registry)["nodes"]
    assert canonical["type"] == "flow_nodes.add.AddNode"


@pytest.mark.parametrize(
    "box",
    [
        {"type": "group", "data": {}},
        {"type": "stickyNote", "data": {"text": "mind the gap"}},
        {"type": "custom", "data": {"path": ""}},
        {"type": "custom", "data": {"path": "images/logo one.png"}},
        {"data": {"label": "a title"}},
        {"type": None, "data": None},
        {"type": "n8n-nodes-base.stickyNote"},
    ],
)
def test_what_is_not_wired_and_names_no_class_is_decoration(loader, box):
    flow = draw({"s": "start", "r": "return"}, "s > r")
    flow["nodes"].insert(1, {"id": "g", **box})
    canonical = canonicalize(flow, loader.registry)
    assert [each["id"] for each in canonical["nodes"]] == ["s", "r"]
    assert canonical["decoration"] == [{"id": "g", **box}]
    assert canonicalize(canonical, loader.registry) == canonical


@pytest.mark.parametrize(
    "named",
    [
        {"type": "start"},
        {"type": "math.ad"},
        {"type": "nodes.gone.GoneNode"},
        {"type": "custom", "data": {"path": "nodes/gone.py"}},
        {"data": {"path": "nodes.gone.GoneNode"}},
        {"type": None, "data": {"path": "virtual://variables/get_x"}},
    ],
)
def test_what_names_a_class_is_a_node_though_nothing_is_wired(loader, named):
    (canonical,) = canonicalize({"nodes": [{"id": "g", **named}]}, loader.registry)["nodes"]
    assert canonical["id"] == "g"


def test_what_is_wired_is_a_node_whatever_its_type(loader):
    flow = draw({"s": "start", "n": "noteNode", "r": "return"}, "s > n, n > r")
    assert [each["id"] for each in canonicalize(flow, loader.registry)["nodes"]] == ["s", "n", "r"]


def edge_of(flow, loader):
    (edge,) = canonicalize(flow, loader.registry)["edges"]
    return edge["sourceHandle"], edge["targetHandle"], edge["type"]


@pytest.mark.parametrize(
    ("edge", "canonical"),
    [
        ({}, ("exec_out", "exec_in", "exec")),
        ({"type": "exec"}, ("exec_out", "exec_in", "exec")),
        (
            {"sourceHandle": "exec-out", "targetHandle": "exec-in", "type": "smoothstep"},
            ("exec_out", "exec_in", "exec"),
        ),
        ({"sourceHandle": "exec-true", "targetHandle": "exec-in"}, ("true", "exec_in", "exec")),
        ({"sourceHandle": "true", "targetHandle": "exec_in"}, ("true", "exec_in", "exec")),
        ({"sourceHandle": "true", "targetHandle": None}, ("true", "exec_in", "exec")),
        ({"sourceHandle": "error"}, ("error", "exec_in", "exec")),
        (
            {"sourceHandle": "output-value", "targetHandle": "input-x", "type": "smoothstep"},
            ("value", "x", "any"),
        ),
        (
            {"sourceHandle": "output-count", "targetHandle": "input-x", "type": "smoothstep"},
            ("count", "x", "int"),
        ),
        ({"sourceHandle": "count", "targetHandle": "x", "type": "any"}, ("count", "x", "int")),
        ({"sourceHandle": "other", "targetHandle": "x", "type": "str"}, ("other", "x", "str")),
        ({"sourceHandle": "error", "targetHandle": "x", "type": "dict"}, ("error", "x", "dict")),
    ],
)
def test_an_edges_kind_follows_from_its_ports(loader, edge, canonical):
    known = {
        "x": {"outputs": {"value": "any", "count": "int"}, "exec_outputs": ("true", "false")},
    }
    flow = {
        "nodes": [{"id": "a", "type": "x"}, {"id": "b", "type": "x"}],
        "edges": [{"source": "a", "target": "b", **edge}],
    }
    (found,) = canonicalize(flow, loader.registry, known.get)["edges"]
    assert (found["sourceHandle"], found["targetHandle"], found["type"]) == canonical


def test_an_edge_without_id_gets_one_that_is_free(loader):
    flow = draw({"s": "start", "r": "return"}, "s > r, s.a - r.a, s.b - r.b")
    del flow["edges"][0]["id"]
    flow["edges"][1]["id"] = "edge_0"
    flow["edges"][2]["id"] = ""
    ids = [edge["id"] for edge in canonicalize(flow, loader.registry)["edges"]]
    assert ids == ["edge_0_", "edge_0", "edge_2"]


@pytest.mark.parametrize("key", ["constants", "configuredConstants", "constantValues"])
def test_the_authors_values_have_three_spellings(loader, key):
    flow = draw({"x": node("sleep", **{key: {"SECONDS": 1}})}, "")
    assert canonicalize(flow, loader.registry)["nodes"][0]["data"]["constantValues"] == {
        "SECONDS": 1
    }


def test_a_snapshot_of_constants_is_no_value(loader):
    flow = draw({"x": node("sleep", constants={"SECONDS": {"value": 1, "type": "float"}})}, "")
    assert canonicalize(flow, loader.registry)["nodes"][0]["data"]["constantValues"] == {}


def test_a_schema_in_config_declares_inputs(loader):
    schema = {
        "a": {"type": "int", "default": 1},
        "b": {"type": "str", "required": False},
        "c": "int",
    }
    flow = draw(
        {"s": node("start", config={"api_schema": schema}, inputs={"a": "int", "d": "bool"})}, ""
    )
    assert canonicalize(flow, loader.registry)["nodes"][0]["data"]["inputs"] == {
        "a": {"type": "int", "default": 1},
        "b": {"type": "str | None", "default": None},
        "c": "int",
        "d": "bool",
    }


def test_an_export_is_unwrapped_and_its_title_kept(loader):
    wrapped = {
        "metadata": {"name": "My flow", "version": "1"},
        "variables": [],
        "flow": {"nodes": [{"id": "s", "type": "start"}], "edges": [], "viewport": {"zoom": 1}},
    }
    canonical = canonicalize(wrapped, loader.registry)
    assert canonical["name"] == "My flow"
    assert canonical["viewport"] == {"zoom": 1}
    assert "flow" not in canonical
    wrapped["metadata"]["name"] = "Untitled Flow"
    assert "name" not in canonicalize(wrapped, loader.registry)


def test_what_is_unknown_survives(loader):
    flow = draw({"s": node("start", note="text", colour=[1])}, "", groups=[{"id": "g"}])
    flow["nodes"][0] |= {"position": {"x": 1.5, "y": 2}, "selected": True}
    canonical = canonicalize(flow, loader.registry)
    assert canonical["groups"] == [{"id": "g"}]
    (drawn,) = canonical["nodes"]
    assert drawn["position"] == {"x": 1.5, "y": 2}
    assert (drawn["selected"], drawn["data"]["note"]) == (True, "text")


def test_a_list_of_variables_becomes_declarations_by_name(loader):
    listed = [
        {"name": "a", "type": "int", "default": 1},
        {"id": "var_1", "name": "b", "type": "str", "defaultValue": "x", "isReadonly": True},
        {"name": "c", "type": "custom", "isCustom": True, "customImport": "pandas.DataFrame"},
        {"name": "d", "type": "custom", "isCustom": True, "customImport": "from x import y"},
    ]
    found = canonicalize(draw({"s": "start"}, "", variables=listed), loader.registry)["variables"]
    assert found["a"] == {"type": "int", "default": 1}
    assert found["b"] == {"id": "var_1", "type": "str", "default": "x", "readonly": True}
    assert found["c"]["type"] == "pandas.DataFrame"
    assert found["d"]["type"] == "any"


def test_an_editors_variable_node_declares_what_the_flow_does_not(loader):
    drawn = {
        "id": "g",
        "type": "custom",
        "data": {
            "label": "Get: counter",
            "path": "virtual://variables/get_7",
            "outputs": {"value": "int"},
        },
    }
    canonical = canonicalize({"nodes": [drawn]}, loader.registry)
    assert canonical["variables"] == {"counter": {"type": "int", "default": None, "derived": True}}
    assert canonical["nodes"][0]["data"]["constantValues"] == {"VARIABLE": "counter"}
    declared = {"counter": {"type": "int", "default": 5}}
    flow = {"nodes": [drawn], "variables": declared}
    assert canonicalize(flow, loader.registry)["variables"] == declared


def test_equal_flows_have_equal_hashes(loader):
    flow = load_fixture("linear")
    turned = dict(reversed(flow.items()))
    one, two = canonicalize(flow, loader.registry), canonicalize(turned, loader.registry)
    assert canonical_bytes(one) == canonical_bytes(two)
    assert flow_hash(one) == flow_hash(two)
    assert flow_hash(canonicalize(load_fixture("diamond"), loader.registry)) != flow_hash(one)
