"""What becomes of a run whose variable store dies."""

import threading
from pathlib import Path
from typing import Any

import pytest
import ray
from drawing import draw, node
from running import PROJECT, execute, outcomes

from rayflow_dagster.orchestrator import FlowOrchestrator

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("kind", "values"),
    [("count_up", {"NAME": "total"}), ("variables.get_variable", {"VARIABLE": "total"})],
)
def test_a_run_whose_variables_are_lost_fails_naming_the_one_that_it_wanted(
    ray_session: None, tmp_path: Path, kind: str, values: dict[str, Any]
) -> None:
    """And does not go on with the defaults."""
    began, gone = tmp_path / "began", tmp_path / "gone"
    run = FlowOrchestrator(PROJECT)

    def end_store() -> None:
        while not began.exists():
            if is_over.wait(0.02):
                return
        ray.kill(run.variable_manager.get_store_handle())
        gone.touch()

    nodes = {
        "start": "start",
        "one": node("count_up", values={"NAME": "total"}),
        "wait": node("flow_nodes.meet.MeetNode", values={"MINE": str(began), "THEIRS": str(gone)}),
        "two": node(kind, values=values),
        "end": "return",
    }
    wires = "start > one, one > wait, wait > two, two > end, two.value - end.out"
    is_over = threading.Event()
    ending = threading.Thread(target=end_store)
    ending.start()
    variables = {"total": {"type": "int", "default": 0}}
    outcome = execute(run, draw(nodes, wires, variables=variables))
    is_over.set()
    ending.join()
    assert run.state_tracker is not None, outcome["error"]
    assert outcomes(run)["one"] == "completed"
    assert not outcome["success"]
    lost = "variable 'total' cannot be reached, as the variable store of this run has died: "
    assert lost in outcome["error"]
