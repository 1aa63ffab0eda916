import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from rayflow_dagster.node import RayflowNode

MAX_WIDTH = 1000
"""Characters that a field may be filled up to, and digits behind a point."""


class FormatNode(RayflowNode):
    """Fill values into a template: "{count} words" with {"count": 3} gives "3 words".

    Number formats work as in Python ("{price:.2f}"), with widths up to 1,000; write {{ and }} for
    literal braces.
    """

    icon = "fa-quote-right"
    category = "text"
    inputs = {"template": str, "values": dict}
    outputs = {"result": str}

    def process(self, template: str, values: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": _NamesOnly().vformat(template, (), values)}
        except ValueError as error:
            raise ValueError(f"cannot fill in the template {template!r}: {error}") from error


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
