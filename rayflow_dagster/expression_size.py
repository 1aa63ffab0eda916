"""A checked expression as the library writes it (``cel.expr.CheckedExpr``) and the values that it
reads in, the most that it can make on its way out, in about the bytes that it takes.

Nothing is evaluated: each part is given the most that its value weighs, from what its arguments
weigh. The library's loops only gather or count, so what one adds is what each iteration adds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

ITEM = 32
"""What a value weighs beside its characters and items; no number has more digits."""
STEPS = 10_000
"""The most iterations of an expression; the library sees to that."""
_FORMATTED = 2000
"""The most characters that ``format`` makes of one number."""
_CONSTANT, _NAME, _FIELD, _CALL, _LIST, _DICT, _LOOP = range(3, 10)
"""What a part can be: the numbers of the fields of ``cel.expr.Expr``."""
_KINDS = range(_CONSTANT, _LOOP + 1)
_SCALARS = range(1, 5)
"""bool, int64, uint64 and double in ``cel.expr.Type.PrimitiveType``."""

_Fields = Mapping[int, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression; ``text`` is a constant text, a name, or that of a function."""

    kind: int
    text: str | None = None
    parts: tuple["Part", ...] = ()
    is_scalar: bool = False
    is_list: bool = False
    variables: tuple[str, str] = ("", "")
    """Those of a loop: of its items, and of what it gathers."""

    @property
    def makes(self) -> bool:
        """Whether a value is made here that is larger than a number."""
        is_new = self.kind in (_LIST, _DICT) or (self.kind == _CALL and not self.is_scalar)
        return is_new or any(part.makes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Weight:
    """The most that a value weighs: once, and together in all iterations of the loops around it.
    What is made of each item of a list is so not reckoned as if all were as large as the largest.
    """

    most: float
    total: float
    count: float = 0
    """Items that it has, once."""
    counted: float = 0
    """The same in all iterations together."""
    item: float = 0
    """The most that one item weighs, where that is known."""

    def times(self, other: "Weight") -> "Weight":
        """Of what is made of both by multiplying; it has no items."""
        total = min(self.most * other.total, self.total * other.most)
        return Weight(self.most * other.most, total)

    def within(self) -> "Weight":
        """Of what is found in it, which may be nearly all of it."""
        most = self.item or self.most
        return Weight(most, self.total, most / ITEM, self.total / ITEM)

    def again(self, count: float, times: float) -> "Weight":
        """Of the same value in a loop of so many items, with so many iterations in all."""
        return replace(
            self,
            total=min(self.total * count, self.most * times),
            counted=min(self.counted * count, self.count * times),
        )


_NOTHING = Weight(0, 0)


def weight_of(value: Any) -> Weight:
    """The weight of lists, dicts, texts, numbers, bools and None."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if not isinstance(value, list):
        return Weight(_weighed(value), _weighed(value))
    items = [*map(_weighed, value)]
    most = ITEM + sum(items)
    return Weight(most, most, len(items), len(items), max(items, default=0))


def _weighed(value: Any) -> int:
    if isinstance(value, dict):
        return ITEM + sum(_weighed(key) + _weighed(item) for key, item in value.items())
    if isinstance(value, list):
        return ITEM + sum(map(_weighed, value))
    return ITEM + (len(value) if isinstance(value, str) else 0)


def most_made(expression: Part, names: Mapping[str, Weight]) -> float:
    """The most that all values weigh together that an expression makes of such ones, or that one
    of them does.
    """
    reckoning = _Reckoning()
    result = reckoning.of(expression, names, 1)
    return max(reckoning.made + result.most, reckoning.largest)


@dataclass
class _Reckoning:
    made: float = 0
    largest: float = 0
    """The most that a list or dict weighs: to hold a part twice takes little, to read it all."""

    def of(self, part: Part, names: Mapping[str, Weight], times: float) -> Weight:
        """The weight of a part, which is evaluated so many times at most."""
        if part.kind == _LOOP:
            found = self._loop(part, names, times)
        else:
            parts = [self.of(each, names, times) for each in part.parts]
            found = self._made(part, parts, names, times)
        return _same(ITEM, times) if part.is_scalar else found

    def _made(
        self, part: Part, parts: list[Weight], names: Mapping[str, Weight], times: float
    ) -> Weight:
        match part.kind, part.text, parts:
            case 3, _, _:
                return _same(ITEM + len(part.text or ""), times)
            case 4, name, _:
                return names.get(name or "", _same(ITEM, times))
            case (5, _, [whole]) | (6, "_[_]", [whole, _]):
                return whole.within()
            case ((7 | 8), _, _):  # a list or dict has its parts without a copy
                self.made += ITEM * (1 + len(parts)) * times
                found = _sum([_same(ITEM, times), *parts])
                self.largest = max(self.largest, found.most)
                return replace(found, count=len(parts), counted=len(parts) * times)
            case 6, "_?_:_", [_, one, other]:
                most = max(one.most, other.most)
                count = max(one.count, other.count)
                return Weight(most, one.total + other.total, count, one.counted + other.counted)
        if part.is_scalar:
            return _same(ITEM, times)
        found = _of_call(part, parts, times)
        self.made += ITEM * found.counted if part.is_list else found.total
        return found

    def _loop(self, part: Part, names: Mapping[str, Weight], times: float) -> Weight:
        range_, first, *steps, last = part.parts
        found = self.of(range_, names, times)
        self.of(first, names, times)
        often = min(found.counted, STEPS)
        inner = {name: weight.again(found.count, often) for name, weight in names.items()}
        inner |= {part.variables[0]: found.within(), part.variables[1]: _NOTHING}
        *_, added = [self.of(step, inner, often) for step in steps]
        if steps[-1].is_list:  # the library writes the list anew for each item that it gathers
            self.made += ITEM / 2 * min(found.count, STEPS) * often
        most = min(found.count * added.most, added.total)
        gathered = Weight(most, added.total, min(found.count, STEPS), often)
        return self.of(last, {**names, part.variables[1]: gathered}, times)


def _of_call(part: Part, parts: list[Weight], times: float) -> Weight:
    """The weight of what a function makes; most make no more than what they are given."""
    match part.text, parts:
        case "replace", [text, _, new, *_]:
            sought = part.parts[1]
            least = len(sought.text or "") if sought.kind == _CONSTANT else 0
            most, total = new.most - ITEM, new.total - ITEM * times
            if least:
                most = max(1, most / least)
                return text.times(Weight(most, min(most * times, times + total / least)))
            return text.times(Weight(1 + most, times + total))
        case "join", [whole, between]:
            return _sum([whole, between.times(Weight(whole.count, whole.counted))])
        case "split", [text, *_]:
            items = _same(ITEM + 1, times)
            return replace(text.times(items), count=text.most, counted=text.total)
        case "format", [_, values]:
            numbers = Weight(_FORMATTED * values.count, _FORMATTED * values.counted)
            return _sum([*parts, values, numbers])
        case "strings.quote", _:
            return _sum([*parts, *parts])
    return _sum([_same(ITEM, times), *parts])


def _same(most: float, times: float) -> Weight:
    """Of a value that weighs this each time."""
    return Weight(most, most * times)


def _sum(parts: Sequence[Weight]) -> Weight:
    return Weight(
        most=sum(part.most for part in parts),
        total=sum(part.total for part in parts),
        count=sum(part.count for part in parts),
        counted=sum(part.counted for part in parts),
    )


def tree_of(serialized: bytes) -> Part:
    """The tree of a checked expression that the library has serialized."""
    checked = _fields(_fields(serialized)[2][0])  # in a google.protobuf.Any
    types = {
        entry[1][0]: _fields(entry[2][0]) for entry in map(_fields, checked.get(3, ()))
    }  # fmt: skip
    return _part(checked[4][0], types)


def _part(written: bytes, types: Mapping[int, _Fields]) -> Part:
    expression = _fields(written)
    kind = next(kind for kind in _KINDS if kind in expression)
    has = _fields(expression[kind][0])
    type_ = types.get(expression.get(2, (0,))[0], {})
    text: str | None = None
    parts: list[bytes] = []
    variables = ("", "")
    match kind:
        case 3:
            text = _text(has, 6) if 6 in has else None
        case 4:
            text = _text(has, 1)
        case 5:
            parts = [has[1][0]]
        case 6:
            parts, text = [*has.get(1, ()), *has.get(3, ())], _text(has, 2)
        case 7:
            parts = [*has.get(1, ())]
        case 8:
            parts = [each for entry in map(_fields, has.get(2, ())) for each in _sides(entry)]
        case _:
            parts = [has[number][0] for number in (2, 4, 5, 6, 7)]
            variables = (_text(has, 1), _text(has, 3))
    return Part(
        kind,
        text,
        tuple(_part(each, types) for each in parts),
        is_scalar=type_.get(3, (0,))[0] in _SCALARS,
        is_list=6 in type_,
        variables=variables,
    )


def _sides(entry: _Fields) -> Sequence[bytes]:
    """Key and value of an entry of a dict."""
    return [entry[number][0] for number in (3, 4) if number in entry]


def _text(fields: _Fields, number: int) -> str:
    return str(fields[number][0], "utf-8") if number in fields else ""


def _fields(message: bytes) -> _Fields:
    """Number -> values of the fields of a message in the wire format of Protocol Buffers."""
    found: defaultdict[int, list[Any]] = defaultdict(list)
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value: Any
        if key & 7 == 0:
            value, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if size is None:
                size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        found[key >> 3].append(value)
    return dict(found)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where what follows it begins."""
    number = shift = 0
    while message[at] > 127:
        number |= (message[at] & 127) << shift
        shift += 7
        at += 1
    return number | message[at] << shift, at + 1
