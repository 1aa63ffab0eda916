"""The flow's variables: a typed store with atomic operations, free of Ray.

``actors/variables.py`` puts one store into a Ray actor, where calls run one after the other;
``testing`` uses it as it is.
"""

import math
import numbers
import pickle
import threading
from collections.abc import Callable, Mapping
from pickle import PicklingError
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import cloudpickle

from rayflow_dagster.errors import VariableError, describe
from rayflow_dagster.port_types import accepts, parse_type
from rayflow_dagster.secrets.references import Secret, is_reference
from rayflow_dagster.suggest import did_you_mean
from rayflow_dagster.values.crossing import crossed
from rayflow_dagster.values.preview import preview
from rayflow_dagster.values.stored import number_problem, travel_problem

NO_VARIABLES_IN_UPDATE = "a function given to update() runs in the store and cannot use variables"
_NOT_PICKLED = (PicklingError, RecursionError, TypeError)
"""What Ray raises of a value that cannot go into the store's actor."""
MAX_DEPTH = 100
"""How deep the value of a variable that is kept between runs may be nested."""


class Snapshot(NamedTuple):
    """The variables at one moment.

    ``changes`` tells what was done to those that are kept between runs: the sum of the increments
    if nothing else was done, None if the value was set. ``calls`` are the variables that open calls
    have for themselves, by the node that calls.
    """

    version: int
    values: Mapping[str, Any]
    changes: Mapping[str, float | None] = {}
    calls: Mapping[str, Mapping[str, Any]] = {}


