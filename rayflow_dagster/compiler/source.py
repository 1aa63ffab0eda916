"""Reading node classes from Python source with ``ast``, without running it."""

import ast
import builtins
import sys
import warnings
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rayflow_dagster.metadata import Attributes, build_metadata, fires_one_output
from rayflow_dagster.port_types import loaded_class, type_text
from rayflow_dagster.types import NodeMetadata

from .bindings import UNKNOWN, Names, bound

DECLARATIONS = frozenset(
    {"inputs", "outputs", "exec_input", "exec_output", "exec_outputs", "exec_exclusive"}
    | {"ray_options", "resident", "resident_ttl", "description", "icon", "category"}
)
PORTS = ("inputs", "outputs")
MAIN_TEST = ast.unparse(ast.parse("__name__ == '__main__'", mode="eval"))
# Members that metadata is told from by other ways than a literal, or that change what is declared.
_SPECIAL = frozenset({"process", "__doc__", "__slots__", "__init_subclass__", "__class_getitem__"})
_REFLECTION = frozenset({"locals", "vars", "globals", "exec", "eval"})
_WORDS = frozenset({"typing.Any", "typing.List", "typing.Dict"})
_GENERICS = frozenset(
    {"list", "dict", "typing.List", "typing.Dict", "typing.Optional", "typing.Union"}
)
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


def merged_metadata(lineage: Sequence[ClassSource]) -> NodeMetadata:
    """The metadata of the first class; the others are its ancestors, in Python's order."""
    own = lineage[0]
    merged = dict(ChainMap(*(each.attributes for each in lineage)))
    return build_metadata(
        own.class_path, {**merged, "__doc__": own.attributes.get("__doc__")}, file=str(own.file)
    )


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
    names = Names()
    found: dict[str, ClassSource] = {}
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            known = _read_class(statement, file, module, names)
            readable = known.is_readable and statement.name not in found
            found[statement.name] = replace(known, is_readable=readable)
            doubtful = (
                [] if readable else [each for each in statement.body if not _is_function(each)]
            )
        else:
            doubtful = [] if _is_main_guard(statement) else [statement]
        for name in found.keys() & set().union(*map(_mentioned, doubtful)):
            found[name] = replace(found[name], is_readable=False)  # which it may have changed
        names.bind(statement, module)
    for name, known in found.items():
        if names.get(name) != known.class_path:
            found[name] = replace(known, is_readable=False)
    return found


def _mentioned(node: ast.AST) -> set[str]:
    """The names that stand in a piece of code."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _is_function(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == MAIN_TEST


def _read_class(statement: ast.ClassDef, file: Path, module: str, names: Names) -> ClassSource:
    attributes: Attributes = {"__doc__": ast.get_docstring(statement, clean=False)}
    is_readable = not statement.decorator_list and not statement.keywords
    inside = Names(names)
    for member in statement.body:
        try:
            attributes |= _read_member(member, inside, module)
        except _UNREADABLE:
            is_readable = False
        inside.update(dict.fromkeys(bound(member), UNKNOWN))
    bases = tuple(_base(base, names) for base in statement.bases)
    if UNKNOWN in bases:
        is_readable = False
        guessed = names.guessed()
        bases = tuple(_base(base, guessed) for base in statement.bases)
    return ClassSource(file, module, statement.name, bases, attributes, is_readable)


def _read_member(member: ast.stmt, names: Names, module: str) -> Attributes:
    """What a statement of a class body gives the class, as far as metadata is told from it.

    Raises:
        ValueError, TypeError: only running the code can tell.
    """
    match member:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None):
            return {}
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return _about_function(member)
        case ast.ClassDef(name=name, decorator_list=[]) if not _is_told(name):
            return {}
        case ast.Assign(targets=targets, value=value):
            return _assigned(targets, value, names, module)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return _assigned([target], value, names, module)
    raise ValueError("a statement that may do anything to the class")


def _about_function(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Attributes:
    if function.name == "process" and not function.decorator_list:
        is_async = isinstance(function, ast.AsyncFunctionDef)
        return {"is_async": is_async, "one_exec_next": fires_one_output(function)}
    defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults)]
    for evaluated in (*function.decorator_list, *defaults):
        _refuse_changes(evaluated)
    if _is_told(function.name):
        raise ValueError("a function in the place of what metadata is told from")
    return {}


def _assigned(
    targets: Sequence[ast.expr], value: ast.expr, names: Names, module: str
) -> Attributes:
    told: Attributes = {}
    for target in targets:
        if not isinstance(target, ast.Name):
            raise ValueError("a target that is not a name")
        if not _is_told(target.id):
            _refuse_changes(value)
        elif target.id not in DECLARATIONS and not target.id.isupper():
            raise ValueError(f"{target.id} is not written as a function or text")
        else:
            told[target.id] = _attribute(target.id, value, names, module)
    return told


def _is_told(name: str) -> bool:
    """Whether metadata is told from a member of this name, or it may change the others."""
    return name.isupper() or name in DECLARATIONS or name in _SPECIAL


def _refuse_changes(value: ast.expr) -> None:
    """Raise a ValueError where evaluating ``value`` may change what metadata is told from."""
    if any(isinstance(part, ast.NamedExpr) for part in ast.walk(value)) or any(
        _is_told(name) or name in _REFLECTION for name in _mentioned(value)
    ):
        raise ValueError("what may change the class")


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
        case ast.Constant(value=str() as word):
            return word
        case ast.Constant(value=None):
            return "None"
        case ast.Name() | ast.Attribute():
            return _type_name(_dotted(node, names), module)
        case ast.Subscript(value=base, slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return f"{_generic(_dotted(base, names))}[{_inner_words(items, names, module)}]"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _inner_words([left, right], names, module).replace(",", " |")
    raise ValueError("not a type")


def _inner_words(nodes: Sequence[ast.expr], names: Mapping[str, str], module: str) -> str:
    if any(isinstance(node, ast.Constant) and node.value is not None for node in nodes):
        raise ValueError("a text within a type, which typing takes for a reference")
    return ", ".join(_type_word(node, names, module) for node in nodes)


def _generic(path: str) -> str:
    if path not in _GENERICS:
        raise ValueError(f"{path} takes no parameters here")
    return path


def _type_name(path: str, module: str) -> str:
    """The type word of a class by its path.

    Raises:
        ValueError: the path may stand for something else.
    """
    top, _, rest = path.partition(".")
    if path in _WORDS or (not rest and isinstance(vars(builtins).get(path), type)):
        return path
    # A name of this package, or defined in this file, may stand for any type expression.
    if not rest or top in (module.partition(".")[0], "typing"):
        raise ValueError(f"what {path} is cannot be read here")
    if top not in sys.modules:
        return path  # and validation, which imports it, compares
    found = loaded_class(path)
    if found is None:
        raise ValueError(f"{path} is no class, or one that is imported when asked for")
    return type_text(found)


def _base(node: ast.expr, names: Mapping[str, str]) -> str:
    try:
        return _dotted(node, names)
    except ValueError:
        return UNKNOWN


def _dotted(node: ast.expr, names: Mapping[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Subscript):  # a generic base such as Base[int]
        return _dotted(node.value, names)
    if not isinstance(node, ast.Name):
        raise ValueError("not a name")
    path = names.get(node.id, node.id)
    if path == UNKNOWN:
        raise ValueError(f"what {node.id} stands for cannot be read here")
    return ".".join([path, *reversed(parts)])
