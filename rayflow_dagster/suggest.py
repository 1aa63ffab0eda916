"""Names for messages: ``did you mean``, and lists of what is known."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice

MAX_CHOICES = 10_000
MAX_LENGTH = 200
MAX_LISTED = 30
_CLOSE = 65
"""How like a name one must be to be suggested (0 to 100)."""
_CLOSE_TAIL = 75


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"``, or nothing where no known name is close."""
    choices = list(islice(known, MAX_CHOICES + 1))
    if len(choices) > MAX_CHOICES or len(name) > MAX_LENGTH:
        return ""  # comparing takes a time that grows with both
    close = closest(name, {choice: choice for choice in choices}, _CLOSE)
    if close is None:
        # Class paths differ at the end while their packages agree: compare the last part alone.
        tails = {choice: choice.rpartition(".")[2].lower() for choice in choices}
        close = closest(name.rpartition(".")[2].lower(), tails, _CLOSE_TAIL)
    return f"; did you mean '{close}'?" if close is not None else ""


def closest(name: str, known: Mapping[str, str], cutoff: float) -> str | None:
    """The key of the text that is most like ``name``; None where none is by ``cutoff`` of 100."""
    from rapidfuzz import fuzz, process  # local: only messages about a wrong name need it

    found = process.extractOne(name, known, scorer=fuzz.ratio, score_cutoff=cutoff)
    return None if found is None else found[2]


@dataclass
class Hints:
    """``did_you_mean`` for one flow: thousands of wrong names do not each search thousands."""

    left: int = 200

    def did_you_mean(self, name: str, known: Iterable[str]) -> str:
        self.left -= 1
        return did_you_mean(name, known) if self.left >= 0 else ""


def listed(*groups: Collection[str]) -> str:
    """``a, b, c`` - the first of many, and how many more there are; ``none`` for none."""
    shown = ", ".join(islice(chain(*groups), MAX_LISTED)) or "none"
    more = sum(map(len, groups)) - MAX_LISTED
    return f"{shown} and {more:,} more" if more > 0 else shown
