"""``FlowOrchestrator``, in this process and on real Ray actors."""

import asyncio
import os
import threading
import traceback
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from drawing import draw, node
from forked_pythons import ForkedPythons
from running import ODD, PROJECT, execute, outcomes, result_of
from shapes import SHAPES, TESTS, load_fixture

from rayflow_dagster.engine.readers import RELEASED
from rayflow_dagster.errors import NodeCrashedError, NodeExecutionError, class_names, original_of
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.testing import InProcessActors, in_process

RAY_SHAPES = "linear parallel_branch_join variables handled_error retries_used_up"
MEET = "flow_nodes.meet.MeetNode"


def one_node(kind: str, **values: Any) -> dict[str, Any]:
    """START, one node ``it``, RETURN."""
    nodes = {
        "start": node("start"),
        "it": node(f"{ODD}{kind}", values=values),
        "return": node("return"),
    }
    return draw(nodes, "start > it, it > return, it.value - return.value")


@pytest.fixture
def local() -> FlowOrchestrator:
    return FlowOrchestrator(PROJECT, connect=in_process)


@pytest.fixture
def remote(ray_session: None) -> FlowOrchestrator:
    return FlowOrchestrator(PROJECT)


def check_shape(orchestrator: FlowOrchestrator, shape: Any) -> None:
    outcome = execute(orchestrator, shape.flow, **shape.inputs)
    assert outcome["success"] is shape.success, outcome["error"]
    assert outcome["result"] == shape.result
    assert outcomes(orchestrator) == shape.statuses
    assert outcome["nodes_executed"] == shape.nodes_executed
    assert all(text in outcome["error"] for text in shape.error)
    assert (outcome["error"] is None) is shape.success


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_comes_to_what_it_says(shape, local):
    check_shape(local, shape)


@pytest.mark.ray
@pytest.mark.parametrize("shape", [s for s in SHAPES if s.name in RAY_SHAPES.split()], ids=str)
def test_a_shape_comes_to_the_same_on_ray(shape, remote):
    check_shape(remote, shape)


def test_the_outcome_has_the_documented_keys(local):
    outcome = execute(local, load_fixture("linear"), a=1)
    assert set(outcome) == {"success", "result", "error", "execution_time", "nodes_executed"}
    assert isinstance(outcome["execution_time"], float)


@pytest.mark.parametrize("flow", [None, [], 7, {}, {"nodes": []}, {"nodes": [1]}, "text"])
def test_a_bad_flow_is_an_outcome(flow, local):
    outcome = execute(local, flow)
    assert (outcome["success"], outcome["result"], outcome["nodes_executed"]) == (False, {}, 0)
    assert outcome["error"]


def test_bad_inputs_are_refused_before_anything_starts(local):
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    outcome = execute(local, load_fixture("linear"), a=deep, c=1)
    assert outcome["nodes_executed"] == 0
    assert "input 'a' takes" in outcome["error"]
    assert "input 'c' is not declared" in outcome["error"]
    assert local.actor_manager is None


def test_an_input_without_a_default_is_required(local):
    assert "is missing" in execute(local, load_fixture("linear"))["error"]


def test_a_dead_cluster_address_is_an_outcome(pythons: ForkedPythons):
    source = """
import asyncio
from running import PROJECT
from shapes import load_fixture
from rayflow_dagster.cluster.connection import RaySettings
from rayflow_dagster.engine.readers import RELEASED
from rayflow_dagster.errors import NodeExecutionError, class_names
from rayflow_dagster.orchestrator import FlowOrchestrator
orchestrator = FlowOrchestrator(PROJECT, RaySettings(address="127.0.0.1:1"))
print(asyncio.run(orchestrator.execute_flow(load_fixture("linear"), {"a": 1})))
"""
    # In a process of its own, as this one may be connected already and would stay so.
    found = pythons.run(["-c", source], TESTS)
    assert "nothing answers at Ray address" in found.stdout
    assert "'success': False" in found.stdout


def test_a_fault_of_the_dispatcher_is_the_nodes_failure(local):
    class Broken(InProcessActors):
        def dispatch(self, *_: Any, **__: Any) -> Any:
            raise OSError("no room")

    orchestrator = FlowOrchestrator(PROJECT, connect=lambda o: Broken(o, o.graph))
    outcome = execute(orchestrator, load_fixture("linear"), a=1)
    assert outcome["error"] == "Node add failed: OSError: no room"


