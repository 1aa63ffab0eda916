"""Values and the ports a node declares in; the outputs, or an error that names the port, out."""

import inspect
from collections.abc import Mapping
from typing import Any

from .errors import OutputError
from .port_types import accepts, parse_type, value_type
from .suggest import did_you_mean
from .types import EXEC_NEXT, EXEC_OUT, NodeMetadata
from .values.preview import preview, preview_typed
from .values.stored import is_inline, travel_problem


def check_inputs(node_id: str, kinds: Mapping[str, str], inputs: Mapping[str, Any]) -> None:
    """Check values against the types of inputs, by name.

    Raises:
        TypeError: a value is not of its port's type.
    """
    for name, kind in kinds.items():
        if name in inputs and not accepts(parse_type(kind), inputs[name]):
            raise TypeError(
                f"input '{name}' of node '{node_id}' takes {kind}, but got "
                f"{preview_typed(inputs[name], 80)}"
            )


def check_inline(node_id: str, kinds: Mapping[str, str], inputs: Mapping[str, Any]) -> None:
    """``check_inputs`` of those values that are not to be opened for it.

    Raises:
        TypeError: a value is not of its port's type.
    """
    check_inputs(node_id, kinds, {name: each for name, each in inputs.items() if is_inline(each)})


def check_returned(
    node_id: str, metadata: NodeMetadata, returned: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The outputs and the fired exec outputs in what ``process`` returned.

    Raises:
        OutputError: not a dict, an output missing, undeclared or mistyped, an exec output that
            the node does not have, or several where the class promises one.
    """
    if returned is None:
        returned = {}
    if not isinstance(returned, Mapping):
        is_generator = inspect.isgenerator(returned) or inspect.isasyncgen(returned)
        kind = "a generator" if is_generator else value_type(returned)
        hint = "process() returns a dict with one entry per output"
        raise OutputError(node_id, f"process() returned {kind}; {hint}")
    outputs = {name: value for name, value in returned.items() if name != EXEC_NEXT}
    _check_outputs(node_id, metadata["outputs"], outputs)
    fired = _fired(node_id, metadata.get("exec_outputs", ()), returned.get(EXEC_NEXT))
    if len(fired) > 1 and metadata.get("exec_exclusive"):
        reason = (
            f"exec_next is {preview(returned[EXEC_NEXT], 80)}, but the class says exec_exclusive = "
            "True, that one of its exec outputs fires in a run; return one name, or leave "
            "exec_exclusive out"
        )
        raise OutputError(node_id, reason)
    return outputs, fired


def _check_outputs(node_id: str, declared: Mapping[str, str], outputs: Mapping[str, Any]) -> None:
    for name in outputs:
        if name not in declared:
            hint = did_you_mean(name, declared) if isinstance(name, str) else ""
            got = f"process() returned {preview(name, 80)}"
            raise OutputError(node_id, f"{got}, not a declared output{hint}")
    for name, kind in declared.items():
        if name not in outputs:
            raise OutputError(node_id, f"process() did not return the declared output '{name}'")
        if not accepts(parse_type(kind), outputs[name]):
            got = preview_typed(outputs[name], 80)
            raise OutputError(node_id, f"output '{name}' is declared {kind}, but is {got}")
        problem = travel_problem(outputs[name])
        if problem:
            raise OutputError(node_id, f"output '{name}' {problem}")


def _fired(node_id: str, exec_outputs: tuple[str, ...], said: Any) -> tuple[str, ...]:
    if said is None:
        if EXEC_OUT in exec_outputs:
            return (EXEC_OUT,)
        if exec_outputs:
            names = ", ".join(exec_outputs)
            reason = f"process() must return 'exec_next', one or several of: {names}"
            raise OutputError(node_id, reason)
        return ()
    several = isinstance(said, (list, tuple, set, frozenset))
    fired: list[Any] = list(said) if several else [said]
    for name in fired:
        if not isinstance(name, str) or name not in exec_outputs:
            known = ", ".join(exec_outputs) or "none"
            hint = did_you_mean(name, exec_outputs) if isinstance(name, str) else ""
            got = preview(name, 80)
            reason = f"exec_next is {got}, but the node's exec outputs are: {known}{hint}"
            raise OutputError(node_id, reason)
    return tuple(name for name in exec_outputs if name in fired)
