"""``NodeMetadata`` from a node class's attributes, read from source or from the class itself."""

import ast
import inspect
import math
import operator
import re
import textwrap
import types
from collections.abc import Mapping
from typing import Any, cast

from .node import RayflowNode
from .port_types import fits, parse_type, type_text, value_type
from .types import EXEC_NEXT, EXEC_OUT, ConstantSpec, NodeMetadata

Attributes = dict[str, Any]
"""A class's own attributes by name; ``is_async`` and ``one_exec_next`` tell of ``process``."""

RESERVED = frozenset({EXEC_NEXT, "self"})
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Members of a class body that are no constants, whatever their name.
_BEHAVIOUR = (types.FunctionType, classmethod, staticmethod, property, type)


def build_metadata(class_path: str, attributes: Mapping[str, Any], file: str = "") -> NodeMetadata:
    """The metadata of the node class at ``class_path``.

    Raises:
        ValueError: a port or constant is declared in a way that cannot be understood.
    """
    class_name = class_path.rpartition(".")[2]
    inputs = _port_table(attributes.get("inputs", {}), class_name, "inputs")
    outputs = _port_table(attributes.get("outputs", {}), class_name, "outputs")
    exec_output = bool(attributes.get("exec_output", True))
    exec_outputs = _exec_outputs(attributes, class_name) if exec_output else ()
    description = str(attributes.get("description") or "") or _clean(attributes.get("__doc__"))
    metadata: NodeMetadata = {
        "path": class_path,
        "name": display_name(class_name),
        "class_name": class_name,
        "inputs": {name: spec["type"] for name, spec in inputs.items()},
        "outputs": {name: spec["type"] for name, spec in outputs.items()},
        "exec_input": bool(attributes.get("exec_input", True)),
        "exec_output": exec_output,
        "constants": _constants(attributes),
        "exec_outputs": exec_outputs,
        "exec_exclusive": _exclusive(attributes, exec_outputs),
        "defaults": {name: spec["default"] for name, spec in inputs.items() if "default" in spec},
        "input_descriptions": {
            name: str(spec["description"]) for name, spec in inputs.items() if "description" in spec
        },
        "description": description,
        "icon": str(attributes.get("icon") or ""),
        "category": str(attributes.get("category") or ""),
        "ray_options": _ray_options(attributes, class_name),
        "resident": _resident(attributes, class_name),
        "is_async": bool(attributes.get("is_async", False)),
    }
    if "resident_ttl" in attributes:
        metadata["resident_ttl"] = _resident_ttl(attributes["resident_ttl"], class_name)
    if file:
        metadata["file"] = file
    return metadata


def inspect_class(node_class: type[RayflowNode], class_path: str = "") -> NodeMetadata:
    """The metadata of a node class that is already imported.

    Raises:
        ValueError: as ``build_metadata``.
    """
    attributes: Attributes = {}
    for ancestor in reversed(node_class.__mro__):
        if ancestor not in (object, RayflowNode):
            attributes.update(vars(ancestor))
    attributes["__doc__"] = vars(node_class).get("__doc__")
    attributes["is_async"] = inspect.iscoroutinefunction(node_class.process)
    attributes["one_exec_next"] = _one_exec_next(node_class)
    path = class_path or f"{node_class.__module__}.{node_class.__qualname__}"
    return build_metadata(path, attributes, file=_source_file(node_class))


def _source_file(node_class: type[RayflowNode]) -> str:
    """The file of a class; "" where that is not known, as its module was let go of since."""
    try:
        return inspect.getsourcefile(node_class) or ""
    except TypeError:
        return ""


def difference(read: NodeMetadata, imported: NodeMetadata) -> str | None:
    """Where the metadata of a class that was read from its source is not that of the class itself:
    ``inputs: {'a': 'int'} read, {} imported``. None where it is, types by other paths included.
    """
    for key in {**read, **imported}:
        one, other = read.get(key), imported.get(key)
        same = _same_types if key in ("inputs", "outputs") else operator.eq
        if key != "file" and not same(one, other):
            return f"{key}: {one!r:.200} read, {other!r:.200} imported"
    return None


def _same_types(one: Any, other: Any) -> bool:
    return list(one) == list(other) and all(
        fits(parse_type(a), parse_type(b)) and fits(parse_type(b), parse_type(a))
        for a, b in zip(one.values(), other.values(), strict=True)
        if a != b
    )


