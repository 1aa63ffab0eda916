"""What does it cost to compile a drawn flow, next to building its job by hand?

Ours: from JSON text to ``JobDefinition``, with every rule of the validator. Theirs: the same ops
with the same inputs, outputs and exec and data dependencies, built with ``OpDefinition``,
``GraphDefinition`` and ``to_job`` under the same executor, without descriptions, tags and checks.
Shapes of about 1000 nodes: a chain; all nodes side by side; 199 if/else one after the other, each
joined again; a web in which every node waits for one to three earlier ones.
"""

import gc
import json
import time
from collections.abc import Callable
from typing import Any

from _bench import REPOSITORY, Row, alternate, is_quick, medians, report
from _by_hand import build_by_hand
from _drawn import SHAPES, plain_ops

from rayflow_dagster.compiler.flow import parse_flow
from rayflow_dagster.defs.executor import flow_executor
from rayflow_dagster.defs.jobs import build_compiled_job, compile_flow
from rayflow_dagster.project import Project

TARGET = 2.0


def main() -> None:
    quick = is_quick(__doc__)
    count = 50 if quick else 1000
    project = Project.at(REPOSITORY)
    cases: dict[str, Callable[[], float]] = {}
    for shape, draw in SHAPES.items():
        flow = draw(count)
        text = json.dumps(flow)
        plain = plain_ops(compile_flow(flow, flow["name"], project))
        cases[f"ours {shape}"] = lambda text=text: timed(compiled, text, project)
        cases[f"theirs {shape}"] = lambda flow=flow, plain=plain: timed(
            build_by_hand, flow["name"], plain, executor_def=flow_executor
        )
    found = alternate(cases, 1 if quick else 7)
    middle = medians(found)
    rows = [
        Row(
            f"{count} nodes, {shape}: JSON to job / by hand",
            middle[f"ours {shape}"],
            middle[f"theirs {shape}"],
            TARGET,
        )
        for shape in SHAPES
    ]
    report("compile", rows, quick=quick, measured=found)


def compiled(text: str, project: Project) -> Any:
    """The job of a flow, as ``build_job`` makes it."""
    raw = parse_flow(text)
    flow = compile_flow(raw, raw["name"], project)
    return build_compiled_job(flow, raw, flow_executor)


def timed(build: Callable[..., Any], *args: Any, **options: Any) -> float:
    """The seconds of one call, with nothing left over from the one before."""
    gc.collect()
    started = time.perf_counter()
    build(*args, **options)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
