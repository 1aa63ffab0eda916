"""Values pass from actor to actor; the run's process has references, and not for longer than
somebody reads them.
"""

import gc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import TESTS, run_job
from drawing import draw, node
from odd_nodes.frames import ROWS

from rayflow_dagster.cluster import _ray
from rayflow_dagster.defs import session
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.defs.session import RunSession
from rayflow_dagster.project import Project, ProjectSettings

pytestmark = pytest.mark.ray


def _flow(kind: str, **more: Any) -> dict[str, Any]:
    return draw(
        {
            "start": "start",
            "make": node("odd_nodes.frames.MakeLargeNode", label="Make", values={"KIND": kind}),
            "look": node("odd_nodes.frames.IsSharedNode", label="Look"),
            "return": "return",
        },
        "start > make, make > look, make.value - look.value, look > return,"
        "look.shared - return.shared, look.sum - return.sum",
        **more,
    )


PROJECT = Project(TESTS, ["flow_nodes", "odd_nodes"], ProjectSettings(storages=["/"]))


@pytest.mark.parametrize("kind", ["array", "table", "frame"])
def test_large_values_arrive_without_a_copy(
    ray_session: None, memory: DagsterInstance, kind: str
) -> None:
    job = build_job(_flow(kind), "test", project=PROJECT)
    flow = compile_flow(_flow(kind), "test", PROJECT)

    run = run_job(job, flow, {}, memory)

    assert run.result == {"shared": True, "sum": 200_000 * 199_999 / 2}


@pytest.mark.parametrize("kind", ["array", "table", "frame"])
def test_a_value_that_three_nodes_and_return_hand_on_is_stored_once(
    ray_session: None, memory: DagsterInstance, kind: str, tmp_path: Path
) -> None:
    passes = [f"pass{each}" for each in range(3)]
    line = ["start", "make", *passes, "return"]
    drawing = draw(
        {
            "start": "start",
            "make": node("odd_nodes.frames.MakeLargeNode", label="Make", values={"KIND": kind}),
            **{name: node("flow_nodes.identity.IdentityNode") for name in passes},
            "return": "return",
        },
        ", ".join(
            [" > ".join(pair) for pair in pairwise(line)]
            + [f"{one}.value - {two}.value" for one, two in pairwise(line[1:])]
        ),
        settings={"storage": str(tmp_path)},
    )

    run = run_job(
        build_job(drawing, "test", project=PROJECT),
        compile_flow(drawing, "test", PROJECT),
        {},
        memory,
    )

    assert run.success
    assert len(run.result["value"]) == ROWS
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(sizes) < 1.2 * 8 * ROWS


def test_an_object_is_released_after_its_last_reader(
    ray_session: None, memory: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    made: list[str] = []

    class Watching(RunSession):
        def finished(self, node_id: str) -> None:
            super().finished(node_id)
            made.extend(value.hex() for key, value in self.live.items() if key[0] == "Make")
            if made:
                gc.collect()
                seen.append((node_id, _ray.is_referenced(made[0])))

    monkeypatch.setattr(session, "RunSession", Watching)
    job = build_job(_flow("array", settings={"durable": False}), "test", project=PROJECT)

    run = run_job(job, compile_flow(_flow("array"), "test", PROJECT), {}, memory)

    assert run.success
    assert seen[0] == ("make", True)
    assert seen[-1] == ("return", False)
