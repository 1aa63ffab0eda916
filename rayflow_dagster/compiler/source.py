"""Reading node classes from Python source with ``ast``, without running it."""

import ast
import builtins
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayflow_dagster.metadata import Attributes, build_metadata, fires_one_output
from rayflow_dagster.types import NodeMetadata

DECLARATIONS = frozenset(
    {"inputs", "outputs", "exec_input", "exec_output", "exec_outputs", "exec_exclusive"}
    | {"ray_options", "resident", "resident_ttl", "description", "icon", "category"}
)
PORTS = ("inputs", "outputs")
UNKNOWN_BASE = "?"
# What a class body may consist of, for reading alone to tell what is in it.
_PLAIN = (ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Expr)
_UNREADABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


@dataclass(frozen=True, slots=True)
class ClassSource:
    """A class statement: where it stands, its bases as class paths, its literal attributes."""

    file: Path
    module: str
    name: str
    bases: tuple[str, ...]
    attributes: Attributes = field(repr=False)
    is_readable: bool = True
    """Whether the source alone tells the ports and constants."""

    @property
    def class_path(self) -> str:
        return f"{self.module}.{self.name}"

    def metadata(self, lineage: Sequence["ClassSource"]) -> NodeMetadata:
        """The metadata of this class; ``lineage`` is the class and its ancestors."""
        merged: Attributes = {}
        for ancestor in reversed(lineage):
            merged.update(ancestor.attributes)
        merged["__doc__"] = self.attributes.get("__doc__")
        return build_metadata(self.class_path, merged, file=str(self.file))


def read_module(file: Path, module: str) -> Mapping[str, ClassSource]:
    """The classes that ``file`` defines at its top level, by name.

    Raises:
        SyntaxError, ValueError, OSError: the file cannot be read as Python.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(file.read_bytes(), filename=str(file))
    except (MemoryError, RecursionError):
        raise ValueError("it is nested too deep for Python") from None
    names = dict(_imported_names(tree, module))
    found: dict[str, ClassSource] = {}
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            found[statement.name] = _read_class(statement, file, module, names)
            names[statement.name] = f"{module}.{statement.name}"
    return found


def _imported_names(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                name = alias.asname or alias.name.partition(".")[0]
                yield name, alias.name if alias.asname else name
        elif isinstance(statement, ast.ImportFrom):
            package = _absolute(statement, module)
            for alias in statement.names:
                yield alias.asname or alias.name, f"{package}.{alias.name}"


def _absolute(statement: ast.ImportFrom, module: str) -> str:
    if not statement.level:
        return statement.module or ""
    base = module.split(".")[: -statement.level]
    return ".".join([*base, *([statement.module] if statement.module else [])])


def _read_class(
    statement: ast.ClassDef, file: Path, module: str, names: Mapping[str, str]
) -> ClassSource:
    attributes: Attributes = {"__doc__": ast.get_docstring(statement)}
    is_readable = not statement.decorator_list and all(
        isinstance(member, _PLAIN) for member in statement.body
    )
    for target, value in _assignments(statement):
        if not isinstance(target, ast.Name):
            is_readable = False
        elif target.id.isupper() or target.id in DECLARATIONS:
            try:
                attributes[target.id] = _attribute(target.id, value, names, module)
            except _UNREADABLE:
                is_readable = False
    attributes |= _about_process(statement)
    bases = tuple(_base(base, names) for base in statement.bases)
    return ClassSource(file, module, statement.name, bases, attributes, is_readable)


def _about_process(statement: ast.ClassDef) -> Attributes:
    about: Attributes = {}
    for member in statement.body:
        if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) and member.name == "process":
            about["is_async"] = isinstance(member, ast.AsyncFunctionDef)
            about["one_exec_next"] = fires_one_output(member)
    return about


def _assignments(statement: ast.ClassDef) -> Iterator[tuple[ast.expr, ast.expr]]:
    for member in statement.body:
        if isinstance(member, ast.Assign):
            yield from ((target, member.value) for target in member.targets)
        elif isinstance(member, ast.AnnAssign) and member.value is not None:
            yield member.target, member.value


def _attribute(name: str, value: ast.expr, names: Mapping[str, str], module: str) -> Any:
    """The value of a class attribute: a literal, and in a table of ports also types.

    Raises:
        ValueError, TypeError: only running the code can tell the value.
    """
    if name not in PORTS:
        return ast.literal_eval(value)
    if not isinstance(value, ast.Dict):
        raise ValueError("a table of ports that is not a dict display")
    return {
        ast.literal_eval(_key(key)): _port(spec, names, module)
        for key, spec in zip(value.keys, value.values, strict=True)
    }


def _port(spec: ast.expr, names: Mapping[str, str], module: str) -> Any:
    if not isinstance(spec, ast.Dict):
        return _type_word(spec, names, module)
    port: dict[str, Any] = {}
    for key, value in zip(spec.keys, spec.values, strict=True):
        name = ast.literal_eval(_key(key))
        is_type = name == "type"
        port[name] = _type_word(value, names, module) if is_type else ast.literal_eval(value)
    return port


def _key(key: ast.expr | None) -> ast.expr:
    if key is None:
        raise ValueError("a dict with ** is not a literal")
    return key


def _type_word(node: ast.expr, names: Mapping[str, str], module: str) -> str:
    """A type as written in source, its names resolved to paths.

    Raises:
        ValueError: what the name stands for cannot be told from this file alone.
    """
    match node:
        case ast.Name() | ast.Attribute():
            return _type_name(_dotted(node, names), module)
        case ast.Subscript(value=base, slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            words = ", ".join(_type_word(item, names, module) for item in items)
            return f"{_type_name(_dotted(base, names), module)}[{words}]"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_type_word(left, names, module)} | {_type_word(right, names, module)}"
        case ast.Constant(value=None):
            return "None"
        case ast.Constant(value=str() as word):
            return word
    raise ValueError("not a type")


def _type_name(path: str, module: str) -> str:
    top, _, rest = path.partition(".")
    is_builtin = not rest and isinstance(vars(builtins).get(path), type)
    # A name of this package, or defined in this file, may stand for any type expression.
    if is_builtin or (rest and top != module.partition(".")[0]):
        return path
    raise ValueError(f"what {path} is cannot be read here")


def _base(node: ast.expr, names: Mapping[str, str]) -> str:
    try:
        return _dotted(node, names)
    except ValueError:
        return UNKNOWN_BASE


def _dotted(node: ast.expr, names: Mapping[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Subscript):  # a generic base such as Base[int]
        return _dotted(node.value, names)
    if not isinstance(node, ast.Name):
        raise ValueError("not a name")
    return ".".join([names.get(node.id, node.id), *reversed(parts)])
