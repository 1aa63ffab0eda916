"""The same chains written by hand for Dagster, as its users write them.

A step has the shape of a node's step: it waits for its predecessor (``Nothing``), takes one value
and gives one, and says that it is done. The first op makes the value and the last one takes it,
as START and RETURN do. Each chain of ``n`` has ``n + 2`` steps on both sides.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from dagster import (
    DependencyDefinition,
    ExecutorDefinition,
    GraphDefinition,
    In,
    JobDefinition,
    NodeInvocation,
    Nothing,
    Out,
    Output,
    ResourceDefinition,
    in_process_executor,
    mem_io_manager,
    multiprocess_executor,
    op,
)

ENDS = {"exec_out": Out(Nothing), "value": Out(int)}


@op(out=ENDS)
def begin() -> Iterator[Output[Any]]:
    """Give the first value."""
    yield Output(0, "value")
    yield Output(None, "exec_out")


@op(ins={"exec_in": In(Nothing), "value": In(int)}, out=ENDS)
def bump(value: int) -> Iterator[Output[Any]]:
    """The trivial node."""
    yield Output(value + 1, "value")
    yield Output(None, "exec_out")


@op(ins={"exec_in": In(Nothing), "value": In(int)}, out={"result": Out(dict)})
def finish(value: int) -> dict[str, int]:
    """Give the result."""
    return {"value": value}


def chain(length: int, executor: ExecutorDefinition, *, in_memory: bool = False) -> JobDefinition:
    """A chain of ``length`` trivial ops between ``begin`` and ``finish``.

    ``in_memory``: values stay in the process; else Dagster's default writes each to a file.
    """
    names = [f"n{number}" for number in range(length)]
    line = ["begin", *names, "finish"]
    dependencies: dict[Any, Any] = {
        NodeInvocation(kind, alias=name): {
            "exec_in": DependencyDefinition(before, "exec_out"),
            "value": DependencyDefinition(before, "value"),
        }
        for before, name in itertools.pairwise(line)
        for kind in ["finish" if name == "finish" else "bump"]
    }
    ops = [begin, bump, finish] if length else [begin, finish]
    graph = GraphDefinition(
        "handmade", node_defs=ops, dependencies={NodeInvocation("begin"): {}, **dependencies}
    )
    memory = {"io_manager": mem_io_manager} if in_memory else {}
    resources: dict[str, ResourceDefinition] = {**memory}
    return graph.to_job(executor_def=executor, resource_defs=resources)


def in_process(length: int, *, in_memory: bool) -> JobDefinition:
    """Dagster's in-process executor."""
    return chain(length, in_process_executor, in_memory=in_memory)


# What starts processes of its own imports the job again, by the name of one of these functions.


def multiprocess_1() -> JobDefinition:
    """Dagster's multiprocess executor, one node."""
    return chain(1, multiprocess_executor)


def multiprocess_3() -> JobDefinition:
    """Three nodes."""
    return chain(3, multiprocess_executor)


def multiprocess_8() -> JobDefinition:
    """Eight nodes."""
    return chain(8, multiprocess_executor)


def ray_jobs_1() -> JobDefinition:
    """dagster-ray's executor, one node."""
    return _ray_jobs(1)


def ray_jobs_2() -> JobDefinition:
    """Two nodes."""
    return _ray_jobs(2)


def ray_jobs_5() -> JobDefinition:
    """Five nodes."""
    return _ray_jobs(5)


def _ray_jobs(length: int) -> JobDefinition:
    from dagster_ray import ray_executor

    return chain(length, ray_executor)


def in_tasks(length: int) -> JobDefinition:
    """The community's async executor: each step a task of one event loop."""
    from dagster_async_executor import async_executor

    return chain(length, async_executor, in_memory=True)


Builder = Callable[[], JobDefinition]
