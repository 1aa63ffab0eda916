"""What is wrong with a cron string: the five fields that Dagster's schedules understand.

Source: crontab(5), with croniter's ``L`` (last day of the month). Dagster's own check needs
Dagster, which a flow is validated without.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d{1,4}))?")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class _FieldKind:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int | None:
        """The value of a number or name within the field's range; None for any other word."""
        if word.lower() in self.names:
            return self.names.index(word.lower()) + self.least
        number = int(word) if word.isascii() and word.isdigit() else -1
        return number if self.least <= number <= self.most else None


_FIELDS = (
    _FieldKind("minute", 0, 59),
    _FieldKind("hour", 0, 23),
    _FieldKind("day of the month", 1, 31),
    _FieldKind("month", 1, 12, _MONTHS),
    _FieldKind("day of the week", 0, 7, _DAYS),
)


def cron_problem(text: str) -> str | None:
    """What is wrong with ``text``; None for a cron string that Dagster takes."""
    if text in ALIASES:
        return None
    if text.startswith("@"):
        return f"there is no '{text:.20}' (known: {', '.join(ALIASES)})"
    fields = text.split()
    if len(fields) != len(_FIELDS) or len(text) > _LONGEST:
        return (
            f"must have five fields (minute, hour, day of the month, month, day of the week), "
            f"not {len(fields)}"
        )
    for field, kind in zip(fields, _FIELDS, strict=True):
        for problem in _problems(field, kind):
            return f"{kind.name} '{field:.40}': {problem}"
    return _never(fields[2], fields[3])


def _problems(field: str, kind: _FieldKind) -> Iterator[str]:
    for item in field.split(","):
        match = _ITEM.fullmatch(item)
        if item.lower() == "l" and kind.name == "day of the month":
            continue
        if match is None:
            yield f"'{item:.20}' is not *, a value, a range a-b, or one of these with /step"
            return
        yield from _item_problems(match, kind)


def _item_problems(match: "re.Match[str]", kind: _FieldKind) -> Iterator[str]:
    first, last, step = match["first"], match["last"], match["step"]
    values = [kind.number(word) for word in (first, last) if word not in (None, "*")]
    if None in values or (first == "*" and last is not None):
        names = f" or {kind.names[0]}-{kind.names[-1]}" if kind.names else ""
        yield f"values are {kind.least}-{kind.most}{names}"
    elif len(values) == 2 and values[0] > values[1]:  # type: ignore[operator]
        yield "the range is the wrong way round"
    elif step is not None and not 1 <= int(step) <= kind.most:
        yield f"a step is between 1 and {kind.most}"
    elif step is not None and values and last is None:
        yield f"a step needs a range, for example {first}-{kind.most}/{step}"


def _never(day: str, month: str) -> str | None:
    if month.lower() in ("2", "feb") and day in ("30", "31"):
        return f"there is no {day} February"
    return None
