"""The body of a request: bytes from anywhere, which become a JSON object or are refused."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rayflow_dagster.compiler.json_values import json_problems, parse_problem

MAX_DEPTH = 50
"""Less than Dagster and Python's own parser can stand."""


def read_body(content: bytes) -> dict[str, Any]:
    """The JSON object in ``content``.

    Raises:
        ValueError: it is not UTF-8, not JSON as RFC 8259 has it, repeats a key, is nested deeper
            than 50 levels, or is no object; the message says which.
    """
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unrepeated, parse_constant=_refuse
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {parse_problem(error)}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError('the body must be a JSON object of inputs, {"name": value}')
    if _is_deep(value):
        raise ValueError(_TOO_DEEP)
    problems = json_problems(value)
    if problems:
        raise ValueError(f"the body is not JSON: {'; '.join(problems)}")
    return value


def digest_of(inputs: Mapping[str, Any]) -> str:
    """What equal inputs have in common, in whatever order they were written."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


_TOO_DEEP = f"the body is nested deeper than {MAX_DEPTH} levels"


def _is_deep(value: Any) -> bool:
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        inside: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inside.extend(item.values())
            elif isinstance(item, list):
                inside.extend(item)
        level, depth = [item for item in inside if isinstance(item, (dict, list))], depth + 1
    return bool(level)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.80} stands twice in one object")
        found[key] = value
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON value")