def test_a_cancelled_execution_fails_its_node_instead_of_hanging_the_loop():
    class Cancelling(InProcessActors):
        def dispatch(self, *arguments: Any, **keywords: Any) -> Any:
            future = super().dispatch(*arguments, **keywords)
            cancelled = type(future)()
            cancelled.cancel()
            return cancelled

    orchestrator = FlowOrchestrator(PROJECT, connect=lambda o: Cancelling(o, o.graph))
    outcome = execute(orchestrator, load_fixture("linear"), a=1)
    assert outcome["error"] == "Node add failed: CancelledError"


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("value", "ValueError: deep down"),
        ("silent", "cannot be shown"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("recursion", "RecursionError"),
        ("unpicklable", "UnpicklableError: this and that"),
    ],
)
def test_a_node_may_fail_in_any_way(how, text, local):
    outcome = execute(local, one_node("FailNode", HOW=how))
    assert text in outcome["error"]
    assert outcomes(local)["return"] == "pending"


def test_a_huge_error_text_is_cut(local):
    outcome = execute(local, one_node("FailNode", HOW="huge"))
    assert "(5,000,000 characters)" in outcome["error"]
    assert len(outcome["error"]) < 20_000


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("generator", "returned a generator"),
        ("text", "returned str"),
        ("missing", "did not return the declared output 'value'"),
        ("undeclared", "'valeu', not a declared output"),
    ],
)
def test_what_a_node_returns_has_to_fit(what, text, local):
    assert text in execute(local, one_node("GiveNode", WHAT=what))["error"]


def late(node_id: str, after: str) -> dict[str, Any]:
    """Has an orchestrator, given this, begin a node only when another one has settled."""
    settled = threading.Event()

    class Late(InProcessActors):
        def _run(self, each: str, *rest: Any) -> Any:
            if each == node_id:
                settled.wait(30)
            return super()._run(each, *rest)

    def on_settled(result: Any) -> None:
        if result["node_id"] == after:
            settled.set()

    return {"connect": lambda o: Late(o, o.graph), "on_settled": on_settled}


RACE = "start > slow, start > flaky, slow > return, slow.value - return.value"


@pytest.mark.parametrize("delay", [0.0, 3600.0])
def test_a_node_that_fails_after_a_return_is_not_tried_again(delay):
    """Whether it already waits for its next attempt when the RETURN comes, or fails later."""
    flow = draw(
        {
            "start": node("start"),
            "slow": node("sleep", values={"SECONDS": 0.05}),
            "flaky": node("flow_nodes.fragile.FragileNode", retry={"max": 9, "delay": delay},
                          values={"value": 1, "fail": True}),
            "return": node("return"),
        },
        RACE,
    )  # fmt: skip
    when = {"connect": in_process} if delay else late("flaky", "return")
    orchestrator = FlowOrchestrator(PROJECT, **when)
    outcome = execute(orchestrator, flow)
    assert (outcome["success"], outcome["result"]) == (True, {"value": None})
    assert outcomes(orchestrator)["flaky"] == "skipped"


def test_the_first_return_reached_gives_the_result():
    flow = draw(
        {
            "start": node("start", inputs={"a": "int"}),
            "slow": "identity",
            "late": "return",
            "early": "return",
        },
        "start > slow, start.a - slow.value, slow > late, slow.value - late.late,"
        "start > early, start.a - early.early",
    )
    orchestrator = FlowOrchestrator(PROJECT, **late("slow", "early"))
    assert execute(orchestrator, flow, a=1)["result"] == {"early": 1}


def test_one_orchestrator_runs_flows_one_after_the_other(local):
    assert not execute(local, load_fixture("failing_node"), value=1)["success"]
    assert execute(local, load_fixture("linear"), a=1)["success"]
    assert local.error_handler.get_error_report()["count"] == 0


