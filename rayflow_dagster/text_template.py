"""A template such as ``"{count} words"`` and values in, the text out; and what is wrong with one.

Fields are plain names, with Python's number formats.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Any

from .errors import describe
from .suggest import did_you_mean, listed
from .values.preview import preview

MAX_WIDTH = 1000
"""Characters that a field may be filled up to, and digits behind a point."""
_PLAIN = (str, int, float, type(None))


def filled(template: str, values: Mapping[str, Any]) -> str:
    """The template with the values in it.

    Raises:
        ValueError, KeyError: it cannot be filled in with these.
    """
    try:
        return _NamesOnly().vformat(template, (), values)
    except ValueError as error:
        raise ValueError(f"cannot fill in the template {template!r}: {error}") from error


def filled_or_told(template: str, values: Mapping[str, Any]) -> str:
    """The template with previews of the values in it, or, where it does not take them, why."""
    shown = {n: each if isinstance(each, _PLAIN) else preview(each) for n, each in values.items()}
    try:
        return filled(template, shown)
    except (ValueError, KeyError, TypeError) as error:
        return f"{template} ({describe(error)})"


def template_problems(template: Any, names: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a template whose fields are to be among ``names``."""
    if not isinstance(template, str):
        return  # the rule of types tells
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        yield f"{error}; write {{{{ and }}}} for literal braces"
        return
    for field in dict.fromkeys(fields):
        if field not in names:
            hint = did_you_mean(field, names)
            yield f"it asks for {{{field}}}, which is not wired (wired: {listed(names)}){hint}"


class _NamesOnly(Formatter):
    """Looks fields up by name only, and bounds their widths.

    ``str.format`` also follows attributes, and ``{x.__class__.__init__.__globals__}`` would let a
    template read everything in the process; ``{x:9999999999}`` would fill its memory.
    """

    def format_field(self, value: Any, format_spec: str) -> str:
        if any(int(digits) > MAX_WIDTH for digits in re.findall(r"\d+", format_spec)):
            raise ValueError(f"{format_spec!r} is wider than {MAX_WIDTH:,}")
        return str(super().format_field(value, format_spec))

    def get_field(
        self, field_name: str, _args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, str]:
        if field_name in kwargs:
            return kwargs[field_name], field_name
        if not field_name.isidentifier():
            raise ValueError(
                f"{{{field_name}}} is not a plain name; attributes, indexes and positions are not"
                " supported, so pass the value itself under a name of its own"
            )
        known = ", ".join(map(str, kwargs)) or "nothing"
        raise KeyError(f"the template asks for {{{field_name}}}, but 'values' has {known}")
