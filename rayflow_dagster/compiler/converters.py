"""Two types that do not fit in, the built-in nodes that convert from the one to the other out."""

from rayflow_dagster.port_types import PortType, fits, parse_type

_SCALARS = "int | float | bool | str"
CONVERTERS = (
    ("convert.to_int", _SCALARS, "int"),
    ("convert.to_float", _SCALARS, "float"),
    ("convert.to_bool", "bool | int | str", "bool"),
    ("convert.to_str", _SCALARS, "str"),
    ("data.json_dump", "list | dict", "str"),
    ("data.json_parse", "str", "list"),
    ("data.json_parse", "str", "dict"),
)
"""A node's short name, what it converts, and to what. The JSON nodes take or give any type; here is
what they are meant for."""


def converters(gives: PortType, takes: PortType) -> list[str]:
    """Short names, without repeats. A node that takes ``gives`` in part only is left out."""
    wanted = {kind.name for kind in (takes.args if takes.name == "union" else (takes,))}
    found = (
        name
        for name, source, target in CONVERTERS
        if target in wanted and fits(gives, parse_type(source))
    )
    return list(dict.fromkeys(found))
