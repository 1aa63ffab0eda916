"""When a ``get_variable`` without exec edges reads: just before its one consumer runs.

The editor draws variable nodes without exec ports. Such a node takes over the exec edges of its
one consumer and leads to it, so that what ran before the consumer has written before it reads.
With several consumers no one moment is right; the validator says so.
"""

from typing import cast

from rayflow_dagster.types import (
    DISABLED,
    EXEC_IN,
    EXEC_OUT,
    GET_VARIABLE_CLASS,
    FlowData,
    FlowEdge,
)


def schedule_variable_reads(flow: FlowData) -> FlowData:
    """Put every unscheduled ``get_variable`` with one consumer into that consumer's exec path."""
    readers = unscheduled_reads(flow)
    edges = list(flow["edges"])
    for reader, consumers in readers.items():
        if len(consumers) == 1:
            edges = _take_over(edges, reader, consumers[0])
    return cast(FlowData, {**flow, "edges": edges})


def unscheduled_reads(flow: FlowData) -> dict[str, list[str]]:
    """``get_variable`` nodes without any exec edge -> the nodes that read their output."""
    scheduled = {end for edge in flow["edges"] if edge["type"] == "exec" for end in _ends(edge)}
    return {
        node["id"]: _consumers(flow["edges"], node["id"])
        for node in flow["nodes"]
        if node["type"] == GET_VARIABLE_CLASS
        and node["id"] not in scheduled
        # A disabled one reads at no time; in its consumer's exec path it would skip that, too.
        and not node["data"].get(DISABLED)
    }


def _ends(edge: FlowEdge) -> tuple[str, str]:
    return edge["source"], edge["target"]


def _consumers(edges: list[FlowEdge], reader: str) -> list[str]:
    return list(dict.fromkeys(edge["target"] for edge in edges if edge["source"] == reader))


def _take_over(edges: list[FlowEdge], reader: str, consumer: str) -> list[FlowEdge]:
    into = [edge for edge in edges if edge["type"] == "exec" and edge["target"] == consumer]
    if not into:
        return edges
    moved = [cast(FlowEdge, {**edge, "target": reader}) if edge in into else edge for edge in edges]
    lead: FlowEdge = {
        "id": f"{reader}__reads_before__{consumer}",
        "source": reader,
        "target": consumer,
        "sourceHandle": EXEC_OUT,
        "targetHandle": EXEC_IN,
        "type": "exec",
    }
    return [*moved, lead]
