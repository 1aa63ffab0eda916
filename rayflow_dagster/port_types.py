"""Port types: what a value at a port may be, written as text (``list[int]``, ``str | None``).

The words are ``int float str bool dict list any None``, ``list[T]``, ``dict[K, V]``, unions
``A | B``, ``optional[T]``, and a class by its path (``pandas.DataFrame``). A type fits another
where the check of values, when the flow runs, takes all that is of it: ``int`` fits ``float``,
``list`` fits ``collections.abc.Sequence``, a subclass its base, a union where all of it fits.
``any`` fits both ways; nothing converts. The syntax is that of PEP 484 and PEP 604.

Classes are looked up among the modules that are already imported: a type word in a flow file
must never cause an import.
"""

import ast
import builtins
import importlib
import numbers
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Union, cast

from .secrets.references import KEY, Secret, name_problem

_FROM_TEXT = frozenset({"any", "str", "int", "float", "bool"})
BASIC = ("any", "int", "float", "str", "bool", "dict", "list", "None")
_SPELLINGS = {
    "any": "any", "object": "any", "typing.any": "any", "builtins.object": "any",
    "int": "int", "integer": "int", "float": "float", "number": "float", "double": "float",
    "str": "str", "string": "str", "text": "str", "bool": "bool", "boolean": "bool",
    "dict": "dict", "object_": "dict", "mapping": "dict", "list": "list", "array": "list",
    "none": "None", "null": "None", "nonetype": "None",
    "typing.list": "list", "typing.dict": "dict",
}  # fmt: skip
# What a value of a word may be an object of: a float may be an int. Numbers of other packages are
# taken too, but nothing is known of what else takes them.
_CLASSES: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (float, int), "bool": (bool,), "str": (str,), "dict": (dict,),
    "list": (list,), "None": (type(None),),
}  # fmt: skip
_NUMBERS: Mapping[str, type] = {"int": numbers.Integral, "float": numbers.Real}
_NUMPY_BOOLS = frozenset({("numpy", "bool"), ("numpy", "bool_")})
MAX_DEPTH = 20
MAX_LENGTH = 1000
# What type words are made of. The parser would warn about the rest, such as "1if".
_WORDS = re.compile(r"(?:[^\W\d]\w*+|[\s.,|\[\]'\"])*+")

ClassResolver = Callable[[str], type | None]


@dataclass(frozen=True, slots=True)
class PortType:
    """``name`` is a basic word, ``"union"``, or a class path; ``args`` are its parameters."""

    name: str
    args: tuple["PortType", ...] = ()

    def __str__(self) -> str:
        if self.name == "union":
            return " | ".join(str(arg) for arg in self.args)
        return self.name + (f"[{', '.join(str(arg) for arg in self.args)}]" if self.args else "")


ANY = PortType("any")


