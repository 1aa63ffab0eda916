"""Boolean conditions as reduced ordered binary decision diagrams (Bryant 1986).

Used to prove things about which nodes can run together. Equal conditions are the same object, so
``a and not b`` is unsatisfiable exactly when it *is* ``FALSE``: after an if/else has joined
again, the join's condition is the branch's own condition, whatever was drawn between.
"""

from dataclasses import dataclass, field

Condition = int
"""A condition of one ``Conditions``. ``FALSE`` and ``TRUE`` are the constants."""
FALSE: Condition = 0
TRUE: Condition = 1

MAX_SIZE = 200_000


class TooComplexError(Exception):
    """The conditions of this flow are too many to decide."""


@dataclass
class Conditions:
    """A universe of conditions over numbered variables; lower numbers are decided first."""

    _nodes: list[tuple[int, Condition, Condition]] = field(
        default_factory=lambda: [(1 << 60, 0, 0), (1 << 60, 1, 1)]
    )
    _unique: dict[tuple[int, Condition, Condition], Condition] = field(default_factory=dict)
    _cache: dict[tuple[Condition, Condition, Condition], Condition] = field(default_factory=dict)

    def variable(self, number: int) -> Condition:
        return self._node(number, FALSE, TRUE)

    def both(self, a: Condition, b: Condition) -> Condition:
        return self._choose(a, b, FALSE)

    def either(self, a: Condition, b: Condition) -> Condition:
        return self._choose(a, TRUE, b)

    def negate(self, a: Condition) -> Condition:
        return self._choose(a, FALSE, TRUE)

    def any_of(self, conditions: list[Condition]) -> Condition:
        """At least one of them; FALSE for none."""
        found = FALSE
        for condition in conditions:
            found = self.either(found, condition)
        return found

    def can_both(self, a: Condition, b: Condition) -> bool:
        """Whether some choice makes both true."""
        return self.both(a, b) != FALSE

    def implies(self, a: Condition, b: Condition) -> bool:
        return self.both(a, self.negate(b)) == FALSE

    def _node(self, variable: int, low: Condition, high: Condition) -> Condition:
        if low == high:
            return low
        key = (variable, low, high)
        if key not in self._unique:
            if len(self._nodes) >= MAX_SIZE:
                raise TooComplexError
            self._unique[key] = len(self._nodes)
            self._nodes.append(key)
        return self._unique[key]

    def _choose(self, test: Condition, then: Condition, other: Condition) -> Condition:
        """If ``test`` then ``then``, else ``other``: the operation all others are made of."""
        if test <= TRUE:
            return then if test else other
        if then == other:
            return then
        if (then, other) == (TRUE, FALSE):
            return test
        key = (test, then, other)
        if key not in self._cache:
            top = min(self._nodes[part][0] for part in key)
            low = self._choose(*(self._half(part, top, high=False) for part in key))
            high = self._choose(*(self._half(part, top, high=True) for part in key))
            self._cache[key] = self._node(top, low, high)
        return self._cache[key]

    def _half(self, condition: Condition, variable: int, *, high: bool) -> Condition:
        top, below, above = self._nodes[condition]
        if top != variable:
            return condition
        return above if high else below
