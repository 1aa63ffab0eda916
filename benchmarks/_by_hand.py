"""Jobs built by hand, with Dagster alone: what a compiled flow is compared with.

One ``OpDefinition`` per node, one ``GraphDefinition`` per job, exec wires as ``Nothing``. It is the
leanest such code: types are made once, and there are no descriptions, tags or metadata.
"""

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, NotRequired, TypedDict

from dagster import (
    DagsterType,
    DependencyDefinition,
    GraphDefinition,
    In,
    JobDefinition,
    MultiDependencyDefinition,
    NodeInvocation,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    ResourceDefinition,
    mem_io_manager,
)


class PlainOp(TypedDict):
    """An op to build. ``ins`` and ``outs`` are type words by name, None for ``Nothing``."""

    ins: Mapping[str, str | None]
    outs: Mapping[str, str | None]
    wires: Mapping[str, list[tuple[str, str]]]
    """Input -> the (op, output) of each wire into it."""
    fan_ins: list[str]
    config: NotRequired[list[str]]
    """Names of whole numbers that the launchpad asks for."""


class PortType(DagsterType):
    """A type of which a merged input may take several."""

    @property
    def supports_fan_in(self) -> bool:
        return True


@cache
def port_type(word: str | None) -> Any:
    """The Dagster type of a port."""
    return Nothing if word is None else PortType(lambda _context, _value: True, name=word)


def compute(_context: OpExecutionContext, _inputs: Mapping[str, Any]) -> Any:
    """Stands for the work of every op."""
    yield from ()


def session(_context: Any) -> None:
    """Stands for the one resource that the ops need."""


def build_by_hand(name: str, ops: Mapping[str, PlainOp], **job: Any) -> JobDefinition:
    """The job of these ops; ``job`` goes to ``to_job``."""
    # Dagster walks the graph by recursion; a chain of 1000 is too deep for Python's own limit.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 2 * len(ops)))
    resources = {"session": ResourceDefinition(session), "io_manager": mem_io_manager}
    return GraphDefinition(
        name=name,
        node_defs=[build_op(f"{name}_{op_name}", op) for op_name, op in ops.items()],
        dependencies={
            NodeInvocation(f"{name}_{op_name}", alias=op_name): dependencies(op)
            for op_name, op in ops.items()
        },
    ).to_job(resource_defs=resources, **job)


def build_op(name: str, op: PlainOp) -> OpDefinition:
    """One op; its data inputs have a default, as a node's constants give one."""
    return OpDefinition(
        compute_fn=compute,
        name=name,
        ins={
            port: In(Nothing) if word is None else In(port_type(word), default_value=0)
            for port, word in op["ins"].items()
        },
        outs={port: Out(port_type(word), is_required=False) for port, word in op["outs"].items()},
        required_resource_keys={"session"},
        config_schema=dict.fromkeys(op["config"], int) if "config" in op else None,
    )


def dependencies(op: PlainOp) -> dict[str, Any]:
    """What each wired input of an op depends on."""
    found: dict[str, Any] = {}
    for port, wires in op["wires"].items():
        ends = [DependencyDefinition(source, output) for source, output in wires]
        found[port] = MultiDependencyDefinition(ends) if port in op["fan_ins"] else ends[0]
    return found
