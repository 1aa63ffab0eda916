"""``GraphBuilder``: the compiled flow, over every fixture."""

import pytest
from drawing import draw, node
from shapes import fixture_names, load_fixture, test_loader

from rayflow_dagster.compiler.flow import canonicalize
from rayflow_dagster.compiler.graph import GraphBuilder
from rayflow_dagster.errors import GraphBuildError
from rayflow_dagster.types import NodeMetadata


def build(flow, loader=None):
    loader = loader or test_loader()
    return GraphBuilder(loader.load_all_metadata(flow)).build_graph(flow)


@pytest.fixture(params=fixture_names())
def graph(request):
    return build(load_fixture(request.param))


def test_nothing_stands_before_what_it_depends_on(graph):
    position = {node_id: at for at, node_id in enumerate(graph["execution_order"])}
    assert len(position) == len(graph["execution_order"]) == len(graph["nodes"])
    for edge in graph["edges"].values():
        assert position[edge["source"]] < position[edge["target"]]


def test_dependents_mirror_dependencies(graph):
    pairs = {(dep, node["id"]) for node in graph["nodes"].values() for dep in node["dependencies"]}
    assert pairs == {
        (node["id"], after) for node in graph["nodes"].values() for after in node["dependents"]
    }
    assert pairs == {(edge["source"], edge["target"]) for edge in graph["edges"].values()}
    for compiled in graph["nodes"].values():
        assert len(set(compiled["dependencies"])) == len(compiled["dependencies"])


def test_start_and_returns_are_nodes_of_their_class(graph):
    of_class = {
        name: [n["id"] for n in graph["nodes"].values() if n["class_path"].endswith(name)]
        for name in (".StartNode", ".ReturnNode")
    }
    assert [graph["start_node"]] == of_class[".StartNode"]
    assert graph["return_nodes"] == of_class[".ReturnNode"]
    assert all(
        port != "exec_in" for port in graph["nodes"][graph["start_node"]]["metadata"]["inputs"]
    )


def test_every_edge_joins_ports_that_the_nodes_have(graph):
    for edge in graph["edges"].values():
        source, target = (graph["nodes"][edge[end]]["metadata"] for end in ("source", "target"))
        handles = graph["nodes"][edge["source"]]["handles_error"]
        error = ("error",) if handles else ()
        if edge["edge_type"] == "exec":
            assert edge["source_handle"] in (*source["exec_outputs"], *error)
            assert edge["target_handle"] == "exec_in"
        elif edge["edge_type"] == "order":
            assert edge["source_handle"] == edge["target_handle"] == ""
        else:
            assert edge["source_handle"] in (*source["outputs"], *error)
            assert edge["target_handle"] in target["inputs"]


@pytest.mark.parametrize("name", fixture_names())
def test_a_raw_and_a_canonical_flow_give_one_graph(name, loader):
    raw = load_fixture(name)
    assert build(raw) == build(canonicalize(raw, loader.registry))


