"""``rayflow-dagster explain``: what it says is what runs do."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_flows import FIXTURE_FLOWS, write_flow
from drawing import draw, node
from running import PROJECT, execute, outcomes

from rayflow_dagster.compiler.explain import explain
from rayflow_dagster.compiler.fusing import is_fused, why_not_fused
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

Facts = Callable[..., Mapping[str, Any]]


@pytest.fixture
def facts(typed, project: Path) -> Facts:
    """``facts(flow)`` is what ``--json`` says of its nodes, by id."""

    def explained(flow: dict[str, Any], *more: str) -> Mapping[str, Any]:
        write_flow(project / "flows" / "f.json", flow)
        result = typed("explain", "f", *more, "--json")
        assert result.exit_code == 0, result.output
        return {each["id"]: each for each in json.loads(result.stdout)["nodes"]}

    return explained


def text_of(node: Mapping[str, Any]) -> str:
    return " ".join(node["text"])


BRANCH = draw(
    {
        "start": node("start", inputs={"a": "int", "way": "bool"}),
        "way": "logic.branch",
        "one": node("math.add", values={"y": 1}),
        "more": node("math.add", values={"y": 1}),
        "two": node("math.add", values={"y": 2}),
        "beside": node("math.add", values={"y": 3}),
        "off": node("debug.log", values={"value": 1}, disabled=True),
        "behind": node("debug.log", values={"value": 1}),
        "aside": node("debug.log", values={"value": 1}),
        "return": "return",
    },
    "start > way, start.way - way.condition, way.true > one, one > more, way.false > two,"
    "start.a - one.x, one.result - more.x, start.a - two.x, one.result - beside.x,"
    "more > return, two > return, more.result - return.sum, two.result - return.sum,"
    "start > off, off > behind, start > aside",
)
BREAKS = draw(
    {
        "start": node("start", inputs={"lines": "list[str]"}),
        "each": node("control.for_each", parallel=1),
        "end": node("logic.compare", values={"OPERATOR": "==", "b": "END"}),
        "is_end": "logic.branch",
        "group": "control.group",
        "stop": "control.break",
        "words": "text.split",
        "log": node("debug.log", values={"value": "at it"}),
        "return": "return",
    },
    "start > each, start.lines - each.items, each.body > end, each.item - end.a, end > is_end,"
    "end.result - is_end.condition, is_end.true > group, group.body > stop, is_end.false > words,"
    "each.item - words.text, each.body > log, each.done > return, words.parts - return.words",
)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"seconds": 2.5}, "It waits 2.5 s;"),
        ({"until": "06:30"}, "It waits until 06:30;"),
        ({"VARIABLE": "n", "CONDITION": "value > 3"},
         "It waits until 'value > 3' holds for the value of variable 'n';"),
    ],
)  # fmt: skip
def test_what_a_node_waits_for_and_its_limit_are_told(facts, values, text):
    flow = draw(
        {"start": "start", "it": node("control.wait", timeout=60, values=values), "end": "return"},
        "start > it, it > end",
        variables={"n": {"type": "int", "default": 0}},
    )
    told = text_of(facts(flow)["it"])
    assert f"{text} neither a worker nor a thread waits with it." in told
    assert "An attempt that takes longer than 60 s is ended, and has failed." in told


def test_when_a_node_runs_and_when_it_is_skipped(facts):
    nodes = facts(BRANCH)

    assert {id_: each["runs"] for id_, each in nodes.items()} == {
        "start": "always", "way": "always", "one": "sometimes", "more": "sometimes",
        "two": "sometimes", "beside": "sometimes", "off": "never", "behind": "never",
        "aside": "always", "return": "always",
    }  # fmt: skip
    assert "It runs when 'way' fires 'true'. It is skipped where" in text_of(nodes["one"])
    assert "runs when 'one' has run. That is where 'way' fires 'true'." in text_of(nodes["more"])
    assert nodes["beside"]["needs"] == {"x": [{"node": "one", "output": "result"}]}
    assert "nothing comes for its input 'x' (from 'one')" in text_of(nodes["beside"])
    assert "'more' has run or 'two' has run. " in text_of(nodes["return"])
    assert "It is never skipped." in text_of(nodes["return"])
    assert text_of(nodes["off"]).startswith("It is disabled, so it is always skipped. It is a step")
    assert "always skipped, as 'off' is" in text_of(nodes["behind"])
    assert "skipped only where a RETURN that does not wait" in text_of(nodes["aside"])


def test_what_a_node_waits_for(facts):
    nodes = facts(BRANCH)

    assert nodes["more"]["waits_for"] == ["one"]
    assert nodes["one"]["waits_for"] == ["way", "start"]
    assert "It waits for 'way' and 'start'." in text_of(nodes["one"])


@pytest.mark.parametrize("way", [True, False])
def test_what_it_says_is_what_a_run_does(facts, way):
    nodes = facts(BRANCH)
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    execute(orchestrator, BRANCH, a=1, way=way)
    ran = {id_ for id_, status in outcomes(orchestrator).items() if status == "completed"}

    assert {id_ for id_, each in nodes.items() if each["runs"] == "always"} - {"aside"} <= ran
    assert not ran & {id_ for id_, each in nodes.items() if each["runs"] == "never"}
    assert ("more" in ran) is way


def test_bodies_and_what_ends_them(facts):
    nodes = facts(BREAKS)

    assert nodes["stop"]["bodies"] == ["group", "each"]
    assert {id_ for id_, each in nodes.items() if each["step"] == "each"} == set(nodes) - {
        "start",
        "return",
    }
    assert "in the body of 'group', which is in that of 'each'." in text_of(nodes["stop"])
    assert "It runs when 'each' begins an iteration." in text_of(nodes["log"])
    assert "skipped only where 'stop' ends the iteration" in text_of(nodes["log"])
    assert nodes["words"]["ended_by"] == []  # it is on the other side of the branch
    assert nodes["end"]["ended_by"] == []  # the break waits for it


def test_the_other_of_two_returns(facts):
    flow = draw(
        {"start": "start", "one": "return", "two": "return"},
        "start > one, start > two",
        settings={"ends": "all_settled"},
    )
    nodes = facts(flow)

    assert "skipped only where another RETURN is reached first" in text_of(nodes["two"])


def test_always_and_error_of_a_group(facts):
    flow = draw(
        {
            "start": node("start", inputs={"path": "str"}),
            "try": "control.group",
            "read": "io.read_file",
            "tell": node("debug.log", values={"value": 1}),
            "good": "return",
            "bad": "return",
        },
        "start > try, try.body > read, start.path - read.path, try.always > tell, try.done > good,"
        "read.content - good.text, try.error > bad",
        settings={"ends": "all_settled"},
    )
    nodes = facts(flow)

    assert "It runs when 'try' has ended, whatever came of it." in text_of(nodes["tell"])
    assert "It runs also where the flow is about to fail." in text_of(nodes["tell"])
    assert "It runs when 'try' has failed." in text_of(nodes["bad"])
    assert "It is never skipped where 'try' runs." in text_of(nodes["read"])
    assert "reads from 'start' is there before its body begins" in text_of(nodes["read"])


def test_a_join_and_a_sequence(facts):
    flow = draw(
        {
            "start": "start",
            "steps": node("control.sequence", values={"THEN": 2}),
            "one": node("debug.log", values={"value": 1}),
            "two": node("debug.log", values={"value": 2}),
            "both": node("control.parallel", values={"BRANCHES": 2}),
            "join": node("debug.log", values={"value": 3}, join="any"),
            "return": "return",
        },
        "start > steps, steps.then_1 > one, steps.then_2 > both, both.branch_1 > two,"
        "two > join, both.branch_2 > join, join > return",
    )
    nodes = facts(flow)

    assert nodes["both"]["waits_unwired"] == ["one"]
    assert "It also waits for 'one', though no wire says so" in text_of(nodes["both"])
    assert (nodes["join"]["join"], nodes["join"]["waits_for"]) == (1, [])
    assert "as soon as one of these has come: 'two' has run, or 'both' fires" in text_of(
        nodes["join"]
    )
    assert nodes["two"]["is_overtaken"]  # the join does not wait for it


def test_a_variable_is_read_when_its_user_is_about_to_run(facts):
    flow = draw(
        {
            "start": "start",
            "get": node("variables.get_variable", values={"VARIABLE": "v"}),
            "inc": node("variables.increment_variable", values={"VARIABLE": "v"}),
            "add": node("math.add", values={"y": 1}),
            "return": "return",
        },
        "start > inc, inc > add, get.value - add.x, add > return, add.result - return.sum",
        variables={"v": {"type": "int", "default": 0}},
    )
    nodes = facts(flow)

    assert nodes["get"]["read_for"] == ["add"]
    assert nodes["get"]["waits_for"] == ["inc"]
    assert "reads its variable when 'add' is about to run" in text_of(nodes["get"])


def test_a_constant_that_stands_in(facts):
    flow = draw(
        {
            "start": node("start", inputs={"way": "bool"}),
            "way": "logic.branch",
            "one": node("math.add", values={"x": 1, "y": 1}),
            "join": node("math.add", values={"x": 7, "y": 1}),
            "return": "return",
        },
        "start > way, start.way - way.condition, way.true > one, one > join, way.false > join,"
        "one.result - join.x, join > return, join.result - return.sum",
    )

    assert facts(flow)["join"]["stands_in"] == {"x": [{"node": "one", "output": "result"}]}


def drawn_place(kind: str, **data: Any) -> dict[str, Any]:
    """A flow with one such node."""
    fires = "branch_1" if kind == "control.parallel" else "exec_out"
    nodes = {"start": node("start", inputs={"value": "any"}), "one": node(kind, **data)}
    wired = ", start.value - one.value" if "async" in kind else ""
    return draw({**nodes, "return": "return"}, f"start > one, one.{fires} > return{wired}")


@pytest.mark.parametrize(
    ("drawn", "place", "said"),
    [
        (drawn_place("debug.log", values={"value": 1}), "worker", "on any worker"),
        (
            drawn_place("debug.log", values={"value": 1}, ray={"num_cpus": 2}),
            "own",
            "on an actor of its own, as it asks Ray for num_cpus = 2",
        ),
        (
            drawn_place("debug.log", values={"value": 1}, resident=True),
            "resident",
            "that outlives the run",
        ),
        (
            drawn_place("logic.not", values={"value": True}),
            "run if small",
            "in the run's process where its inputs are small",
        ),
        (drawn_place("flow_nodes.async_identity.AsyncIdentityNode"), "async", "on the event loop"),
        (drawn_place("control.parallel", values={"BRANCHES": 1}), "run", "in the run's process"),
    ],
    ids=["worker", "own", "resident", "run if small", "async", "run"],
)
def test_where_a_node_runs(facts, drawn, place, said):
    found = facts(drawn, "one")["one"]

    assert found["place"] == place
    assert said in text_of(found)


def loop_of(nodes: dict[str, Any], wires: str, **loop: Any) -> dict[str, Any]:
    """A ``for_each`` over these nodes."""
    return draw(
        {
            "start": node("start", inputs={"items": "list"}),
            "each": node("control.for_each", **loop),
            **nodes,
            "return": "return",
        },
        f"start > each, start.items - each.items, each.done > return, {wires}",
        variables={"v": {"type": "int", "default": 0}},
    )


LOG = {"values": {"value": 1}}
TWO = "each.body > a, each.body > b, each.item - a.value, each.item - b.value"


@pytest.mark.parametrize(
    ("flow", "why"),
    [
        (loop_of({"a": node("debug.log", **LOG)}, "each.body > a"), None),
        (loop_of({"a": "identity", "b": "identity"}, TWO), None),
        (loop_of({"a": "identity", "b": "identity"}, TWO, parallel=1), "'a' and 'b' can run side"),
        (
            loop_of(
                {"a": "identity", "b": "identity", "c": node("debug.log", join="any", **LOG)},
                f"{TWO}, a > c, b > c",
                parallel=1,
            ),
            "'c' may start while other nodes",
        ),
        (
            loop_of({"a": node("debug.log", ray={"num_cpus": 1}, **LOG)}, "each.body > a"),
            "'a' asks Ray for an actor of its own",
        ),
        (
            loop_of({"a": node("debug.log", resident=True, **LOG)}, "each.body > a"),
            "'a' is resident",
        ),
        (
            loop_of({"a": node("debug.log", retry={"max": 1, "delay": 1}, **LOG)}, "each.body > a"),
            "'a' waits between its attempts",
        ),
        (
            loop_of(
                {"a": node("variables.set_variable", values={"VARIABLE": "v", "value": 1})},
                "each.body > a",
            ),
            "'a' uses a variable",
        ),
        (
            loop_of({"a": node("logic.choose", values={"CASES": {"x": "true"}})}, "each.body > a"),
            "'a' has an expression",
        ),
        (
            loop_of(
                {"in": "control.group", "a": node("debug.log", resident=True, **LOG)},
                "each.body > in, in.body > a",
            ),
            "'in' has a body that does not run whole on one worker itself",
        ),
        (
            loop_of(
                {
                    "in": node("control.while", max_iterations=2, interval=0.1),
                    "a": node("logic.not", values={"value": True}),
                },
                "each.body > in, in.body > a, a.result - in.again",
            ),
            "'in' waits between its iterations",
        ),
    ],
    ids=lambda given: None if isinstance(given, dict) else str(given),
)
def test_why_a_body_is_a_call_per_node(facts, flow, why):
    nodes = facts(flow)
    told = nodes["each"]["why_not_fused"]

    if why is None:
        assert told is None
        assert "One worker runs its body whole" in text_of(nodes["each"])
        assert (nodes["a"]["place"], nodes["a"]["fused_by"]) == ("fused", "each")
    else:
        assert told.startswith(why)
        assert f"because {told}." in text_of(nodes["each"])
        assert nodes["a"]["fused_by"] != "each"


@pytest.mark.parametrize("name", FIXTURE_FLOWS)
def test_every_node_of_a_flow_has_a_paragraph(typed, project: Path, name):
    drawn = json.loads((project / "flows" / f"{name}.json").read_text())["nodes"]
    paragraphs = typed("explain", name).output.rstrip("\n").split("\n\n")

    assert [each.partition("\n")[0].partition(" ")[0].rstrip(":") for each in paragraphs] == [
        each["id"] for each in drawn
    ]
    assert all(len(each.splitlines()) == 2 for each in paragraphs)


def test_the_example_flows_are_explained_as_they_are_compiled():
    root = Path(__file__).parents[2]
    for file in sorted((root / "flows").glob("*.json")):
        raw = json.loads(file.read_text())
        orchestrator = FlowOrchestrator(Project.at(root))
        graph = orchestrator.load(raw)
        drawn = orchestrator.validator.resolve(raw)
        for each in explain(drawn, orchestrator.node_loader):
            if each.region is not None and each.id in graph["nodes"]:
                compiled = graph["nodes"][each.id]
                body, spec = compiled["body"], compiled["region"]
                assert (each.why_not_fused is None) is spec["fused"] is is_fused(body, spec)
                assert each.why_not_fused == why_not_fused(body, spec)


def test_the_page_quotes_what_is_said(typed):
    root = Path(__file__).parents[2]
    page = (root / "docs" / "control-flow.md").read_text()
    quoted = " ".join(line[2:] for line in page.splitlines() if line.startswith("> "))

    assert (
        typed("explain", str(root / "flows" / "file_check.json"), "check")
        .output.splitlines()[1]
        .strip()
        == quoted
    )


def test_the_expressions_of_a_node_are_told(facts):
    flow = draw(
        {
            "start": node("start", inputs={"xs": "list[int]"}),
            "each": "control.for_each",
            "log": node("debug.log", label="Tell", values={"value": {"$expr": "item + seen"}}),
            "return": "return",
        },
        "start > each, start.xs - each.items, each.body > log, each.done > return",
        variables={"seen": {"type": "int", "default": 0}},
    )
    found = facts(flow)
    assert found["log"]["computed"] == {"value": "item + seen"}
    assert (
        "Its input 'value' is what 'item + seen' gives, which the run's process works out when it "
        "is about to run." in found["log"]["text"]
    )
    assert found["log"]["waits_for"] == ["log.seen"]
    assert found["log.seen"]["label"] == "seen for Tell"
    assert found["log.seen"]["read_for"] == ["log"]
    why = "'log' has an expression, which only the run's own process is sure to be able to read"
    assert found["each"]["why_not_fused"] == why


def test_one_node(typed, project: Path):
    output = typed("explain", "linear", "return").output

    assert output.startswith("return (Return): return\n")
    assert "\n\n" not in output


def test_a_node_that_is_not_there(typed, project: Path):
    result = typed("explain", "linear", "retrun")

    assert result.exit_code == 1
    assert result.stderr.count("Error: ") == 1
    assert "'linear' has no node 'retrun'; did you mean 'return'?" in result.stderr


def test_a_flow_with_errors_is_told_as_by_validate(typed, project: Path):
    flow = draw({"start": "start", "a": "math.ad", "return": "return"}, "start > a, a > return")
    write_flow(project / "flows" / "f.json", flow)
    result = typed("explain", "f")

    assert result.exit_code == 1
    assert result.output == typed("validate", "f").output
    document = json.loads(typed("explain", "f", "--json").stdout)
    assert (document["success"], len(document["findings"])) == (False, 1)


def test_a_call_is_a_nested_graph_or_says_why_it_is_one_step(facts, project: Path):
    called = draw({"start": "start", "end": "return"}, "start > end")
    write_flow(project / "flows" / "called.json", called)
    flow = draw(
        {
            "start": node("start", inputs={"xs": "list"}),
            "open": node("flow", flow="called"),
            "whole": node("flow", flow="called", retry={"max": 1}),
            "each": "control.for_each",
            "in": node("flow", flow="called"),
            "end": "return",
        },
        "start > open, open > whole, whole > each, start.xs - each.items, each.body > in,"
        "each.done > end",
    )
    told = {
        id_: text_of(each) for id_, each in facts(flow).items() if id_ in ("open", "whole", "in")
    }

    assert (
        "In Dagster it is a nested graph, and each node of flow 'called' is a step." in told["open"]
    )
    assert "A direct run takes it as one node. There, one worker runs flow" in told["open"]
    assert "It is one step, because its retry holds for all of it, and runs" in told["whole"]
    assert "It is part of the step of 'each'" in told["in"]
