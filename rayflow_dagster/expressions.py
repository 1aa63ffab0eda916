"""Expressions in CEL (the Common Expression Language): a text and the types of its names in, what
is wrong with it or a value out. The only module that knows the library.

What an expression reaches are the values that it is given, and nothing else of Python. Its steps
are bounded by the library, which fails after ten thousand iterations; how much memory it takes is
bounded by nobody, so its length, the size of what it reads and what it can make of that are
bounded here.
"""

import numbers
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .encodable import encodable
from .errors import ExpressionError
from .expression_size import Part, most_made, tree_of, weight_of
from .port_types import PortType, accepts, fits, parse_type
from .secrets.references import Secret
from .suggest import did_you_mean, listed

MAX_LENGTH = 1000
"""Characters of an expression."""
MAX_SIZE = 100_000
"""Characters and items of each value that an expression reads."""
MAX_MADE = 100_000_000
"""Bytes of all that an expression makes, as ``most_made`` reckons them; the library takes up to
twice as many.
"""
MAX_DEPTH = 100
"""How deep lists and dicts may stand in each other in such a value."""
FUNCTIONS = (
    "size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "bool",
    "timestamp", "duration", "type", "dyn", "has", "all", "exists", "exists_one", "filter", "map",
    "charAt", "indexOf", "lastIndexOf", "join", "lowerAscii", "upperAscii", "replace", "split",
    "substring", "trim", "format", "reverse",
)  # fmt: skip
"""What a misspelled function may have been meant to be."""
_INSTEAD = {
    "and": "&&", "or": "||", "not": "!", "is": "==", "is not": "!=", "not in": "!(x in y)",
    "=": "==", "<>": "!=", "&": "&&", "|": "||", "true": "true", "false": "false", "none": "null",
    "null": "null", "len": "size()", "length": "size()", "str": "string()", "float": "double()",
    "abs": "math.abs()", "max": "math.greatest()", "min": "math.least()",
}  # fmt: skip
"""How other languages write it, in small letters -> what to write here."""
_FOREIGN = re.compile(
    r"(?<![\w.])(?:is\s+not|not\s+in|and|or|not|is)(?!\w)"
    r"|<>|(?<![=!<>])=(?!=)|(?<!&)&(?!&)|(?<!\|)\|(?!\|)",
    re.IGNORECASE,
)
"""What no expression can have outside of texts, if it is not a name of the flow's."""
_CONSTANTS = frozenset({"true", "false", "none", "null"})
_TEXT = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
_SYNTAX = "Syntax error: "
_RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in",
    "let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while",
    "bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "type", "uint",
})  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_TOO_MANY = "maximum number of ERROR issues exceeded"
_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_UNDECLARED = re.compile(r"undeclared reference to '(.+)' \(in container ''\)")
_OVERLOAD = re.compile(
    r"found no matching overload for '(?P<checked>.+)' applied to '\((?P<types>.*)\)'"
    r"|No matching overloads found : (?P<run>[^(]+)(?:\((?P<of>.*)\))?"
)
_BASIC = {"int": "int", "float": "double", "str": "string", "bool": "bool", "None": "null_type"}
_KEYS = frozenset({"int", "str", "bool"})
_GIVEN = {
    "INT": "int", "UINT": "int", "DOUBLE": "float", "STRING": "str", "BOOL": "bool",
    "NULL": "None", "LIST": "list", "MAP": "dict", "<": "[", ">": "]",
}  # fmt: skip
"""The port types of what an expression gives; of a type that is not here, any value may come."""
_NOT_GIVEN = re.compile(r"\b(BYTES|TIMESTAMP|DURATION|TYPE)\b")
_INT = range(-(2**63), 2**63)
_BOOL = PortType("bool")
_MAKES_TOO_MUCH = (
    f"of values as large as these it could make more than {MAX_MADE // 10**6} MB; let it read "
    "shorter texts and go through shorter lists, or make the value in a node of yours"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an expression; ``column`` counts from 1, and is 0 for the whole."""

    text: str
    line: int = 1
    column: int = 0

    def __str__(self) -> str:
        if not self.column:
            return self.text
        line = f"line {self.line} " if self.line > 1 else ""
        return f"{line}column {self.column}: {self.text}"


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. It belongs to this process: what the library compiles has no pickle.

    ``names`` are those of its values that it may read: the text has them.
    """

    text: str
    names: tuple[str, ...]
    gives: str
    program: Any = field(repr=False, compare=False)
    tree: Part = field(repr=False, compare=False)
    makes: bool = field(repr=False, compare=False)


def compile_expression(
    text: str, names: Mapping[str, str], gives: str = "any"
) -> Expression | tuple[Problem, ...]:
    """Parse an expression and check its types.

    Args:
        text: the expression.
        names: the port type of each name that it may use.
        gives: the port type that its value must have; ``bool`` for a condition.

    Returns:
        the expression, or everything that is wrong with it.
    """
    if len(text) > MAX_LENGTH:
        told = f"it has {len(text):,} characters; an expression may have {MAX_LENGTH:,}"
        return (Problem(told),)
    if encodable(text) != text or "\0" in text:
        return (Problem("it has a character that no text can have"),)
    return _compiled(text, tuple(sorted(names.items())), gives)


@lru_cache(maxsize=1024)
def _compiled(
    text: str, names: tuple[tuple[str, str], ...], gives: str
) -> Expression | tuple[Problem, ...]:
    types = dict(names)
    used = tuple(name for name in types if _mentions(text, name))
    unusable = [Problem(told) for name in used if (told := name_problem(name))]
    if unusable:
        return tuple(unusable)
    try:
        program = _environment(tuple((name, types[name]) for name in used)).compile(text)
    except RuntimeError as error:  # the library's one class for all
        return tuple(dict.fromkeys(_problems(str(error), text, types)))
    returned = program.return_type().name()
    if unknown := _NOT_GIVEN.search(returned):
        told = f"it gives a value of type {unknown[0].lower()}, which no port takes"
        return (Problem(f"{told}; make a text of it with string()"),)
    kind = re.sub(r"\w+|[<>]", lambda word: _GIVEN.get(word[0], "any"), returned)
    if not fits(parse_type(kind), parse_type(gives)):
        return (Problem(f"it gives {kind}, not {gives}"),)
    tree = tree_of(program.serialize())
    return Expression(text, used, gives, program, tree, tree.makes)


@lru_cache(maxsize=1024)
def names_in(text: str) -> tuple[str, ...]:
    """The names whose values an expression reads, as the library finds them: not those of fields,
    functions and its own variables. None of a text that is no expression.
    """
    known: list[str] = []
    has_more = len(text) <= MAX_LENGTH and encodable(text) == text and "\0" not in text
    while has_more:
        has_more = False
        try:
            _environment(tuple((name, "any") for name in known)).compile(text)
        except RuntimeError as error:
            found = dict.fromkeys(_undeclared(str(error), text))
            missing = [name for name in found if name not in known and not name_problem(name)]
            known += missing
            has_more = bool(missing) and _TOO_MANY in str(error)
    return tuple(known)


def _undeclared(told: str, text: str) -> Iterator[str]:
    for line, column, what in _PLACE.findall(told):
        undeclared = _UNDECLARED.fullmatch(what)
        at = Problem("", int(line), int(column))
        if undeclared and not _is_call(text, at, undeclared[1]):
            yield undeclared[1].removeprefix(".").partition(".")[0]


def _is_call(text: str, at: Problem, name: str) -> bool:
    """Whether an undeclared name is that of a function: its place is the bracket behind it. That
    of ``a.b`` in ``has(a.b)`` is the bracket before it.
    """
    called = re.search(r"(?<!\w)(\w+)\s*$", _until(text, at))
    is_has = "." in name and called is not None and called[1] == "has"
    is_name = called is not None and called[1] == name.rpartition(".")[2]
    return _stands_at_bracket(text, at) and is_name and not is_has


def _until(text: str, at: Problem) -> str:
    """The line of a place, up to it."""
    return text.split("\n")[at.line - 1][: at.column - 1]


def _stands_at_bracket(text: str, at: Problem) -> bool:
    return text.split("\n")[at.line - 1][at.column - 1 : at.column] == "("


def expression_problems(text: Any, names: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with a condition over ``names``, with its columns."""
    if not isinstance(text, str) or not text.strip():
        return [f'{text!r:.80} is no expression; write for example "total > 100.0"']
    made = compile_expression(text, names, "bool")
    return [] if isinstance(made, Expression) else [f"{text!r}: {each}" for each in made]


def holds(text: str, names: Mapping[str, str], values: Mapping[str, Any]) -> bool:
    """Whether a condition holds; it has been compiled with these names, or is here.

    Raises:
        ExpressionError: it is wrong, or has no value for these.
    """
    made = compile_expression(text, names, "bool")
    if not isinstance(made, Expression):
        raise ExpressionError(text, "; ".join(map(str, made)))
    return bool(evaluate(made, values))


def _mentions(text: str, name: str) -> bool:
    """Whether an expression may use a name; that the name stands in a text of it counts too."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def name_problem(name: str) -> str | None:
    """Why no expression can use a name; None if one can."""
    if not _NAME.fullmatch(name):
        return f"'{name:.80}' cannot be a name in an expression: letters, digits and _ can"
    return f"'{name}' is a word of the language of expressions" if name in _RESERVED else None


@lru_cache(maxsize=64)
def _environment(names: tuple[tuple[str, str], ...]) -> Any:
    from cel_expr_python import cel  # local: few processes evaluate, and it is large
    from cel_expr_python.ext import ext_math, ext_strings

    return cel.NewEnv(
        variables={name: cel.Type(_cel(parse_type(kind))) for name, kind in names},
        extensions=[ext_strings.ExtStrings(), ext_math.ExtMath()],
    )


def _cel(kind: PortType) -> str:
    """The library's word for a port type; ``dyn`` for what it has none for."""
    if kind.name == "list":
        return f"list<{_cel(kind.args[0]) if kind.args else 'dyn'}>"
    if kind.name == "dict":
        key, item = kind.args or (PortType("any"), PortType("any"))
        return f"map<{_cel(key) if key.name in _KEYS else 'dyn'}, {_cel(item)}>"
    return _BASIC.get(kind.name, "dyn")


def _problems(told: str, text: str, names: Mapping[str, str]) -> Iterator[Problem]:
    found = _PLACE.findall(told)
    foreign = [*_foreign(text, names)] if _SYNTAX in told else []
    yield from foreign
    for line, column, what in found:
        if foreign and (what.startswith(_SYNTAX) or int(column) < 0):
            continue  # the parser's words about them
        at = Problem("", int(line), int(column)) if int(column) > 0 else Problem("")
        yield _explained(at, what, text, names)
    if not found:
        yield Problem(_plain_words(told))


def _foreign(text: str, names: Mapping[str, str]) -> Iterator[Problem]:
    """What other languages write so, where the parser did not understand the text."""
    code = _TEXT.sub(lambda found: " " * len(found[0]), text)
    for found in _FOREIGN.finditer(code):
        if found[0] not in names:
            before = text[: found.start()]
            line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
            yield Problem(_write_instead(found[0]), line, column)


def _write_instead(word: str) -> str:
    instead = _INSTEAD[" ".join(word.lower().split())]
    return f"an expression has no '{word}'; write {instead}"


def _explained(at: Problem, what: str, text: str, names: Mapping[str, str]) -> Problem:
    undeclared = _UNDECLARED.fullmatch(what)
    if undeclared is None:
        return Problem(_plain_words(what), at.line, at.column)
    name = undeclared[1]
    is_call = _is_call(text, at, name)
    if name.lower() in _INSTEAD and (is_call or name.lower() in _CONSTANTS):
        return Problem(_write_instead(name), at.line, at.column)
    if is_call:
        hint = did_you_mean(name, FUNCTIONS)
        return Problem(f"there is no function '{name}'{hint}", at.line, at.column)
    # Of a.b.c the library tells the place of the last dot.
    column = at.column - len(name.rpartition(".")[0])
    if _stands_at_bracket(text, at):
        column = at.column + 1
    head = name.partition(".")[0]
    known = f"'{head}' is not known here (known: {listed(names)})"
    return Problem(known + did_you_mean(head, names), at.line, column)


def _plain_words(told: str) -> str:
    """A message of the library's, without its codes, and with what to do about mixed numbers."""
    told = _CODE.sub("", _CODE.sub("", told)).removeprefix(_SYNTAX)
    if "recursion" in told:
        return "it is nested too deep"
    if "non-message type" in told:
        return "it reads a key, as in a.b or has(a.b), of what is no dict"
    if "Iteration budget" in told:
        return "it takes too many steps: it may go through ten thousand items in all"
    overload = _OVERLOAD.search(told)
    if overload is None:
        return told.partition(" expecting {")[0]
    function = (overload["checked"] or overload["run"]).replace("_", " ").replace("@", "").strip()
    types = (overload["types"] or overload["of"] or "").replace("int64", "int")
    if function == "? :" and not types.startswith("bool"):
        return f"what stands before ? must be bool, not {types.partition(',')[0]}"
    if "jump_condition" in told:
        return "what stands before ? must be bool"
    remedy = ""
    if "double" in types and re.search(r"\bint\b", types):
        remedy = "; write a whole number that meets a float with a point, as 1.0, or use double()"
    return f"'{function}' does not take {types or 'these types'}{remedy}"


def evaluate(expression: Expression, values: Mapping[str, Any]) -> Any:
    """The value of an expression.

    Args:
        expression: compiled in this process.
        values: a value for each of the names that it was compiled with, or more.

    Raises:
        ExpressionError: it reads a value that is not there, that is a secret, or that it cannot
            take; it could make too much of these; or it has no value for them.
    """
    data = {name: _taken(expression.text, name, values) for name in expression.names}
    if expression.makes:
        weights = {name: weight_of(value) for name, value in data.items()}
        if most_made(expression.tree, weights) > MAX_MADE:
            raise ExpressionError(expression.text, _MAKES_TOO_MUCH)
    try:
        found = expression.program.eval(data=data)
    except RuntimeError as error:  # the budget of iterations; any other fault is a value
        raise ExpressionError(expression.text, _plain_words(str(error))) from None
    value = found.plain_value()
    if found.type().name() == "ERROR":
        raise ExpressionError(expression.text, _plain_words(str(value)))
    try:
        _Copy().of(value)  # what no expression can read, none gives
    except ValueError as problem:
        raise ExpressionError(expression.text, f"what it gives {problem}") from None
    if not accepts(parse_type(expression.gives), value):
        told = f"it gave {_class_of(value)}, not {expression.gives}"
        raise ExpressionError(expression.text, told)
    return _in_order(value)


def _in_order(value: Any) -> Any:
    """The value with the keys of dicts sorted: the library's have another order in each process."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (isinstance(key, str), key))
        return {key: _in_order(value[key]) for key in keys}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _taken(text: str, name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise ExpressionError(text, f"'{name}' has no value")
    try:
        return _Copy().of(values[name])
    except ValueError as problem:
        raise ExpressionError(text, f"'{name}' {problem}") from None


@dataclass
class _Copy:
    """Makes the copy of one value that an expression reads."""

    left: int = MAX_SIZE

    def of(self, value: Any, depth: int = MAX_DEPTH) -> Any:
        """The value in lists, dicts, texts, numbers, bools and None.

        Raises:
            ValueError: that cannot be; the message goes on behind the value's name.
        """
        if isinstance(value, list | tuple | dict):
            return self._container(value, depth)
        match value:
            case Secret():
                raise ValueError(f"has the secret '{value.name}', which no expression may read")
            case None:
                return None
            case _ if accepts(_BOOL, value):
                return bool(value)
            case str():
                return self._text(value)
            case numbers.Integral():
                return self._whole(int(value))
            case numbers.Real():
                return float(value)
        raise ValueError(f"has {_class_of(value)}, which no expression can read")

    def _container(self, value: Any, depth: int) -> Any:
        if depth <= 0:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        self._count(len(value))
        if isinstance(value, dict):
            return {self._key(key): self.of(item, depth - 1) for key, item in value.items()}
        return [self.of(item, depth - 1) for item in value]

    def _key(self, key: Any) -> Any:
        if isinstance(key, (str, numbers.Integral, Secret)):
            return self.of(key)
        raise ValueError(f"has a key that is {_class_of(key)}; keys are texts or whole numbers")

    def _text(self, value: str) -> str:
        self._count(len(value))
        if "\0" in value or encodable(value) != value:  # the library would cut it off, or crash
            raise ValueError("has a character that no expression can read")
        return str(value)

    def _whole(self, value: int) -> int:
        if value not in _INT:
            raise ValueError("has a whole number of more than 64 bits")
        return value

    def _count(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            most = f"{MAX_SIZE:,} items and characters"
            raise ValueError(f"is too large for an expression: it has more than {most}")


def _class_of(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
