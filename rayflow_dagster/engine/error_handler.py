"""``ErrorHandler``: keeps the errors of one run and decides whether it goes on."""

from typing import Any

from rayflow_dagster.errors import message_of, original_of, told
from rayflow_dagster.types import ExecutionState, OnError


class ErrorHandler:
    """Handles errors during execution. ``on_error`` is the flow's own setting."""

    def __init__(self, on_error: OnError = "stop") -> None:
        self.on_error: OnError = on_error
        self._errors: list[dict[str, Any]] = []

    def handle_node_error(
        self, node_id: str, error: BaseException, execution_state: ExecutionState
    ) -> dict[str, Any]:
        """Keep an error and return what is known of it.

        Returns:
            ``{node_id, type, message, described, error, completed}``; ``described`` is type and
            message in one, ``completed`` lists the nodes that had finished by then.
        """
        original = original_of(error)
        info = {
            "node_id": node_id,
            "type": type(original).__name__,
            "message": message_of(original),
            "described": told(error),
            "error": error,
            "completed": [
                other
                for other, node in execution_state["node_states"].items()
                if node["status"] == "completed"
            ],
        }
        self._errors.append(info)
        return info

    def should_continue(self, error_info: dict[str, Any]) -> bool:  # noqa: ARG002 - interface
        """Whether independent nodes may still start after this error."""
        return self.on_error == "continue"

    def get_error_report(self) -> dict[str, Any]:
        """``{"count": n, "errors": [...]}``, in the order in which the errors came."""
        return {"count": len(self._errors), "errors": list(self._errors)}

    def format_error_message(self, error_info: dict[str, Any]) -> str:
        """One line for the user."""
        described = error_info.get("described") or f"{error_info['type']}: {error_info['message']}"
        return f"Node {error_info['node_id']} failed: {described}"