class GlobalVariableStore:
    """The variables of one run. Values that it takes and gives are copies.

    Args:
        declarations: ``{name: {"type", "default", "readonly", "scope"}}`` or plain
            ``{name: value}``.
        snapshot: to go on from, instead of the defaults.
        of_calls: node that calls a flow -> the declarations of what each call has for itself.
    """

    _copied = staticmethod(crossed)

    def __init__(
        self,
        declarations: Mapping[str, Any],
        snapshot: Snapshot | None = None,
        of_calls: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        declarations, snapshot = self._copied((dict(declarations), snapshot))
        before = snapshot or Snapshot(0, {})
        self._declared = {name: _declaration(spec) for name, spec in declarations.items()}
        self._values = {name: spec["default"] for name, spec in self._declared.items()}
        self._values |= {k: v for k, v in before.values.items() if k in self._declared}
        self._changes = {k: v for k, v in before.changes.items() if k in self._declared}
        self._version = 0
        self._lock = threading.RLock()
        self._updating = False
        self._of_calls = of_calls
        self._calls = {
            key: GlobalVariableStore(of_calls[key], Snapshot(0, values))
            for key, values in before.calls.items()
            if key in of_calls
        }
        """The variables of the calls that are under way."""

    def __reduce__(self) -> NoReturn:
        # Only a function given to update() could carry the store away, and into itself.
        raise VariableError(NO_VARIABLES_IN_UPDATE)

    def get(self, name: str) -> Any:
        """The value of a variable.

        Raises:
            VariableError: it is not declared.
        """
        self._require(name)
        with self._lock:
            self._refuse_inside_update(name)
            return self._copied(self._values[name])

    def type_of(self, name: str) -> str:
        """The type that a variable is declared to have.

        Raises:
            VariableError: it is not declared.
        """
        return str(self._require(name)["type"])

    def set(self, name: str, value: Any) -> None:
        """Replace a value.

        Raises:
            VariableError: not declared, read-only, or ``value`` is of another type.
        """
        value = self._copied(value)
        self._write(name, lambda _: value, None)

    def increment(self, name: str, by: float = 1) -> Any:
        """Add ``by`` and return the new value.

        Raises:
            VariableError: as ``set``.
        """
        raised = self._write(name, lambda value: _raised(name, value, by), _amount(by))
        return self._copied(raised)

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        """Replace the value by ``function(value)``, atomically, and return the new one.

        Raises:
            VariableError: as ``set``. What ``function`` raises passes, and nothing changes.
        """
        return self._copied(self._write(name, self._copied(function), None))

    def of_call(self, node_id: str, key: str, method: str, *arguments: Any) -> Any:
        """Call a method of the store of the variables that a call of a flow has for itself: the one
        that ``key`` tells from others by the same node.

        Raises:
            VariableError: as that method.
        """
        with self._lock:
            if key not in self._calls:
                self._calls[key] = GlobalVariableStore(self._of_calls[node_id])
        found = getattr(self._calls[key], method)(*arguments)
        if method not in ("get", "type_of"):
            with self._lock:
                self._version += 1
        return found

    def end_call(self, key: str) -> None:
        """Forget the variables of a call."""
        self._calls.pop(key, None)

    def _write(self, name: str, function: Callable[[Any], Any], amount: float | None) -> Any:
        """``amount`` is what an increment adds; None for any other write."""
        declared = self._require(name)
        if declared["readonly"]:
            raise VariableError(f"variable '{name}' is read-only and cannot be written")
        with self._lock:
            value = self._updated(name, function)
            if not accepts(parse_type(declared["type"]), value):
                kind = declared["type"]
                raise VariableError(f"variable '{name}' takes {kind}, not {preview(value, 80)}")
            if declared["scope"] == "flow":
                value = kept_value(name, value)
                self._changes[name] = _sum(self._changes.get(name, 0), amount)
            self._values[name] = value
            self._version += 1
        return value

    def _updated(self, name: str, function: Callable[[Any], Any]) -> Any:
        self._refuse_inside_update(name)
        self._updating = True
        try:
            # A copy, so that nothing changes where the function or the check of its value fails.
            return function(crossed(self._values[name]))
        finally:
            self._updating = False

    def _refuse_inside_update(self, name: str) -> None:
        if self._updating:  # only the updating thread gets here; an actor would wait for ever
            raise VariableError(f"variable '{name}': {NO_VARIABLES_IN_UPDATE}")

    def snapshot(self) -> Snapshot:
        """The variables now; its version is the number of writes so far."""
        with self._lock:
            calls = {
                key: store.snapshot().values
                for key, store in self._calls.items()
                if key in self._of_calls  # the others are run again as a whole
            }
            return Snapshot(self._version, dict(self._values), dict(self._changes), calls)

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

    def snapshot(self) -> Snapshot:
        """As ``GlobalVariableStore.snapshot``."""
        taken: Snapshot = self._store.snapshot()
        return taken

    def get(self, name: str) -> Any:
        return self._store.get(name)

    def type_of(self, name: str) -> str:
        return str(self._store.type_of(name))

    def set(self, name: str, value: Any) -> None:
        problem = travel_problem(value)
        if problem:
            raise VariableError(f"variable '{name}': the value {problem}")
        try:
            self._store.set(name, value)
        except _NOT_PICKLED as error:
            raise _not_pickled(name, error, value) from None
        self.written = True

    def increment(self, name: str, by: float = 1) -> Any:
        value = self._store.increment(name, by)
        self.written = True
        return value

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        try:
            value = self._store.update(name, function)
        except PicklingError as error:  # of the function, or of what it gave
            raise _not_pickled(name, error) from None
        self.written = True
        return value


def _not_pickled(name: str, error: Exception, *values: Any) -> VariableError:
    what = preview(values[0], 80) if values else "this"
    reason = describe(error.__cause__ or error)  # Ray reports at length what it was raised from
    return VariableError(f"variable '{name}' cannot hold {what}, which cannot be pickled: {reason}")


def _declaration(spec: Any) -> dict[str, Any]:
    if not (isinstance(spec, Mapping) and spec.keys() & {"type", "default", "scope"}):
        spec = {"default": spec}
    return {
        "type": str(spec.get("type", "any")),
        "default": spec.get("default"),
        "readonly": bool(spec.get("readonly", False)),
        "scope": spec.get("scope") or "run",
    }


def kept_declarations(variables: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The declarations of the variables that are kept between runs."""
    return {
        name: spec
        for name, spec in variables.items()
        if isinstance(spec, Mapping) and spec.get("scope") == "flow"
    }


def pickled(snapshot: Snapshot) -> bytes:
    """The snapshot as it comes back from a node, or as a run stores it.

    Raises:
        VariableError: a value cannot be pickled.
    """
    try:
        packed: bytes = cloudpickle.dumps(tuple(snapshot))  # no class: modules may move
    except Exception:  # the author's classes may fail in any way
        for name, value in snapshot.values.items():
            _check_pickled(name, value)
        raise
    return packed


def _check_pickled(name: str, value: Any) -> None:
    try:
        cloudpickle.dumps(value)
    except Exception as error:  # as above
        raise _not_pickled(name, error, value) from None


def unpickled(snapshot: bytes) -> Snapshot:
    """The snapshot that came back from a node, or that a run has stored."""
    return Snapshot(*pickle.loads(snapshot))


def kept_value(name: str, value: Any) -> Any:
    """``value`` as a variable keeps it between runs: plain JSON, numpy's numbers as Python's, and
    secrets, of which the reference is kept.

    Raises:
        VariableError: it has no JSON form that reads back as the same.
    """
    try:
        return _plain(value, 0)
    except ValueError as error:
        raise VariableError(
            f"variable '{name}' is kept between runs, so it takes plain JSON values only, and "
            f"{error}; convert it first"
        ) from None


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"this value is nested deeper than {MAX_DEPTH} levels")
    match value:
        case Secret() if depth < MAX_DEPTH:
            return value
        case list():
            return [_plain(item, depth + 1) for item in value]
        case dict():
            _check_object(value)
            return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    return _scalar(value)


def _check_object(value: Mapping[Any, Any]) -> None:
    if not all(isinstance(key, str) for key in value):
        raise ValueError("the keys of a JSON object are texts")
    if is_reference(value):  # the environment is read for those of flow files and users only
        raise ValueError(f"the next run would take {preview(value, 80)} for a secret")


def _scalar(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case numbers.Integral():
            return int(value)
        case numbers.Real() if math.isfinite(value):
            return float(value)
    kind = type(value)
    if kind.__name__ in ("bool", "bool_"):  # numpy's
        return bool(value)
    raise ValueError(f"{preview(value, 80)} ({kind.__module__}.{kind.__qualname__}) is none")


def _sum(before: float | None, amount: float | None) -> float | None:
    """What several increments add; None as soon as one of them was another write."""
    return None if before is None or amount is None else before + amount


def _raised(name: str, value: Any, by: float) -> Any:
    if isinstance(value, Secret):
        raise VariableError(
            f"variable '{name}' holds a secret, of which the store has the reference only; take "
            "its value with get, and set the sum"
        )
    try:
        total = (value or 0) + by
        problem = number_problem(total)
    except OverflowError:  # an integer that is too large for the float that it is added to
        problem = number_problem(by) or number_problem(value) or "is too large"
    if problem:
        raise VariableError(
            f"variable '{name}' cannot be raised by {preview(by, 40)}: the sum {problem}"
        )
    return total


def _amount(by: Any) -> float | None:
    """What an increment adds, as a number of Python's; None if it is no number."""
    if isinstance(by, numbers.Real) and not number_problem(by) and math.isfinite(by):
        return int(by) if isinstance(by, numbers.Integral) else float(by)
    return None
