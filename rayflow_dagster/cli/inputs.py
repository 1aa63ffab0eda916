"""The inputs of a run as typed at a prompt: ``-i name=value`` and ``--inputs FILE``.

``-i`` values are read by the type that START declares; then all inputs are checked by the function
that checks them in every run.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from rayflow_dagster.compiler.json_values import is_unicode
from rayflow_dagster.engine.inputs import checked_inputs
from rayflow_dagster.errors import InvalidInputsError
from rayflow_dagster.port_types import PortType, accepts, parse_type, value_type
from rayflow_dagster.secrets.references import KEY, name_problem, secrets_in
from rayflow_dagster.types import ExecutionGraph
from rayflow_dagster.values.stored import MAX_DIGITS, number_problem

from .group import Refused

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
_ARTICLES = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def read_inputs(graph: ExecutionGraph, typed: Iterable[str], file: str | None) -> dict[str, Any]:
    """The inputs that the user gave, found to fit what START declares.

    Args:
        graph: the flow.
        typed: the ``name=value`` of every ``-i``; they win over the file.
        file: path of a JSON object, ``-`` for standard input, or None.

    Raises:
        click.UsageError: an ``-i`` without ``=``.
        InvalidInputsError: with every unknown, missing or mistyped input.
        Refused: the file is not a JSON object.
    """
    pairs = [_split(text) for text in typed]
    declared = graph["nodes"][graph["start_node"]]["metadata"]["outputs"]
    values = read_input_file(file) if file is not None else {}
    unread: dict[str, str] = {}
    for name, text in pairs:
        try:
            values[name] = parse_value(declared.get(name, "any"), text)
        except ValueError as error:
            kind = declared.get(name, "any")
            unread[name] = f"input '{name}' takes {kind}, not {_quoted(text)}: {error}"
    problems = [*unread.values(), *_misfits(graph, values, unread)]
    if problems:
        raise InvalidInputsError(problems)
    return values


def _misfits(graph: ExecutionGraph, values: Mapping[str, Any], unread: Iterable[str]) -> list[str]:
    """What every run would refuse, apart from the inputs that could not even be read."""
    try:
        checked_inputs(graph, values)
    except InvalidInputsError as error:
        told = tuple(f"input '{name}' " for name in unread)
        return [problem for problem in error.problems if not problem.startswith(told)]
    return []


def parse_value(declared: str, text: str) -> Any:
    """The value that ``text`` means for an input of type ``declared``.

    Raises:
        ValueError: it means none; the message says why.
    """
    kind = parse_type(declared)
    if not is_unicode(text):
        raise ValueError("it is not text in the terminal's encoding")
    reference = _reference(text)
    if reference is not None and accepts(kind, secrets_in(reference, checked=False)):
        problem = None if accepts(kind, reference) else name_problem(reference[KEY])
        if problem is not None:
            raise ValueError(problem)
        return reference
    match kind.name:
        case "str":
            return text
        case "int" | "float":
            return _parse_number(kind, text)
        case "bool":
            return _parse_bool(text)
    return _parse_json(kind, text)


def _reference(text: str) -> Any:
    """The ``{"$env": ...}`` that ``text`` is, whatever the name; or None."""
    try:
        value = _loads(text) if text.lstrip().startswith("{") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.keys() == {KEY} else None


def read_input_file(file: str) -> dict[str, Any]:
    """The JSON object in ``file``, or on standard input when ``file`` is ``-``.

    Raises:
        Refused: it cannot be read, or is not a JSON object.
    """
    where = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
        values = _loads(text)
    except UnicodeDecodeError as error:
        raise Refused(f"--inputs {where}: it is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise Refused(f"--inputs {where}: {error.strerror}") from None
    except ValueError as error:
        raise Refused(f"--inputs {where}: it is not JSON: {error}") from None
    if not isinstance(values, dict):
        kind = value_type(values)
        raise Refused(f'--inputs {where}: give a JSON object {{"name": value}}, not a {kind}')
    return values


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        hint = "; --inputs takes a file" if text.endswith(".json") else ""
        raise click.BadParameter(f"{_quoted(text)} is not name=value{hint}", param_hint="'-i'")
    return name.strip(), value


def _parse_number(kind: PortType, text: str) -> int | float:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"give a number of at most {MAX_DIGITS} digits")
    try:
        number = int(text) if kind.name == "int" else float(text)
    except ValueError:
        raise ValueError(f"give {_ARTICLES[kind.name]}") from None
    if number_problem(number):
        raise ValueError("give a finite number")
    return number


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError("give true or false (yes, no, 1, 0 will do)")
    return word in TRUE


def _parse_json(kind: PortType, text: str) -> Any:
    """JSON where it parses and fits; else the text itself where text may stand."""
    try:
        value = _loads(text)
    except ValueError as error:
        if accepts(kind, text):
            return text
        raise ValueError(f"give it as JSON ({error})") from None
    if accepts(kind, secrets_in(value)):
        return value
    if accepts(kind, text):
        return text
    raise ValueError(f"as JSON it is {value_type(value)}")


def _loads(text: str) -> Any:
    """JSON as RFC 8259 has it, without repeated keys.

    Raises:
        ValueError: it is not.
    """
    try:
        return json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r:.80} stands twice in one object")
    return values


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON value")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
