"""The calls of flows that a node is in, and a run's variable store, in; the variables that the node
sees, out.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from rayflow_dagster.errors import VariableError
from rayflow_dagster.suggest import did_you_mean

from .store import Snapshot


class Call(NamedTuple):
    """One call of a flow.

    ``own``: the names of the variables that it has for itself; ``shares``: whether those of its
    caller are there besides.
    """

    node_id: str
    key: str
    own: tuple[str, ...]
    shares: bool

    @classmethod
    def of(cls, node_id: str, own: Mapping[str, Any], *, shares: bool) -> "Call":
        """A new call by a node of a flow with these variables."""
        return cls(node_id, uuid.uuid4().hex, tuple(own), shares)


Calls = tuple[Call, ...]
"""The calls that a node is in, the innermost last."""


class Store(Protocol):
    """What this module needs of the store: ``GlobalVariableStore``, or a proxy of one."""

    def of_call(self, node_id: str, key: str, method: str, *arguments: Any) -> Any:
        """Call a method of the store of a call's own variables."""

    def snapshot(self) -> Snapshot:
        """The variables of the run."""


def seen_by(calls: Calls, store: Any) -> Any:
    """The store as a node sees it that is in these calls."""
    return CallVariables(store, calls) if calls else store


class CallVariables:
    """The variables of the innermost call that has them; else of the run, if all calls share."""

    def __init__(self, store: Store, calls: Calls) -> None:
        self._store = store
        self._calls = calls

    def get(self, name: str) -> Any:
        return self._do("get", name)

    def type_of(self, name: str) -> str:
        return str(self._do("type_of", name))

    def set(self, name: str, value: Any) -> None:
        self._do("set", name, value)

    def increment(self, name: str, by: float = 1) -> Any:
        return self._do("increment", name, by)

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        return self._do("update", name, function)

    def snapshot(self) -> Snapshot:
        """The variables of the run: a call that is run again begins with new ones."""
        return self._store.snapshot()

    def _do(self, method: str, name: str, *arguments: Any) -> Any:
        declared: list[str] = []
        for call in reversed(self._calls):
            if name in call.own:
                return self._store.of_call(call.node_id, call.key, method, name, *arguments)
            declared += call.own
            if not call.shares:
                known = ", ".join(declared) or "none"
                raise VariableError(
                    f"variable '{name}' is not declared by the flow that node '{call.node_id}' "
                    f"calls (declared: {known}){did_you_mean(str(name), declared)}"
                )
        return getattr(self._store, method)(name, *arguments)
