"""Which outputs nobody will read any more: the counting behind giving objects back.

A *reader* of an output is a node that a data edge leads to from it. An output is *done* once its
node and all its readers have settled for good; one without readers as soon as its node has.
"""

from typing import Final

from rayflow_dagster.errors import RayflowError
from rayflow_dagster.types import ERROR_PORT, ExecutionGraph

Output = tuple[str, str]
"""(node id, output name)."""


class _Released:
    """Stands where a released value stood, in every process the same object."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "released"

    def __reduce__(self) -> str:
        return "RELEASED"


RELEASED: Final = _Released()
"""Stands for the value of an output that was there and that nobody reads any more."""


class Readers:
    """Counts, for one run, who still has to read what. What a RETURN gives is never released."""

    def __init__(self, graph: ExecutionGraph) -> None:
        self._outputs: dict[str, tuple[str, ...]] = _outputs(graph)
        self._sources: dict[str, tuple[Output, ...]] = _sources(graph)
        self._open: dict[Output, int] = {}
        """How many of an output's readers have not settled yet."""
        for sources in self._sources.values():
            for output in sources:
                self._open[output] = self._open.get(output, 0) + 1
        for output in graph.get("kept", ()):  # whoever reads these comes when all has settled
            self._open[output] = self._open.get(output, 0) + 1
        self._settled: set[str] = set()

    def settled(self, node_id: str) -> list[Output]:
        """The outputs that nobody will read any more now that this node has settled.

        Say it when the node has settled for good (not when it is to be tried again), whatever
        became of it. Each output is named once in a run, and whether or not it ever came.

        Raises:
            RayflowError: the node is unknown.
        """
        names = self._outputs.get(node_id)
        if names is None:
            raise RayflowError(f"there is no node '{node_id}' in this flow")
        if node_id in self._settled:
            return []
        self._settled.add(node_id)
        done = [(node_id, name) for name in names if not self._open.get((node_id, name), 0)]
        for output in self._sources[node_id]:
            self._open[output] -= 1
            if not self._open[output] and output[0] in self._settled:
                done.append(output)
        return done


def _outputs(graph: ExecutionGraph) -> dict[str, tuple[str, ...]]:
    """Every output that a node may give, by node: nothing for a RETURN."""
    names: dict[str, dict[str, None]] = {}
    returns = frozenset(graph["return_nodes"])
    for node_id, node in graph["nodes"].items():
        is_return = node_id in returns
        names[node_id] = {} if is_return else dict.fromkeys(node["metadata"]["outputs"])
        if node.get("handles_error"):
            names[node_id][ERROR_PORT] = None
    return {node_id: tuple(found) for node_id, found in names.items()}


def _sources(graph: ExecutionGraph) -> dict[str, tuple[Output, ...]]:
    """The outputs that a node reads, each once, by node."""
    found: dict[str, dict[Output, None]] = {node_id: {} for node_id in graph["nodes"]}
    for edge in graph["edges"].values():
        if edge["edge_type"] == "data":
            found[edge["target"]][edge["source"], edge["source_handle"]] = None
    return {node_id: tuple(outputs) for node_id, outputs in found.items()}