@lru_cache(maxsize=4096)
def parse_type(text: str) -> PortType:
    """Parse a type word such as ``"dict[str, list[int]]"``.

    Raises:
        ValueError: the text is not a type; the message says why.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a type of {len(text)} characters is too long")
    return _from_ast(_parsed(text), text, 0)


def _parsed(text: str) -> ast.expr:
    try:
        if _WORDS.fullmatch(text):
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass  # said below, in our words
    raise ValueError(f"'{text[:80]}' is not a type")


def _from_ast(node: ast.expr, text: str, depth: int) -> PortType:
    if depth > MAX_DEPTH:
        raise ValueError(f"'{text[:80]}' is nested too deep for a type")
    match node:
        case ast.Constant(value=None):
            return PortType("None")
        case ast.Constant(value=str() as inner):
            return _from_ast(_parsed(inner), text, depth + 1)
        case ast.Name() | ast.Attribute():
            return _named(_dotted(node, text))
        case ast.BinOp(op=ast.BitOr()):
            left = _from_ast(node.left, text, depth + 1)
            return union(left, _from_ast(node.right, text, depth + 1))
        case ast.Subscript():
            return _subscript(node, text, depth)
    raise ValueError(f"'{text}' is not a type")


def _subscript(node: ast.Subscript, text: str, depth: int) -> PortType:
    base = _dotted(node.value, text).rpartition(".")[2].lower()
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    args = tuple(_from_ast(item, text, depth + 1) for item in inner)
    if base == "optional" and len(args) == 1:
        return union(*args, PortType("None"))
    if base == "union" and args:
        return union(*args)
    if (base, len(args)) in {("list", 1), ("dict", 2)}:
        return PortType(base, args)
    raise ValueError(f"'{text}' is not a type: write list[T], dict[K, V] or A | B")


def _dotted(node: ast.expr, text: str) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError(f"'{text}' is not a type")
    return ".".join([node.id, *reversed(parts)])


def _named(path: str) -> PortType:
    basic = _SPELLINGS.get(path.removeprefix("builtins.").lower())
    if basic:
        return PortType(basic)
    if isinstance(vars(builtins).get(path), type):
        return PortType(f"builtins.{path}")
    if "." not in path:
        words = ", ".join(BASIC)
        raise ValueError(f"unknown type '{path}' (known: {words}, list[...], or a class path)")
    return PortType(path)


def union(*members: PortType) -> PortType:
    """The union of ``members``, flattened, without repeats; of one member, that member."""
    flat: dict[PortType, None] = {}
    for member in members:
        flat.update(dict.fromkeys(member.args if member.name == "union" else (member,)))
    return next(iter(flat)) if len(flat) == 1 else PortType("union", tuple(flat))


def only_member(kind: PortType) -> PortType:
    """The type itself, of an optional one."""
    members = [member for member in kind.args if member.name != "None"]
    return members[0] if kind.name == "union" and len(members) == 1 else kind


def class_paths(kind: PortType) -> Iterator[str]:
    """The paths of the classes that a type names."""
    if "." in kind.name:
        yield kind.name
    for arg in kind.args:
        yield from class_paths(arg)


def type_text(declared: object) -> str:
    """The type word of what an author wrote: a class, ``list[int]``, ``int | None``, a word.

    Raises:
        ValueError: ``declared`` is not a type.
    """
    if isinstance(declared, str):
        return str(parse_type(declared))
    if declared is None or declared is type(None):
        return "None"
    if declared is Any or declared is object:
        return "any"
    origin, args = typing.get_origin(declared), typing.get_args(declared)
    if origin in (Union, types.UnionType):
        return " | ".join(type_text(arg) for arg in args)
    if origin in (list, dict):
        inner = ", ".join(type_text(arg) for arg in args)
        return f"{origin.__name__}[{inner}]" if inner else str(origin.__name__)
    if isinstance(declared, type):
        if declared in (int, float, str, bool, dict, list):
            return declared.__name__
        return _public_path(declared)
    raise ValueError(f"{declared!r:.80} is not a type")


def _public_path(declared: type) -> str:
    """The shortest path of the class: ``pathlib.Path``, not ``pathlib._local.Path``."""
    parts = declared.__module__.split(".")
    for length in range(1, len(parts)):
        module = ".".join(parts[:length])
        if vars(sys.modules.get(module, builtins)).get(declared.__name__) is declared:
            return f"{module}.{declared.__name__}"
    return f"{declared.__module__}.{declared.__qualname__}"


def loaded_class(path: str) -> type | None:
    """The class at ``path`` if its module is imported already, else None."""
    module_name, _, rest = path.rpartition(".")
    trail = [rest]
    while module_name:
        module = sys.modules.get(module_name)
        if module is not None:
            found: Any = module
            for name in reversed(trail):
                # Not getattr: a package may import its parts when they are asked for.
                found = getattr(found, "__dict__", {}).get(name)
            return found if isinstance(found, type) else None
        module_name, _, rest = module_name.rpartition(".")
        trail.append(rest)
    return None


def imported_class(path: str) -> type | None:
    """The class at ``path``, importing its module. Only for types that node code declares."""
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except Exception:  # the author's module may fail in any way; then the class is unknown
        return loaded_class(path)
    return found if isinstance(found, type) else None


def fits(source: PortType, target: PortType, resolve: ClassResolver = loaded_class) -> bool:
    """Whether every value of ``source`` may go where ``target`` is asked for, as far as types tell:
    what is in a bare ``list`` or ``dict`` is looked at when the flow runs.
    """
    if source == target or "any" in (source.name, target.name):
        return True
    if source.name == "union":
        return all(fits(member, target, resolve) for member in source.args)
    if target.name == "union":
        return any(fits(source, member, resolve) for member in target.args)
    if source.name == target.name:
        # A bare list is a list of anything, and 'any' fits both ways.
        return not source.args or not target.args or _all_fit(source, target, resolve)
    found = [resolve(source.name)] if "." in source.name else _CLASSES[source.name]
    return all(each is not None and _takes(target, each, issubclass, resolve) for each in found)


def _all_fit(source: PortType, target: PortType, resolve: ClassResolver) -> bool:
    return all(fits(a, b, resolve) for a, b in zip(source.args, target.args, strict=True))


def _takes(
    target: PortType, given: Any, is_of: Callable[[Any, Any], bool], resolve: ClassResolver
) -> bool:
    """Whether ``target``, no union, takes what is given as far as its class tells: one rule for a
    class (``is_of`` is ``issubclass``) and for a value (``isinstance``). ``bool`` is no number.
    """
    is_value = is_of is isinstance
    kind = type(given) if is_value else given
    if target.name == "bool":
        return kind is bool or (kind.__module__, kind.__name__) in _NUMPY_BOOLS
    if target.name in _NUMBERS:
        may_be_bool = kind is not int and issubclass(bool, kind)
        return is_of(given, _NUMBERS[target.name]) and not may_be_bool
    wanted = resolve(target.name) if "." in target.name else _CLASSES[target.name][0]
    try:
        return wanted is not None and is_of(given, wanted)
    except TypeError:  # a protocol with attributes, of which only a value can tell
        return not is_value


def accepts(port_type: PortType, value: object) -> bool:
    """Whether ``value`` may stand at a port of ``port_type``. ``bool`` is not an ``int`` here.

    A secret is a text, which becomes a number or a bool where that is asked for.
    """
    if isinstance(value, Secret):
        members = port_type.args if port_type.name == "union" else (port_type,)
        return any(member.name in _FROM_TEXT for member in members)
    return _accepts(port_type, value)


def _accepts(port_type: PortType, value: object) -> bool:
    if port_type.name == "any":
        return True
    if port_type.name == "union":
        return any(accepts(member, value) for member in port_type.args)
    if not _takes(port_type, value, isinstance, loaded_class):
        return False
    if port_type.name == "list":
        return _items_accepted(port_type, cast(list[Any], value))
    return port_type.name != "dict" or _entries_accepted(port_type, cast(dict[Any, Any], value))


def _items_accepted(port_type: PortType, value: list[Any]) -> bool:
    return not port_type.args or all(accepts(port_type.args[0], item) for item in value)


def _entries_accepted(port_type: PortType, value: dict[Any, Any]) -> bool:
    if not port_type.args:
        return True
    key, item = port_type.args
    return all(accepts(key, k) and accepts(item, v) for k, v in value.items())


def reference_problem(port_type: PortType, value: Any) -> str | None:
    """What is wrong with a reference to a secret, where that is why ``port_type`` does not accept
    ``value``; None else. ``value`` has ``Secret`` objects for references that have a name.
    """
    if accepts(port_type, value):
        return None
    if isinstance(value, Secret):
        return "a list or dict cannot come from one environment variable; name one for each item"
    if isinstance(value, dict) and KEY in value:
        if value.keys() != {KEY}:
            return f'a reference {{"{KEY}": "NAME"}} to a secret has no other keys'
        return name_problem(value[KEY])
    problems = (reference_problem(kind, item) for kind, item in _parts(port_type, value))
    return next(filter(None, problems), None)


def _parts(port_type: PortType, value: Any) -> Iterator[tuple[PortType, Any]]:
    """What is in a list or dict, each with its type; nothing where the type does not tell it."""
    kind = only_member(port_type)
    if isinstance(value, list) and kind.name == "list" and kind.args:
        yield from ((kind.args[0], item) for item in value)
    if isinstance(value, dict) and kind.name == "dict" and kind.args:
        yield from ((kind.args[1], item) for item in value.values())


def as_declared(port_type: PortType, value: Any) -> Any:
    """``value``, in which an int that stands for a float has become one.

    Dagster's config does the same, so that a flow's inputs are alike in every kind of run.
    """
    if port_type.name == "union":
        members = [member for member in port_type.args if member.name != "None"]
        is_optional = len(members) == 1 and len(port_type.args) == 2
        return as_declared(members[0], value) if is_optional and value is not None else value
    if port_type.name == "float":
        return float(value) if isinstance(value, int) else value
    if port_type.name == "list" and port_type.args:
        return [as_declared(port_type.args[0], item) for item in value]
    if port_type.name == "dict" and port_type.args:
        return {key: as_declared(port_type.args[1], item) for key, item in value.items()}
    return value


def value_type(value: object) -> str:
    """The type word of a value, for messages."""
    if isinstance(value, Secret):
        return "a secret, and so a text"
    return "None" if value is None else type_text(type(value))
