"""Reading node classes from Python source with ``ast``, without running it."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rayflow_dagster.metadata import Attributes, build_metadata, fires_one_output
from rayflow_dagster.types import NodeMetadata


DECLARATIONS = frozenset(
    {"inputs", "outputs", "exec_input", "exec_output", "exec_outputs", "exec_exclusive"}
    | {"ray_options", "resident"}
)


@dataclass(frozen=True, slots=True)
class ClassSource:
    """A class statement: where it stands, its bases as class paths, its literal attributes."""

    file: Path
    module: str
    name: str
    bases: tuple[str, ...]
    attributes: Attributes = field(repr=False)
    unreadable: tuple[str, ...] = ()
    """Names of attributes whose value is not a literal, so only inspection can tell it."""

    @property
    def class_path(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def is_readable(self) -> bool:
        """Whether the source alone tells the ports and constants."""
        return not any(name.isupper() or name in DECLARATIONS for name in self.unreadable)

    def metadata(self, lineage: Sequence["ClassSource"]) -> NodeMetadata:
        """The metadata of this class; ``lineage`` is the class and its ancestors."""
        merged: Attributes = {}
        for ancestor in reversed(lineage):
            merged.update(ancestor.attributes)
        merged["__doc__"] = self.attributes.get("__doc__")
        return build_metadata(self.class_path, merged, file=str(self.file))


def read_module(file: Path, module: str) -> Mapping[str, ClassSource]:
    """The classes that ``file`` defines at its top level, by name.

    A file that Python cannot parse defines none here: importing it says what is wrong.
    """
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError):
        return {}
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
    unreadable: list[str] = []
    for name, value in _assignments(statement):
        try:
            literal = _literal(value, names)
        except ValueError:
            unreadable.append(name)
            continue
        if isinstance(literal, TypeWord):  # a name or an expression, so not a literal here
            unreadable.append(name)
        else:
            attributes[name] = literal
    for member in statement.body:
        if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) and member.name == "process":
            attributes["is_async"] = isinstance(member, ast.AsyncFunctionDef)
            attributes["one_exec_next"] = fires_one_output(member)
    bases = tuple(_dotted(base, names) for base in statement.bases)
    return ClassSource(file, module, statement.name, bases, attributes, tuple(unreadable))


def _assignments(statement: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for member in statement.body:
        if isinstance(member, ast.Assign):
            for target in member.targets:
                if isinstance(target, ast.Name):
                    yield target.id, member.value
        elif isinstance(member, ast.AnnAssign) and member.value is not None:
            if isinstance(member.target, ast.Name):
                yield member.target.id, member.value


def _literal(node: ast.expr, names: Mapping[str, str]) -> Any:
    """A literal, in which types may stand (they become type words)."""
    match node:
        case ast.Dict(keys=keys, values=values):
            if any(key is None for key in keys):
                raise ValueError("a dict with ** is not a literal")
            return {
                _literal(cast(ast.expr, key), names): _literal(value, names)
                for key, value in zip(keys, values, strict=True)
            }
        case ast.List(elts=items):
            return [_literal(item, names) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item, names) for item in items)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            return TypeWord(_type_word(node, names))
        case ast.BinOp(op=ast.BitOr()):
            return TypeWord(_type_word(node, names))
    return ast.literal_eval(node)


class TypeWord(str):
    """A type as written in source, its names resolved to paths."""


def _type_word(node: ast.expr, names: Mapping[str, str]) -> str:
    match node:
        case ast.Name() | ast.Attribute():
            return _dotted(node, names)
        case ast.Subscript(value=base, slice=ast.Tuple(elts=items)):
            inner = ", ".join(_type_word(item, names) for item in items)
            return f"{_dotted(base, names)}[{inner}]"
        case ast.Subscript(value=base, slice=item):
            return f"{_dotted(base, names)}[{_type_word(item, names)}]"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_type_word(left, names)} | {_type_word(right, names)}"
        case ast.Constant(value=None):
            return "None"
        case ast.Constant(value=str() as word):
            return word
    raise ValueError("not a type")


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
