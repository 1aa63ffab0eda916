"""``DataGatherer``: the input values of a node, found in a fixed order.

The wired value; else the value set in the flow (``data.constantValues``); else the declared
default; else ``DataNotAvailableError``.
"""

from typing import Any

from rayflow_dagster.errors import DataNotAvailableError
from rayflow_dagster.types import ExecutionGraph, ExecutionState
from rayflow_dagster.values.crossing import crossed


class DataGatherer:
    """Gathers input data for node execution. Values may be object refs; they pass unopened."""

    def __init__(self, execution_graph: ExecutionGraph) -> None:
        self.graph = execution_graph
        self._connected: dict[str, list[tuple[str, str, str]]] = {
            node_id: [] for node_id in execution_graph["nodes"]
        }
        for edge in execution_graph["edges"].values():
            if edge["edge_type"] == "data":
                ends = (edge["source"], edge["source_handle"], edge["target_handle"])
                self._connected[edge["target"]].append(ends)

    def gather_inputs(self, node_id: str, execution_state: ExecutionState) -> dict[str, Any]:
        """All inputs of a node: ``{input name: value or object ref}``.

        Raises:
            DataNotAvailableError: a required input has no value; names the branch that brought
                none.
            KeyError: there is no such node.
        """
        if node_id not in self._connected:
            raise KeyError(f"there is no node '{node_id}' in this flow")
        cache = execution_state["data_cache"]
        inputs: dict[str, Any] = {}
        for source, output, port in self._get_connected_outputs(node_id):
            if (source, output) in cache:
                if port in inputs:
                    reason = "two wires brought a value in one run; only one may"
                    raise DataNotAvailableError(self._name(node_id), port, reason)
                inputs[port] = cache[source, output]
        inputs = self._apply_default_values(node_id, inputs)
        node = self.graph["nodes"][node_id]
        may_lack = node["region"]["seen"] if "region" in node else ()
        for port in node["metadata"]["inputs"]:
            if port not in inputs and port not in may_lack:
                reason = self._why_missing(node_id, port, execution_state)
                raise DataNotAvailableError(self._name(node_id), port, reason)
        return inputs

    def _get_connected_outputs(self, node_id: str) -> list[tuple[str, str, str]]:
        """(source node, its output, this node's input) of every data edge into the node."""
        return self._connected[node_id]

    def _apply_default_values(self, node_id: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """``inputs``; where no wire brought a value, a copy of the flow's own or of the declared
        default.
        """
        node = self.graph["nodes"][node_id]
        known = {**node["metadata"].get("defaults", {}), **node.get("values", {})}
        own = {name: crossed(value) for name, value in known.items() if name not in inputs}
        return {**own, **inputs}

    def _why_missing(self, node_id: str, port: str, state: ExecutionState) -> str:
        wires = [end for end in self._connected[node_id] if end[2] == port]
        if not wires:
            return "it has no wire, no constant and no default"
        reasons = [self._why_absent(source, output, state) for source, output, _ in wires]
        return "; ".join(reasons) + ", and the input has no constant or default"

    def _why_absent(self, source: str, output: str, state: ExecutionState) -> str:
        name = self._name(source)
        result = state["node_states"][source]["result"]
        if result is None:
            return f"its source {name} has not run"
        if result["status"] == "skipped":
            return f"its source {name} was skipped, because this run took another branch"
        return f"its source {name} gave no output '{output}'"

    def _name(self, node_id: str) -> str:
        label = self.graph["nodes"][node_id].get("label", "")
        return f"'{node_id}' ({label})" if label and label != node_id else f"'{node_id}'"
