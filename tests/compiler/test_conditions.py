"""Conditions against their truth tables."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from rayflow_dagster.compiler.rules.conditions import FALSE, TRUE, Conditions

VARIABLES = 4
EXPRESSIONS = st.recursive(
    st.sampled_from([True, False, *range(1, VARIABLES + 1)]),
    lambda inner: (
        st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=12,
)


def condition_of(conditions: Conditions, choices: list[int], expression) -> int:
    def of(inner) -> int:
        return condition_of(conditions, choices, inner)

    match expression:
        case bool():
            return TRUE if expression else FALSE
        case int():
            return choices[expression - 1]
        case ("not", a):
            return conditions.negate(of(a))
        case ("and", a, b):
            return conditions.both(of(a), of(b))
        case ("or", a, b):
            return conditions.either(of(a), of(b))


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
    choices = [conditions.choice() for _ in range(VARIABLES)]
    a, b = (condition_of(conditions, choices, each) for each in (one, two))
    rows = list(zip(table_of(one), table_of(two), strict=True))
    assert (a == b) == all(x == y for x, y in rows)
    assert (conditions.both(a, b) == FALSE) == (not any(x and y for x, y in rows))
    assert (conditions.without(a, b) == FALSE) == all(y or not x for x, y in rows)
    assert conditions.exceeds(a, b) == any(x and not y for x, y in rows)
    assert conditions.any_of([a, b]) == conditions.any_of([b, a]) == conditions.either(a, b)


@given(st.lists(EXPRESSIONS, max_size=5), st.integers(1, 6))
def test_at_least_so_many_agree_with_their_truth_table(expressions, count):
    conditions = Conditions()
    choices = [conditions.choice() for _ in range(VARIABLES)]
    made = conditions.at_least(
        count, (condition_of(conditions, choices, each) for each in expressions)
    )
    for row in product([False, True], repeat=VARIABLES):
        chosen = TRUE
        for choice, value in zip(choices, row, strict=True):
            chosen = conditions.both(chosen, choice if value else conditions.negate(choice))
        met = sum(value_of(each, row) for each in expressions) >= count
        assert (conditions.both(chosen, made) != FALSE) == met


def test_any_of_nothing_is_false():
    assert Conditions().any_of([]) == FALSE


def too_hard(conditions: Conditions) -> int:
    """(a1 and b1) or (a2 and b2) or ..., all a before all b: two to the count of steps."""
    one, two = ([conditions.choice() for _ in range(20)] for _ in range(2))
    return conditions.any_of(conditions.both(a, b) for a, b in zip(one, two, strict=True))


def test_what_takes_too_many_steps_becomes_a_guess_alone():
    conditions = Conditions()
    easy = conditions.choice()
    guess = conditions.attempt(lambda: too_hard(conditions))
    assert conditions.is_guess(guess)
    assert conditions.is_guess(conditions.both(guess, easy))
    assert not conditions.is_guess(conditions.negate(easy))
    proven = conditions.both(conditions.both(guess, easy), conditions.negate(easy))
    assert proven == FALSE


def test_what_is_easy_is_decided_when_hard_ones_have_used_up_the_steps():
    conditions = Conditions(steps_left=30_000)
    while conditions.steps_left > 0:
        conditions.attempt(lambda: too_hard(conditions))
    a, b = conditions.choice(), conditions.choice()
    assert not conditions.is_guess(conditions.attempt(lambda: conditions.either(a, b)))


def test_conditions_of_thousands_of_choices_are_no_recursion():
    conditions = Conditions()
    choices = [conditions.choice() for _ in range(5000)]
    every = TRUE
    for choice in choices:
        every = conditions.both(every, choice)
    assert conditions.negate(conditions.negate(every)) == every
    assert conditions.without(every, choices[0]) == FALSE
