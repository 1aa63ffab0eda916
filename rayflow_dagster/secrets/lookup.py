"""Secrets where a node runs: looked up before ``process``, hidden in all that is told of it."""

import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle

from rayflow_dagster.errors import (
    NodeExecutionError,
    OutputError,
    RayflowError,
    SecretError,
    class_names,
    message_of,
    stand_in,
)
from rayflow_dagster.port_types import ANY, PortType, fits, only_member, parse_type

from .references import CONTAINERS, HIDDEN, Mask, Secret, has_secret, holds

_NUMBERS: Mapping[str, Callable[[str], Any]] = {"int": int, "float": float}
TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")


class SecretLookup:
    """The secrets of one execution of a node. ``mask`` hides those looked up so far.

    ``environment`` is where they are looked up; None for this process's.
    """

    def __init__(self, node_id: str, environment: Mapping[str, str] | None = None) -> None:
        self._node_id = node_id
        self._environment = os.environ if environment is None else environment
        self.mask = Mask()
        # By id: what the node was given, kept so that the id stays its own, and what it is of.
        self._found: dict[int, tuple[Any, Secret]] = {}

    def looked_up(self, value: Any, where: str, kind: str = "any") -> Any:
        """``value`` with every secret in it, in containers and keys too, looked up.

        Args:
            value: of a constant, an input or a variable.
            where: what it is of, for messages: ``input 'token'``.
            kind: the declared type, which the text is converted to: int, float or bool.

        Raises:
            SecretError: a variable is not set, or its text is not of the type.
        """
        if not has_secret(value):
            return value
        return self._looked_up_in(value, where, parse_type(kind))

    def _looked_up_in(self, value: Any, where: str, kind: PortType) -> Any:
        if isinstance(value, Secret):
            return self._look_up(value, where, kind)
        if type(value) not in CONTAINERS:
            return value
        args = only_member(kind).args
        if isinstance(value, dict):
            keys, items = args if len(args) == 2 else (ANY, ANY)
            return {
                self._looked_up_in(key, where, keys): self._looked_up_in(item, where, items)
                for key, item in value.items()
            }
        kind = args[0] if len(args) == 1 else ANY
        return type(value)([self._looked_up_in(item, where, kind) for item in value])

    def _look_up(self, secret: Secret, where: str, kind: PortType) -> Any:
        text = self._environment.get(secret.name)
        if text is None:
            reason = (
                f"the environment variable is not set where the node runs "
                f"({os.uname().nodename}); set it for the process that starts runs, or, for a "
                "node on another machine, there"
            )
            raise SecretError(self._node_id, where, secret.name, reason)
        # A text of its own, so that it can be told from an equal one.
        text = "".join([text[:1], text[1:]])
        self.mask.add(text)
        kind = _kind_of(secret, kind)
        value = _converted(text, kind)
        if value is None:
            reason = f"its value is not {kind}, which is what the node takes"
            raise SecretError(self._node_id, where, secret.name, reason)
        if isinstance(value, float | int) and not isinstance(value, bool):
            self.mask.add(repr(value))
        self._note(value, text, secret, kind)
        return value

    def _note(self, value: Any, text: str, secret: Secret, kind: PortType) -> None:
        """Remember what the node is given, if it can be told from any other equal object."""
        if value is text:
            if text:  # there is one empty text only
                self._found[id(value)] = value, Secret(secret.name)
        elif value is not _converted(text, kind):  # there is one True, and one of each small int
            self._found[id(value)] = value, Secret(secret.name, type(value).__name__)

    def restored(self, value: Any) -> Any:
        """``value`` with every text or number that is the very object that a secret became a
        ``Secret`` again, in plain containers and keys too; so that what is only passed on is not
        stored. ``value`` itself where there is none.

        Raises:
            ValueError: there is one in a container that is in itself, or that is too deep in
                others.
        """
        if id(value) not in self._found and not (self._found and holds(value, self._found)):
            return value
        try:
            return self._restored(value)
        except RecursionError:
            raise ValueError(
                "a value with a secret in it contains itself, or is nested too deep, so that the "
                "secret cannot be kept from view; hand it on by itself"
            ) from None

    def _restored(self, value: Any) -> Any:
        if id(value) in self._found:
            return self._found[id(value)][1]
        if type(value) is dict:
            return {self._restored(key): self._restored(item) for key, item in value.items()}
        if type(value) in CONTAINERS:
            return type(value)([self._restored(item) for item in value])
        return value