def test_a_flow_that_runs_refuses_another_and_goes_on():
    refused: list[Any] = []

    async def both() -> dict[str, Any]:
        async def second() -> None:
            await asyncio.to_thread(at_work.wait, 30)
            refused.append(await orchestrator.execute_flow(load_fixture("linear"), {"a": 1}))
            asked.set()

        first = orchestrator.execute_flow(load_fixture("linear"), {"a": 1})
        return (await asyncio.gather(first, second()))[0]

    at_work, asked = threading.Event(), threading.Event()

    def connect(orchestrator: FlowOrchestrator) -> InProcessActors:
        at_work.set()
        assert asked.wait(30)
        return in_process(orchestrator)

    orchestrator = FlowOrchestrator(PROJECT, connect=connect)
    outcome = asyncio.run(both())
    assert outcome["error"] is None
    assert "runs a flow already" in refused[0]["error"]
    assert (refused[0]["success"], refused[0]["result"]) == (False, {})
    assert execute(orchestrator, load_fixture("linear"), a=1)["success"]


def test_the_event_loop_goes_on_while_what_nodes_run_on_starts():
    begun, ticked = threading.Event(), threading.Event()

    def connect(orchestrator: FlowOrchestrator) -> InProcessActors:
        begun.set()
        assert ticked.wait(10), "the event loop stands still"
        return in_process(orchestrator)

    async def tick() -> None:
        await asyncio.to_thread(begun.wait, 30)
        for _ in range(20):
            await asyncio.sleep(0)
        ticked.set()

    async def both() -> dict[str, Any]:
        flow = orchestrator.execute_flow(load_fixture("linear"), {"a": 1})
        return (await asyncio.gather(flow, tick()))[0]

    orchestrator = FlowOrchestrator(PROJECT, connect=connect)
    assert asyncio.run(both())["error"] is None


def test_what_was_starting_when_a_flow_was_cancelled_is_ended():
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Ending(InProcessActors):
        def cleanup_actors(self) -> None:
            super().cleanup_actors()
            ended.set()

    def connect(orchestrator: FlowOrchestrator) -> InProcessActors:
        begun.set()
        assert go_on.wait(30)
        return Ending(orchestrator, orchestrator.graph)

    async def cancel() -> None:
        running = asyncio.create_task(orchestrator.execute_flow(load_fixture("linear"), {"a": 1}))
        await asyncio.to_thread(begun.wait, 30)
        running.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    orchestrator = FlowOrchestrator(PROJECT, connect=connect)
    asyncio.run(cancel())
    assert ended.is_set()


# --- giving values back ---------------------------------------------------------------------------


def test_a_value_goes_with_its_last_reader_and_a_listener_still_gets_it_whole():
    flow = draw(
        {
            "start": node("start", inputs={"a": "str", "unread": "str", "small": "str"}),
            "first": node("identity"),
            "last": node("identity"),
            "return": node("return"),
        },
        "start > first, first > last, last > return, start.a - first.value, start.a - last.value,"
        "last.value - return.value",
    )
    kept: dict[str, set[Any]] = {}
    given: dict[str, Any] = {}

    def settled(result: Any) -> None:
        given[result["node_id"]] = result["outputs"]
        assert orchestrator.state_tracker is not None
        kept[result["node_id"]] = set(orchestrator.state_tracker.get_state()["data_cache"])

    orchestrator = FlowOrchestrator(PROJECT, connect=in_process, on_settled=settled)
    large, small = "x" * 5000, ("start", "small")
    inputs = {"a": large, "unread": large, "small": "s"}
    assert execute(orchestrator, flow, **inputs)["result"] == {"value": large}
    assert given["start"] == inputs
    assert set(given["last"]) == {"value"}
    assert kept["first"] == {small, ("start", "a"), ("first", "value")}
    assert kept["last"] == {small, ("start", "a"), ("last", "value")}
    assert kept["return"] == {small, ("last", "value"), ("return", "result")}
    tracker = orchestrator.state_tracker
    assert tracker is not None
    assert set(tracker.get_state()["data_cache"]) == {small, ("return", "result")}
    assert tracker.get_cached_output("start", "small") == "s"
    assert result_of(orchestrator, "start")["outputs"] == {
        "a": RELEASED, "unread": RELEASED, "small": "s"
    }  # fmt: skip


