"""A word and a number in; as many exec outputs, called after them, out."""

from typing import Any

MOST = 100


def numbered(word: str, count: Any) -> tuple[str, ...]:
    """``then_1``, ``then_2``, ...; none where ``count`` is no number, and ``MOST`` at the most."""
    known = count if isinstance(count, int) else 0
    return tuple(f"{word}_{number}" for number in range(1, min(known, MOST) + 1))


def count_problem(count: Any) -> str | None:
    """What is wrong with a number of exec outputs; that it is none, the rules of values tell."""
    if isinstance(count, int) and not 1 <= count <= MOST:
        return f"is {count}; set it to 1 up to {MOST}"
    return None