def _clean(docstring: object) -> str:
    return inspect.cleandoc(docstring) if isinstance(docstring, str) else ""


def display_name(class_name: str) -> str:
    """``WordCountNode`` -> ``Word Count``."""
    stem = class_name.removesuffix("Node") or class_name
    return _WORD_STARTS.sub(" ", stem)


def _port_table(declared: Any, class_name: str, what: str) -> dict[str, dict[str, Any]]:
    if not isinstance(declared, dict):
        raise ValueError(f"{class_name}.{what} must be a dict of name: type, not {declared!r}")
    table: dict[str, dict[str, Any]] = {}
    for name, spec in declared.items():
        if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
            raise ValueError(f"{class_name}.{what}: {name!r} cannot be the name of a port")
        full = dict(spec) if isinstance(spec, dict) else {"type": spec}
        try:
            full["type"] = type_text(full.get("type", "any"))
        except ValueError as error:
            raise ValueError(f"{class_name}.{what}['{name}']: {error}") from None
        table[name] = full
    return table


def _exec_outputs(attributes: Mapping[str, Any], class_name: str) -> tuple[str, ...]:
    declared = attributes.get("exec_outputs") or ()
    if not isinstance(declared, (tuple, list)) or not all(
        isinstance(name, str) and name.isidentifier() for name in declared
    ):
        raise ValueError(f"{class_name}.exec_outputs must be a tuple of names, not {declared!r}")
    return tuple(declared) or (EXEC_OUT,)


def _ray_options(attributes: Mapping[str, Any], class_name: str) -> dict[str, Any]:
    declared = attributes.get("ray_options") or {}
    if not isinstance(declared, dict):
        raise ValueError(f"{class_name}.ray_options must be a dict, not {declared!r}")
    return dict(declared)


def _resident(attributes: Mapping[str, Any], class_name: str) -> bool:
    declared = attributes.get("resident", False)
    if not isinstance(declared, bool):
        raise ValueError(f"{class_name}.resident must be True or False, not {declared!r:.80}")
    return declared


def _resident_ttl(declared: Any, class_name: str) -> float:
    is_number = isinstance(declared, (int, float)) and not isinstance(declared, bool)
    if not is_number or not 0 < declared < math.inf:
        raise ValueError(
            f"{class_name}.resident_ttl must be a number of seconds above 0, not {declared!r:.80}"
        )
    return float(declared)


def _exclusive(attributes: Mapping[str, Any], exec_outputs: tuple[str, ...]) -> bool:
    said = attributes.get("exec_exclusive")
    if said is not None:
        return bool(said)
    return len(exec_outputs) <= 1 or bool(attributes.get("one_exec_next", False))


def _constants(attributes: Mapping[str, Any]) -> dict[str, ConstantSpec]:
    return {
        name: cast(ConstantSpec, {"type": _constant_type(value), "value": value})
        for name, value in attributes.items()
        if name.isupper() and not name.startswith("_") and not isinstance(value, _BEHAVIOUR)
    }


def _constant_type(value: Any) -> str:
    # None as the value a class starts with says nothing about what a flow may put there.
    if value is None:
        return "any"
    # JSON has lists only, so a list is what a flow can set.
    return "list" if isinstance(value, (tuple, set, frozenset)) else value_type(value)


def _one_exec_next(node_class: type[RayflowNode]) -> bool:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(node_class.process)))
    except (OSError, TypeError, SyntaxError):  # no source at hand, as for a class made at a prompt
        return False
    process = tree.body[0]
    return isinstance(process, (ast.FunctionDef, ast.AsyncFunctionDef)) and fires_one_output(
        process
    )


def fires_one_output(process: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether ``process`` can be seen to name at most one exec output per run.

    True only if it returns nothing but dict displays, and the ``exec_next`` in each is a text
    expression.
    """
    returns = [node for node in ast.walk(process) if isinstance(node, ast.Return)]
    return bool(returns) and all(_shows_one_output(node.value) for node in returns)


def _shows_one_output(returned: ast.expr | None) -> bool:
    if not isinstance(returned, ast.Dict):
        return False
    for key, value in zip(returned.keys, returned.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            return False
        if key.value == EXEC_NEXT and not _is_text(value):
            return False
    return True


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.IfExp(body=body, orelse=orelse):
            return _is_text(body) and _is_text(orelse)
        case ast.Call(func=ast.Name(id="str")):
            return True
    return False