def test_a_node_that_is_tried_again_finds_its_inputs():
    flow = draw(
        {
            "start": node("start", inputs={"a": "int"}),
            "flaky": node("flaky", retry={"max": 3, "delay": 0.0}),
            "return": node("return"),
        },
        "start > flaky, flaky > return, start.a - flaky.value, flaky.value - return.value",
    )

    class Counting(InProcessActors):
        attempts = 0

        def _run(self, node_id: str, inputs: Any, *rest: Any) -> NodeReply:
            del node_id, rest
            self.attempts += 1
            if self.attempts < 3:
                return NodeReply(exception=ValueError("not yet"))
            return NodeReply({"value": inputs["value"]}, ("exec_out",))

    orchestrator = FlowOrchestrator(PROJECT, connect=lambda o: Counting(o, o.graph))
    assert execute(orchestrator, flow, a=7)["result"] == {"value": 7}


def test_a_fault_of_a_listener_changes_nothing_of_the_flow():
    def settled(_: Any) -> None:
        raise OSError("the listener is full")

    orchestrator = FlowOrchestrator(PROJECT, connect=in_process, on_settled=settled)
    outcome = execute(orchestrator, load_fixture("linear"), a=1)
    assert outcome["error"] is None
    assert outcome["nodes_executed"] == 4


def test_a_long_chain_of_nodes_that_answer_at_once_ends():
    count = 2000
    nodes = {f"n{i}": node("identity") for i in range(count)}
    wires = ["start > n0", "start.v - n0.value", f"n{count - 1} > return"]
    for at in range(1, count):
        wires += [f"n{at - 1} > n{at}", f"n{at - 1}.value - n{at}.value"]
    flow = draw(
        {"start": node("start", inputs={"v": "int"}), **nodes, "return": node("return")},
        ",".join([*wires, f"n{count - 1}.value - return.value"]),
    )

    class AtOnce(InProcessActors):
        def dispatch(self, node_id: str, inputs: Any, *rest: Any) -> Any:
            del node_id, rest
            done: Future[NodeReply] = Future()
            done.set_result(NodeReply({"value": inputs["value"] + 1}, ("exec_out",)))
            return done

    orchestrator = FlowOrchestrator(PROJECT, connect=lambda o: AtOnce(o, o.graph))
    assert execute(orchestrator, flow, v=0)["result"] == {"value": count}


def test_run_node_is_a_coroutine_for_any_event_loop(local):
    graph = local.load(load_fixture("linear"))
    local.connect()

    async def run() -> Any:
        state = local.state_tracker.get_state()
        started = await local.run_node(graph["start_node"], state, start_inputs={"a": 1, "b": 2})
        local.state_tracker.store_node_result("start", started)
        return await local.run_node("add", state)

    result = asyncio.run(run())
    local.close()
    assert result["status"] == "success"


# --- on Ray ---------------------------------------------------------------------------------------


@pytest.mark.ray
def test_what_a_return_finds_at_work_ends_on_ray_and_nothing_follows_it(ray_session, tmp_path):
    """As the shape ``return_ends_flow``, whose slow node may not start at all on a busy machine."""
    begun, met, over = (str(tmp_path / name) for name in ("begun", "met", "over"))
    flow = draw(
        {
            "start": node("start"),
            "slow": node(MEET, values={"MINE": begun, "THEIRS": over}),
            "late": node("identity"),
            "beside": node(MEET, values={"MINE": met, "THEIRS": begun}),
            "return": node("return"),
        },
        "start > slow, slow > late, slow.value - late.value, start > beside, beside > return",
    )

    def settled(result: Any) -> None:
        if result["node_id"] == "return":
            Path(over).touch()

    orchestrator = FlowOrchestrator(PROJECT, on_settled=settled)
    outcome = execute(orchestrator, flow)
    assert outcome["success"], outcome["error"]
    assert outcomes(orchestrator) == {
        **dict.fromkeys(("start", "slow", "beside", "return"), "completed"),
        "late": "skipped",
    }


