"""Boolean conditions as reduced ordered binary decision diagrams (Bryant 1986).

Used to prove things about which nodes can run together. Equal conditions are the same object, so
``a and not b`` is unsatisfiable exactly when it *is* ``FALSE``: after an if/else has joined
again, the join's condition is the branch's own condition, whatever was drawn between.

What takes too many steps becomes a guess: a choice of its own, free to be true or false. What is
proven with a guess holds all the same; what is not proven with one is undecided.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Condition = int
"""A condition of one ``Conditions``. ``FALSE`` and ``TRUE`` are the constants."""
FALSE: Condition = 0
TRUE: Condition = 1

MOST_STEPS = 20_000
"""For one condition, while many are left."""
LEAST_STEPS = 200
"""For one condition, when hard ones have used up the rest: what no hard part touches needs few."""
ALL_STEPS = 400_000

_NO_LIMIT = 1 << 60
_Parts = tuple[Condition, Condition, Condition]


class TooComplexError(Exception):
    """A condition takes more steps than it may."""


@dataclass
class Conditions:
    """A universe of conditions over choices. Later choices are decided first: a condition mostly
    differs from those that it is made of in the latest choices, so that few steps make it.
    """

    steps_left: int = ALL_STEPS
    """For hard ones, of all attempts."""
    _allowed: int = _NO_LIMIT
    _choices: int = 0
    _nodes: list[_Parts] = field(default_factory=lambda: [(0, 0, 0), (0, 1, 1)])
    """By condition: its latest choice, and what it is where that is false, true."""
    _unique: dict[_Parts, Condition] = field(default_factory=dict)
    _known: dict[_Parts, Condition] = field(default_factory=dict)
    _guessed: set[int] = field(default_factory=set)
    """The choices that are guesses."""
    _guesses: set[Condition] = field(default_factory=set)
    """The conditions with such a choice in them."""

    def choice(self) -> Condition:
        """A new one, free to be true or false."""
        self._choices += 1
        return self._node(self._choices, FALSE, TRUE)

    def attempt(self, make: Callable[[], Condition]) -> Condition:
        """What ``make`` gives, or a guess where that takes too many steps."""
        allowed = self._allowed = max(LEAST_STEPS, min(MOST_STEPS, self.steps_left))
        try:
            return make()
        except TooComplexError:
            self._guessed.add(self._choices + 1)
            return self.choice()
        finally:
            self.steps_left -= allowed - self._allowed
            self._allowed = _NO_LIMIT

    def is_guess(self, a: Condition) -> bool:
        """Whether a guess decides it."""
        return a in self._guesses

    def latest(self, a: Condition) -> int:
        """The number of the latest choice in it; 0 for the constants."""
        return self._nodes[a][0]

    def both(self, a: Condition, b: Condition) -> Condition:
        return self._choose(a, b, FALSE)

    def either(self, a: Condition, b: Condition) -> Condition:
        return self._choose(a, TRUE, b)

    def negate(self, a: Condition) -> Condition:
        return self._choose(a, FALSE, TRUE)

    def without(self, a: Condition, b: Condition) -> Condition:
        """``a`` and not ``b``: FALSE where ``a`` implies ``b``."""
        return self._choose(b, FALSE, a)

    def exceeds(self, a: Condition, b: Condition) -> bool:
        """Whether some choices make ``a`` true and ``b`` not. Found without making ``without``,
        which may be large where an example is near.
        """
        seen, open_ones = {(a, b)}, [(a, b)]
        for one, other in open_ones:  # to which the loop adds
            if one == FALSE or other in (TRUE, one):
                continue
            if one == TRUE or other == FALSE:
                return True
            self._count_step()
            top = max(self.latest(one), self.latest(other))
            halves = set(zip(self._halves(one, top), self._halves(other, top), strict=True)) - seen
            seen |= halves
            open_ones.extend(halves)
        return False

    def any_of(self, conditions: Iterable[Condition]) -> Condition:
        """At least one of them; FALSE for none."""
        found = FALSE
        for condition in sorted(conditions, key=self.latest):
            found = self.either(found, condition)
        return found

    def at_least(self, count: int, conditions: Iterable[Condition]) -> Condition:
        """So many of them or more."""
        if count == 1:
            return self.any_of(conditions)
        known = sorted(conditions, key=self.latest)
        if count > len(known):
            return FALSE
        met = [TRUE, *[FALSE] * count]
        """By number: so many, or more, of those seen so far."""
        for at, condition in enumerate(known):
            # More cannot have been seen; with fewer, those that are left do not make up ``count``.
            most, least = min(count, at + 1), count - (len(known) - at) + 1
            for number in range(most, max(least, 1) - 1, -1):
                met[number] = self._choose(condition, met[number - 1], met[number])
        return met[count]

    def _node(self, choice: int, low: Condition, high: Condition) -> Condition:
        if low == high:
            return low
        key = (choice, low, high)
        if key not in self._unique:
            made = self._unique[key] = len(self._nodes)
            self._nodes.append(key)
            if choice in self._guessed or low in self._guesses or high in self._guesses:
                self._guesses.add(made)
        return self._unique[key]

    def _choose(self, test: Condition, then: Condition, other: Condition) -> Condition:
        """If ``test`` then ``then``, else ``other``: the operation all others are made of.

        Without recursion: a condition may be of thousands of choices.
        """
        wanted = (test, then, other)
        answer = self._answer(wanted)
        if answer is not None:
            return answer
        open_ones = [wanted]
        while open_ones:
            parts = open_ones[-1]
            if self._answer(parts) is None:
                self._step(parts, open_ones)
            else:
                open_ones.pop()
        return self._known[wanted]

    def _step(self, parts: _Parts, open_ones: list[_Parts]) -> None:
        """Answer ``parts``, or open the halves of it that are to be answered before."""
        self._count_step()
        test, then, other = parts
        nodes = self._nodes
        top = max(nodes[test][0], nodes[then][0], nodes[other][0])
        low_test, high_test = self._halves(test, top)
        low_then, high_then = self._halves(then, top)
        low_other, high_other = self._halves(other, top)
        low, high = (low_test, low_then, low_other), (high_test, high_then, high_other)
        below, above = self._answer(low), self._answer(high)
        if below is None:
            open_ones.append(low)
        if above is None:
            open_ones.append(high)
        if below is not None and above is not None:
            self._known[parts] = self._node(top, below, above)
            open_ones.pop()

    def _count_step(self) -> None:
        self._allowed -= 1
        if self._allowed < 0:
            raise TooComplexError

    def _halves(self, a: Condition, choice: int) -> tuple[Condition, Condition]:
        """What ``a`` is where the choice, which none in it is later than, is false, true."""
        latest, low, high = self._nodes[a]
        return (low, high) if latest == choice else (a, a)

    def _answer(self, parts: _Parts) -> Condition | None:
        """What is known of "if, then, else" without a step."""
        test, then, other = parts
        if test <= TRUE:
            return then if test else other
        if then == other:
            return then
        if then in (TRUE, test) and other in (FALSE, test):
            return test
        return self._known.get(parts)
