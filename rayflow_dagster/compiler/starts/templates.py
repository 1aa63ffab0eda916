"""``{{ file.path }}`` in a trigger's inputs: what started the run, filled in when it starts.

A text that is one template alone becomes the value itself, with its type; within other text the
value is written into it. Nothing is computed: a name, or names joined by dots.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Up to the next pair of braces of either kind, so that no text is read twice.
_TEMPLATE = re.compile(r"\{\{((?:[^{}]|\{(?!\{)|\}(?!\}))*+)\}\}")


def template_names(value: Any) -> Iterator[str]:
    """The names of all templates in ``value``, at any depth."""
    for text in _texts(value):
        yield from (match[1].strip() for match in _TEMPLATE.finditer(text))


def template_problems(value: Any) -> Iterator[str]:
    """What is wrong with the templates in ``value``, at any depth."""
    for text in _texts(value):
        rest = _TEMPLATE.sub("", text)
        if "{{" in rest:
            open_one = rest[rest.index("{{") :]
            yield f"a template is not closed: '{open_one:.40}'; write }}}} behind it"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def lone_template(value: Any) -> str | None:
    """The name, where ``value`` is one template and nothing else."""
    match = _TEMPLATE.fullmatch(value.strip()) if isinstance(value, str) else None
    return match[1].strip() if match is not None else None


def fill(value: Any, known: Mapping[str, Any]) -> Any:
    """``value`` with every template replaced.

    Args:
        value: a JSON value.
        known: what each name stands for; a dotted name is looked up part by part.

    Raises:
        KeyError: a name stands for nothing.
    """
    name = lone_template(value)
    if name is not None:
        return look_up(name, known)
    if isinstance(value, str):
        return _TEMPLATE.sub(lambda match: str(look_up(match[1].strip(), known)), value)
    if isinstance(value, Mapping):
        return {key: fill(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, known) for item in value]
    return value


def look_up(name: str, known: Mapping[str, Any]) -> Any:
    """What a dotted name stands for.

    Raises:
        KeyError: it stands for nothing.
    """
    found: Any = known
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise KeyError(name)
        found = found[part]
    return found