@pytest.mark.ray
def test_an_output_is_an_object_until_its_last_reader_has_run(ray_session, tmp_path):
    """Ray has no reference to it left while the flow still goes on."""
    import ray

    from rayflow_dagster.cluster._ray import is_referenced

    here, there = tmp_path / "here", tmp_path / "there"
    flow = draw(
        {
            "start": node("start"),
            "make": node(f"{ODD}GiveNode", values={"WHAT": "large"}),
            "first": node("identity"),
            "last": node("identity"),
            "hold": node(MEET, values={"MINE": str(here), "THEIRS": str(there)}),
            "return": node("return"),
        },
        "start > make, make > first, first > last, last > hold, hold > return,"
        "make.value - first.value, make.value - last.value, hold.value - return.value",
    )  # fmt: skip
    objects: dict[str, str] = {}
    referenced: dict[str, bool] = {}

    def settled(result: Any) -> None:
        if result["node_id"] == "make":
            assert isinstance(result["outputs"]["value"], ray.ObjectRef)
            objects["made"] = result["outputs"]["value"].hex()
        if result["node_id"] in ("make", "first"):
            referenced[result["node_id"]] = is_referenced(objects["made"])

    async def run() -> dict[str, Any]:
        orchestrator = FlowOrchestrator(PROJECT, on_settled=settled)
        running = asyncio.create_task(orchestrator.execute_flow(flow, {}))
        while not (here.exists() or running.done()):
            await asyncio.sleep(0.02)
        # The holding node loses its patience after a minute, and then the flow fails.
        while is_referenced(objects["made"]) and not running.done():
            await asyncio.sleep(0.02)
        there.touch()
        return await running

    outcome = asyncio.run(run())
    assert outcome["success"], outcome["error"]
    assert referenced == {"make": True, "first": True}


@pytest.mark.ray
def test_the_traceback_of_the_nodes_own_frames_arrives_with_its_cause(remote):
    execute(remote, one_node("FailNode", HOW="cause"))
    error = result_of(remote, "it")["exception"]
    assert isinstance(error, KeyError)
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames == ["process", "fail_cause"]
    assert isinstance(error.__cause__, ValueError)
    assert "deep down" in "".join(traceback.format_exception(error))


FAULTS = [
    ("FailNode", "HOW", "unpicklable", "UnpicklableError: this and that"),
    ("FailNode", "HOW", "silent", "cannot be shown"),
    ("FailNode", "HOW", "recursion", "RecursionError"),
    ("FailNode", "HOW", "exit", "SystemExit: 3"),
    ("FailNode", "HOW", "interrupt", "KeyboardInterrupt"),
    ("FailNode", "HOW", "death", "its process ended itself with code 1"),
    ("FailNode", "HOW", "gone", "its process ended itself with code 0"),
    ("FailNode", "HOW", "killed", "its process was killed (SIGKILL)"),
    (
        "FailNode",
        "HOW",
        "segfault",
        "its process crashed with SIGSEGV (Segmentation fault), in "
        "native code below " + str(TESTS / "odd_nodes" / "misbehaving.py"),
    ),
    ("FailNode", "HOW", "abort", "its process crashed with SIGABRT (Aborted)"),
    ("GiveNode", "WHAT", "generator", "returned a generator"),
    ("GiveNode", "WHAT", "generator inside", "cannot pickle 'generator' object"),
    ("GiveNode", "WHAT", "lock", "lock' object"),
]


@pytest.fixture(scope="module")
def faults(ray_session: None) -> FlowOrchestrator:
    """A run of all faults beside each other."""
    names = [f"{constant}_{value}".replace(" ", "_") for _, constant, value, _ in FAULTS]
    nodes = {
        name: node(f"{ODD}{kind}", values={constant: value})
        for name, (kind, constant, value, _) in zip(names, FAULTS, strict=True)
    }
    wires = ", ".join(f"start > {name}" for name in names)
    flow = draw(
        {"start": node("start"), **nodes, "return": node("return")},
        f"{wires}, {names[0]} > return",
        on_error="continue",
    )
    orchestrator = FlowOrchestrator(PROJECT)
    assert execute(orchestrator, flow)["success"] is False
    return orchestrator


@pytest.mark.ray
@pytest.mark.parametrize(("kind", "constant", "value", "text"), FAULTS)
def test_a_node_on_ray_may_fail_in_any_way(kind, constant, value, text, faults):
    del kind
    result = result_of(faults, f"{constant}_{value}".replace(" ", "_"))
    assert result["status"] == "error"
    assert text in result["error"]


ENDS = {
    "death": (None, 1), "gone": (None, 0), "killed": ("SIGKILL", None),
    "segfault": ("SIGSEGV", None), "abort": ("SIGABRT", None),
}  # fmt: skip


@pytest.mark.ray
@pytest.mark.parametrize("how", ENDS)
def test_the_error_of_a_death_has_its_signal_or_code(how, faults):
    error = original_of(result_of(faults, f"HOW_{how}")["exception"])
    assert isinstance(error, NodeCrashedError)
    assert (error.signal, error.code) == ENDS[how]