def test_build_simple_linear_graph():
    """The interface document's example, with metadata of its documented keys alone."""
    flow_data = {
        "nodes": [
            {
                "id": "start_1",
                "type": "rayflow.nodes.base.start.StartNode",
                "data": {"label": "Start"},
            },
            {"id": "node_1", "type": "my.nodes.Double", "data": {"constants": {"FACTOR": 3}}},
            {"id": "node_2", "type": "rayflow.nodes.base.return.ReturnNode", "data": {}},
        ],
        "edges": [
            {
                "id": "e1",
                "source": "start_1",
                "target": "node_1",
                "sourceHandle": "exec-out",
                "targetHandle": "exec-in",
                "type": "exec",
            },
            {
                "id": "e2",
                "source": "start_1",
                "target": "node_1",
                "sourceHandle": "a",
                "targetHandle": "x",
                "type": "int",
            },
            {"id": "e3", "source": "node_1", "target": "node_2", "type": "exec"},
            {
                "id": "e4",
                "source": "node_1",
                "target": "node_2",
                "sourceHandle": "y",
                "targetHandle": "y",
                "type": "int",
            },
        ],
    }
    metadata_map: dict[str, NodeMetadata] = {
        "my.nodes.Double": {
            "path": "my.nodes.Double",
            "name": "Double",
            "class_name": "Double",
            "inputs": {"x": int},
            "outputs": {"y": "int"},
            "exec_input": True,
            "exec_output": True,
            "constants": {"FACTOR": {"type": "int", "value": 2}},
        }
    }
    builder = GraphBuilder(metadata_map)
    graph = builder.build_graph(flow_data)
    assert graph["start_node"] == "start_1"
    assert graph["return_nodes"] == ["node_2"]
    assert len(graph["execution_order"]) == 3
    assert graph["nodes"]["node_2"]["dependencies"] == ["node_1"]
    assert graph["nodes"]["node_1"]["dependents"] == ["node_2"]
    assert graph["nodes"]["node_1"]["constants"] == {"FACTOR": 3}
    assert graph["nodes"]["node_1"]["metadata"]["exec_outputs"] == ("exec_out",)
    assert graph["nodes"]["node_1"]["metadata"]["inputs"] == {"x": "int"}
    assert graph["edges"]["e4"] == {
        "source": "node_1",
        "target": "node_2",
        "source_handle": "y",
        "target_handle": "y",
        "edge_type": "data",
    }
    assert builder._build_dependency_graph(flow_data) == {
        "start_1": [],
        "node_1": ["start_1"],
        "node_2": ["node_1"],
    }
    assert builder._identify_special_nodes(flow_data) == {
        "start_node": "start_1",
        "return_nodes": ["node_2"],
    }


def test_the_topological_sort_keeps_the_given_order_where_it_is_free():
    sort = GraphBuilder({})._topological_sort
    assert sort({"b": [], "a": [], "c": ["a"]}) == ["b", "a", "c"]
    assert sort({"c": ["a"], "b": [], "a": []}) == ["b", "a", "c"]
    assert sort({}) == []


@pytest.mark.parametrize("circle", [{"a": ["a"]}, {"a": ["b"], "b": ["a"]}])
def test_a_cycle_has_no_topological_order(circle):
    with pytest.raises(GraphBuildError, match="in a circle"):
        GraphBuilder({})._topological_sort(circle)


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        (
            draw({"s": "start", "x": "no.such.Node", "r": "return"}, "s > x, x > r"),
            "nothing is known",
        ),
        (draw({"r": "return"}, ""), "exactly one START"),
        (draw({"s": "start", "r": "return"}, "s > nowhere"), "no node 'nowhere'"),
        (draw({"s": "start", "a": "math.add", "r": "return"}, "s > a, a > a"), "in a circle"),
    ],
)
def test_a_flow_that_is_not_valid_after_all_is_refused(flow, said):
    with pytest.raises(GraphBuildError, match=said):
        GraphBuilder({}).build_graph(flow)


def test_ids_that_stand_twice_are_refused():
    flow = draw({"s": "start", "r": "return"}, "s > r, s.a - r.a")
    flow["edges"][1]["id"] = "e1"
    with pytest.raises(GraphBuildError, match="more than once: e1"):
        GraphBuilder({}).build_graph(flow)


def test_a_node_carries_its_settings(loader):
    x = node(
        "math.add",
        values={"x": 1},
        label="Sum",
        pool="db",
        priority=3,
        tags={"a": 1},
        description="sums",
        retry={"max": 2},
        ray={"num_cpus": 2},
    )
    flow = draw(
        {"s": "start", "x": x, "r": "return"},
        "s > x, x > r, s.y - x.y",
        on_error="continue",
        variables={"v": {"type": "int"}},
    )
    graph = build(flow, loader)
    compiled = graph["nodes"]["x"]
    assert compiled["label"] == "Sum"
    assert compiled["values"] == {"x": 1}
    assert (compiled["pool"], compiled["priority"], compiled["tags"]) == ("db", 3, {"a": "1"})
    assert compiled["description"] == "sums"
    assert compiled["retry"] == {"max": 2, "delay": 0.0}
    assert compiled["ray_options"] == {"num_cpus": 2}
    assert graph["on_error"] == "continue"
    assert graph["variables"] == {"v": {"type": "int"}}


