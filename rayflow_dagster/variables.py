"""The flow's variables: a typed store with atomic operations, free of Ray.

``actors/variables.py`` puts one store into a Ray actor, where calls run one after the other;
``testing`` uses it as it is.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from .errors import VariableError
from .port_types import accepts, parse_type
from .preview import preview
from .suggest import did_you_mean

NO_VARIABLES_IN_UPDATE = "a function given to update() runs in the store and cannot use variables"


class GlobalVariableStore:
    """The variables of one run.

    Args:
        declarations: ``{name: {"type", "default", "readonly"}}`` or plain ``{name: value}``.
        snapshot: values that take the place of the defaults, as ``snapshot`` gave them.
    """

    def __init__(
        self, declarations: Mapping[str, Any], snapshot: Mapping[str, Any] | None = None
    ) -> None:
        self._declared = {name: _declaration(spec) for name, spec in declarations.items()}
        self._values = {name: spec["default"] for name, spec in self._declared.items()}
        self._values |= {k: v for k, v in (snapshot or {}).items() if k in self._declared}
        self._version = 0
        self._lock = threading.RLock()
        self._updating = False

    def get(self, name: str) -> Any:
        """The value of a variable.

        Raises:
            VariableError: it is not declared.
        """
        self._require(name)
        with self._lock:
            self._refuse_inside_update(name)
            return self._values[name]

    def set(self, name: str, value: Any) -> None:
        """Replace a value.

        Raises:
            VariableError: not declared, read-only, or ``value`` is of another type.
        """
        self.update(name, lambda _: value)

    def increment(self, name: str, by: float = 1) -> Any:
        """Add ``by`` and return the new value.

        Raises:
            VariableError: as ``set``.
        """
        return self.update(name, lambda value: (value or 0) + by)

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        """Replace the value by ``function(value)``, atomically, and return the new one.

        Raises:
            VariableError: as ``set``. What ``function`` raises passes, and nothing changes.
        """
        declared = self._require(name)
        if declared["readonly"]:
            raise VariableError(f"variable '{name}' is read-only and cannot be written")
        with self._lock:
            value = self._updated(name, function)
            if not accepts(parse_type(declared["type"]), value):
                kind = declared["type"]
                raise VariableError(f"variable '{name}' takes {kind}, not {preview(value, 80)}")
            self._values[name] = value
            self._version += 1
        return value

    def _updated(self, name: str, function: Callable[[Any], Any]) -> Any:
        self._refuse_inside_update(name)
        self._updating = True
        try:
            return function(self._values[name])
        finally:
            self._updating = False

    def _refuse_inside_update(self, name: str) -> None:
        if self._updating:  # only the updating thread gets here; an actor would wait for ever
            raise VariableError(f"variable '{name}': {NO_VARIABLES_IN_UPDATE}")

    def snapshot(self) -> tuple[int, dict[str, Any]]:
        """(number of writes so far, every value)."""
        with self._lock:
            return self._version, dict(self._values)

    def _require(self, name: str) -> dict[str, Any]:
        if name not in self._declared:
            known = ", ".join(self._declared) or "none"
            hint = did_you_mean(str(name), self._declared)
            raise VariableError(f"variable '{name}' is not declared (declared: {known}){hint}")
        return self._declared[name]


class WriteTracking:
    """A store (or a proxy of one) as ``self.variables``; remembers whether it was written to."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.written = False

    def snapshot(self) -> tuple[int, dict[str, Any]]:
        """As ``GlobalVariableStore.snapshot``."""
        taken: tuple[int, dict[str, Any]] = self._store.snapshot()
        return taken

    def get(self, name: str) -> Any:
        return self._store.get(name)

    def set(self, name: str, value: Any) -> None:
        self._store.set(name, value)
        self.written = True

    def increment(self, name: str, by: float = 1) -> Any:
        value = self._store.increment(name, by)
        self.written = True
        return value

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        value = self._store.update(name, function)
        self.written = True
        return value


def _declaration(spec: Any) -> dict[str, Any]:
    if not (isinstance(spec, Mapping) and ("type" in spec or "default" in spec)):
        spec = {"default": spec}
    return {
        "type": str(spec.get("type", "any")),
        "default": spec.get("default"),
        "readonly": bool(spec.get("readonly", False)),
    }