@pytest.mark.ray
def test_the_inputs_of_a_node_that_died_are_previewed(remote):
    flow = draw(
        {"start": node("start"), "long": node("constant", values={"VALUE": ["word"] * 1000}),
         "dies": node(f"{ODD}DyingOnInputsNode", values={"number": 7}), "return": node("return")},
        "start > long, long > dies, long.value - dies.words, dies > return",
    )  # fmt: skip
    execute(remote, flow)
    details = result_of(remote, "dies")["details"]
    assert details["input_previews"] == {"number": "7", "words": "(a large value)"}


@pytest.mark.ray
def test_the_run_after_a_death_works(remote):
    assert "with code 1" in execute(remote, one_node("FailNode", HOW="death"))["error"]
    assert execute(remote, one_node("GiveNode"))["result"] == {"value": 1}


@pytest.mark.ray
@pytest.mark.parametrize(("retry_on", "result"), [("crash", {"value": 2}), ("ValueError", {})])
def test_a_death_is_tried_again_where_retry_on_says_crash(remote, retry_on, result):
    flow = one_node("DyingNode")
    flow["nodes"][1]["data"]["retry"] = {"max": 1, "retry_on": [retry_on]}
    flow["variables"] = {"attempts": {"type": "int", "default": 0}}
    assert execute(remote, flow)["result"] == result


@pytest.mark.ray
def test_an_error_that_cannot_be_sent_is_known_by_its_classes(remote):
    flow = one_node("FailNode", HOW="unpicklable")
    execute(remote, flow)
    error = result_of(remote, "it")["exception"]
    assert isinstance(error, NodeExecutionError)
    assert "odd_nodes.misbehaving.UnpicklableError" in class_names(error.original_error)
    assert "Exception" in class_names(error.original_error)


@pytest.mark.ray
def test_a_dead_worker_does_not_keep_others_from_running(remote):
    nodes = {
        "start": node("start"),
        "dies": node(f"{ODD}FailNode", values={"HOW": "death"}),
        **{
            f"n{i}": node(f"{ODD}GiveNode", values={"WHAT": "lock" if i < 3 else "pid"})
            for i in range(7)
        },
        "return": node("return"),
    }
    wires = ", ".join(f"start > {name}" for name in ("dies", *(f"n{i}" for i in range(7))))
    flow = draw(nodes, wires + ", n6 > return", on_error="continue")
    assert execute(remote, flow)["success"] is False
    wanted = {**dict.fromkeys(("dies", "n0", "n1", "n2"), "failed"),
              **dict.fromkeys(("start", "n3", "n4", "n5", "n6"), "completed")}  # fmt: skip
    seen = outcomes(remote)
    assert {name: seen[name] for name in wanted} == wanted


@pytest.mark.ray
def test_prints_and_log_records_are_in_the_details(remote):
    execute(remote, load_fixture("printer"), value="x")
    details = result_of(remote, "printer")["details"]
    assert details["stdout"] == "printed: x\n"
    assert details["stderr"] == "to stderr: x\n"
    assert [record["message"] for record in details["logs"]] == ["logged: x", "warned: x"]
    assert details["pid"] != os.getpid()


@pytest.mark.ray
def test_a_relative_path_means_the_projects_folder_whatever_ran_before(remote):
    flow = draw(
        {
            "start": node("start"),
            "move": node(f"{ODD}MoveNode"),
            "where": node(f"{ODD}GiveNode", values={"WHAT": "folder"}),
            "return": node("return"),
        },
        "start > move, move > where, where > return, where.value - return.value",
    )
    assert execute(remote, flow)["result"] == {"value": str(PROJECT.root)}


@pytest.mark.ray
def test_a_node_with_resources_gets_an_actor_of_its_own_even_where_workers_hold_all_slots(remote):
    flow = draw(
        {
            "start": node("start"),
            "left": node(f"{ODD}GiveNode", values={"WHAT": "pid"}),
            "right": node(f"{ODD}GiveNode", values={"WHAT": "pid"}),
            "own": node(f"{ODD}OwnNode"),
            "after": node(f"{ODD}GiveNode", values={"WHAT": "pid"}),
            "return": node("return"),
        },
        "start > left, start > right, left > own, right > own, own > after, after > return,"
        "left.value - return.left, own.pid - return.own, after.value - return.after",
    )
    outcome = execute(remote, flow)
    assert outcome["success"], outcome["error"]
    assert len(set(outcome["result"].values())) == 3