def _kind_of(secret: Secret, kind: PortType) -> PortType:
    """The type to convert to: that of the number which was handed on, where ``kind`` takes it."""
    own = parse_type(secret.kind)
    return own if own != ANY and fits(own, kind) else kind


def _converted(text: str, kind: PortType) -> Any:
    """The value that ``text`` is for a port of ``kind``; None if it is none."""
    names = [member.name for member in kind.args] if kind.name == "union" else [kind.name]
    if "any" in names or "str" in names:
        return text
    for name in names:
        if name == "bool" and (found := truth(text)) is not None:
            return found
        if name in _NUMBERS:
            try:
                return _NUMBERS[name](text)
            except ValueError:
                continue
    return None


def truth(text: str) -> bool | None:
    """The bool that ``text`` is a word for, in any case, maybe with spaces around; None if none."""
    word = text.strip().lower()
    return word in TRUE if word in TRUE + FALSE else None


class SecretVariables:
    """``self.variables`` of a node: secrets in variables are looked up when read, and what a node
    writes back unchanged stays a reference. Everything else is the store's.
    """

    def __init__(self, variables: Any, lookup: SecretLookup) -> None:
        self._variables = variables
        self._lookup = lookup

    def get(self, name: str) -> Any:
        value = self._variables.get(name)
        if not has_secret(value):
            return value
        return self._lookup.looked_up(value, f"variable '{name}'", self._variables.type_of(name))

    def set(self, name: str, value: Any) -> None:
        self._variables.set(name, self._lookup.restored(value))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._variables, name)


def shown_error(error: BaseException, mask: Mask, depth: int = 10) -> BaseException:
    """``error``, or one of the same name that hides the values, where it has one, and whose text
    can be written; the same for its causes.
    """
    if isinstance(error, NodeExecutionError) and type(error) is NodeExecutionError:
        original = shown_error(error.original_error, mask, depth - 1)
        if original is error.original_error:
            return error
        around = NodeExecutionError(error.node_id, original).with_traceback(error.__traceback__)
        around.where, around.previews = error.where, error.previews
        return around
    shown = _without(error, mask) if _tells(error, mask) else error
    for link in ("__cause__", "__context__"):
        before = getattr(error, link)
        if before is not None:
            suppressed = error.__suppress_context__
            setattr(shown, link, shown_error(before, mask, depth - 1) if depth else None)
            shown.__suppress_context__ = suppressed
    return shown


def _tells(error: BaseException, mask: Mask) -> bool:
    """Whether anything of ``error`` that is shown cannot be, or travels and has a value."""
    try:
        str(error)
    except Exception:  # the author's __str__ may fail in any way
        return True
    try:
        if any(map(mask.shows, traceback.format_exception(type(error), error, None, chain=False))):
            return True
        if not mask:
            return False
        texts = repr(error.args), repr(vars(error))
        return any(map(mask.shows, texts)) or mask.shows_in_bytes(cloudpickle.dumps(error))
    except Exception:  # the author's exception may fail in any way; then it tells no secret
        return bool(mask)


def _without(error: BaseException, mask: Mask) -> BaseException:
    """An error of the same name and traceback, with the values hidden in its message."""
    try:
        message = mask.hide(str(error))
    except Exception:  # as above
        message = HIDDEN if mask else message_of(error)
    if isinstance(error, OutputError):
        return OutputError(error.node_id, mask.hide(error.reason)).with_traceback(
            error.__traceback__
        )
    shown: BaseException
    if type(error).__module__ == RayflowError.__module__:
        shown = Exception.__new__(type(error), message)  # its facts may tell values, too
    else:
        shown = stand_in(class_names(error), message)
    for note in getattr(error, "__notes__", ()):
        shown.add_note(mask.hide(str(note)))
    return shown.with_traceback(error.__traceback__)
