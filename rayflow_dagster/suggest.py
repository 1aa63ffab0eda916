"""``did you mean`` for messages."""

import difflib
from collections.abc import Iterable

MAX_CHOICES = 1000
MAX_LENGTH = 200


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"``, or nothing where no known name is close."""
    choices = list(known)
    if len(choices) > MAX_CHOICES or len(name) > MAX_LENGTH:
        return ""  # comparing takes a time that grows with both
    close = difflib.get_close_matches(name, choices, n=1)
    if not close:
        # Class paths differ at the end while their packages agree: compare the last part alone.
        tails = {choice.rpartition(".")[2].lower(): choice for choice in choices}
        tail = difflib.get_close_matches(name.rpartition(".")[2].lower(), tails, n=1, cutoff=0.75)
        close = [tails[tail[0]]] if tail else []
    return f"; did you mean '{close[0]}'?" if close else ""