@pytest.mark.ray
def test_what_the_cluster_can_never_give_is_refused_with_the_nodes_name(remote):
    flow = load_fixture("linear")
    next(n for n in flow["nodes"] if n["id"] == "add")["data"]["ray"] = {"num_cpus": 1000}
    outcome = execute(remote, flow, a=1)
    assert "'add' asks for" in outcome["error"]
    assert outcome["nodes_executed"] == 0


@pytest.mark.ray
def test_an_input_that_cannot_be_pickled_fails_the_node_that_takes_it(remote):
    flow = load_fixture("diamond")
    outcome = execute(remote, flow, value=threading.Lock())
    assert outcome["success"] is False
    assert outcome["error"]


@pytest.mark.ray
def test_a_cancelled_run_ends_the_actor_that_hangs(remote, tmp_path):
    flow = draw(
        {"start": node("start", inputs={"path": "str"}), "hang": node(f"{ODD}HangNode"),
         "return": node("return")},
        "start > hang, hang > return, start.path - hang.path",
    )  # fmt: skip
    path = tmp_path / "pid"

    async def run() -> None:
        running = asyncio.create_task(remote.execute_flow(flow, {"path": str(path)}))
        while not path.exists():
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        while is_alive(int(path.read_text())):
            await asyncio.sleep(0.02)

    asyncio.run(run())


@pytest.mark.ray
def test_no_actor_is_left_behind(remote):
    assert execute(remote, load_fixture("parallel_join"), value="x")["success"]
    pids = {result_of(remote, node_id)["details"]["pid"] for node_id in ("plain", "async", "slow")}
    assert os.getpid() not in pids
    while any(is_alive(pid) for pid in pids):
        threading.Event().wait(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs still; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.mark.ray
@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("unknown", "'countre' is not declared"),
        ("mistyped", "takes int, not 'many'"),
        ("readonly", "'limit' is read-only"),
        ("nested", "cannot use variables"),
    ],
)
def test_a_wrong_use_of_a_variable_fails_the_node(what, text, remote, local):
    flow = one_node("VariablesNode", WHAT=what)
    flow["variables"] = {
        "counter": {"type": "int", "default": 2},
        "limit": {"type": "int", "default": 1, "readonly": True},
    }
    for orchestrator in (remote, local):
        assert text in execute(orchestrator, flow)["error"]


@pytest.mark.ray
def test_an_update_may_use_the_nodes_own_constants(remote):
    flow = one_node("VariablesNode", WHAT="scale", FACTOR=7)
    flow["variables"] = {"counter": {"type": "int", "default": 6}}
    assert execute(remote, flow)["result"] == {"value": 42}


def _wide_with_a_failure(width: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {"start": "start", "boom": "boom", "return": "return"}
    wires = "start > boom, boom > return"
    for number in range(width):
        nodes[f"n{number}"] = node("sleep", values={"SECONDS": 0.05})
        wires += f", start > n{number}, n{number} > return"
    return draw(nodes, wires)


@pytest.mark.parametrize("where", ["local", pytest.param("remote", marks=pytest.mark.ray)])
def test_a_failure_leaves_what_waits_for_a_worker_unstarted(
    where: str, request: pytest.FixtureRequest
) -> None:
    orchestrator: FlowOrchestrator = request.getfixturevalue(where)

    outcome = asyncio.run(orchestrator.execute_flow(_wide_with_a_failure(40), {}))

    assert not outcome["success"]
    states = orchestrator.state_tracker.get_state()["node_states"]
    statuses = Counter(state["status"] for state in states.values())
    assert statuses["failed"] == 1
    assert statuses["running"] == 0
    assert statuses["pending"] > 30


@pytest.mark.ray
def test_a_node_that_uses_a_variable_prints_nothing_by_that(remote):
    """Ray warns of calls that hold its event loop up, in the output of whoever makes them."""
    flow = draw(
        {"start": "start", "up": "count_up", "end": "return"},
        "start > up, up > end, up.value - end.value",
        variables={"counter": {"type": "int", "default": 0}},
    )
    assert execute(remote, flow)["result"] == {"value": 1}
    assert not {"stdout", "stderr"} & result_of(remote, "up")["details"].keys()
