"""Conditions against their truth tables."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow_dagster.compiler import conditions as module
from rayflow_dagster.compiler.conditions import FALSE, TRUE, Conditions, TooComplexError

VARIABLES = 4
EXPRESSIONS = st.recursive(
    st.sampled_from([True, False, *range(1, VARIABLES + 1)]),
    lambda inner: (
        st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=12,
)


def condition_of(conditions: Conditions, expression) -> int:
    match expression:
        case bool():
            return TRUE if expression else FALSE
        case int():
            return conditions.variable(expression)
        case ("not", a):
            return conditions.negate(condition_of(conditions, a))
        case ("and", a, b):
            return conditions.both(condition_of(conditions, a), condition_of(conditions, b))
        case ("or", a, b):
            return conditions.either(condition_of(conditions, a), condition_of(conditions, b))


def value_of(expression, row) -> bool:
    match expression:
        case bool():
            return expression
        case int():
            return row[expression - 1]
        case ("not", a):
            return not value_of(a, row)
        case ("and", a, b):
            return value_of(a, row) and value_of(b, row)
        case ("or", a, b):
            return value_of(a, row) or value_of(b, row)


def table_of(expression) -> list[bool]:
    return [value_of(expression, row) for row in product([False, True], repeat=VARIABLES)]


@given(EXPRESSIONS, EXPRESSIONS)
def test_conditions_agree_with_their_truth_tables(one, two):
    conditions = Conditions()
    a, b = condition_of(conditions, one), condition_of(conditions, two)
    rows = list(zip(table_of(one), table_of(two), strict=True))
    assert (a == b) == all(x == y for x, y in rows)
    assert conditions.can_both(a, b) == any(x and y for x, y in rows)
    assert conditions.implies(a, b) == all(y or not x for x, y in rows)


def test_any_of_nothing_is_false():
    assert Conditions().any_of([]) == FALSE


def test_too_many_conditions_are_given_up(monkeypatch):
    monkeypatch.setattr(module, "MAX_SIZE", 50)
    conditions = Conditions()
    with pytest.raises(TooComplexError):
        # (x1 and x11) or (x2 and x12) or ...: two to the tenth in this order of variables
        conditions.any_of(
            [
                conditions.both(conditions.variable(n), conditions.variable(n + 10))
                for n in range(10)
            ]
        )