def test_what_is_set_nearer_wins(loader):
    nodes = {
        "s": "start",
        "x": node("sleep", retry={"max": 0}, ray={"num_cpus": 2}),
        "y": "sleep",
        "r": "return",
    }
    settings = {"retry": {"max": 3, "delay": 1.5}, "ray": {"num_cpus": 1, "memory": 5}}
    graph = build(draw(nodes, "s > x, x > y, y > r", settings=settings), loader)["nodes"]
    assert "retry" not in graph["x"]
    assert graph["y"]["retry"] == {"max": 3, "delay": 1.5}
    assert graph["x"]["ray_options"] == {"num_cpus": 2, "memory": 5}
    assert graph["y"]["ray_options"] == {"num_cpus": 1, "memory": 5}
    assert "retry" not in graph["s"] | graph["r"]


@pytest.mark.parametrize("settings", [None, {}, {"durable": None, "storage": None}])
def test_a_flow_that_does_not_say_leaves_durability_open(loader, settings):
    options = {} if settings is None else {"settings": settings}
    graph = build(draw({"s": "start", "r": "return"}, "s > r", **options), loader)
    assert not {"durable", "storage"} & set(graph)


def test_a_flow_says_whether_and_where_values_are_kept(loader):
    settings = {"durable": False, "storage": "s3://bucket/flows"}
    graph = build(draw({"s": "start", "r": "return"}, "s > r", settings=settings), loader)
    assert graph["durable"] is False
    assert graph["storage"] == "s3://bucket/flows"


@pytest.mark.parametrize(
    ("of_class", "of_flow", "resident", "seconds"),
    [
        ({}, {}, False, None),
        ({}, {"resident": True}, True, None),
        ({}, {"resident": True, "resident_ttl": 5}, True, 5.0),
        ({"resident": True, "resident_ttl": 30.0}, {}, True, 30.0),
        ({"resident": True}, {"resident": None, "resident_ttl": None}, True, None),
        ({"resident": True}, {"resident": False}, False, None),
        ({"resident": True, "resident_ttl": 30.0}, {"resident_ttl": 0.5}, True, 0.5),
    ],
)
def test_the_flow_overrides_whether_a_class_is_resident(
    loader, of_class, of_flow, resident, seconds
):
    flow = draw({"s": "start", "x": node("sleep", **of_flow), "r": "return"}, "s > x, x > r")
    known = loader.load_all_metadata(flow)
    graph = GraphBuilder({path: {**each, **of_class} for path, each in known.items()}).build_graph(
        flow
    )["nodes"]
    assert graph["x"]["resident"] is resident
    assert graph["x"].get("resident_ttl") == seconds
    assert "resident" not in graph["s"] | graph["r"]


def test_start_and_return_have_the_ports_of_this_flow(loader):
    graph = build(load_fixture("linear"), loader)["nodes"]
    assert graph["start"]["metadata"]["outputs"] == {"a": "int", "b": "int"}
    assert graph["start"]["metadata"]["defaults"] == {"b": 2}
    assert graph["return"]["metadata"]["inputs"] == {"sum": "any"}


def test_an_undeclared_output_of_start_is_a_required_input_of_any_type(loader):
    graph = build(draw({"s": "start", "r": "return"}, "s > r, s.a - r.b"), loader)["nodes"]
    assert graph["s"]["metadata"]["outputs"] == {"a": "any"}
    assert graph["s"]["metadata"]["defaults"] == {}


def test_variable_nodes_have_the_variables_type(loader):
    graph = build(load_fixture("variables"), loader)["nodes"]
    assert graph["set"]["metadata"]["inputs"] == {"value": "int"}
    assert graph["get"]["metadata"]["outputs"] == {"value": "int"}
    assert graph["one"]["metadata"]["outputs"] == {"value": "int"}


def test_only_a_node_whose_error_is_wired_handles_it(loader):
    graph = build(load_fixture("handled_error"), loader)["nodes"]
    assert [node_id for node_id in graph if graph[node_id]["handles_error"]] == ["fragile"]
