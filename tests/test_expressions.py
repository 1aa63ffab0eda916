"""Expressions: what is found wrong with one, what it gives, and what is known of the library."""

import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from rayflow_dagster import expressions
from rayflow_dagster.errors import ExpressionError
from rayflow_dagster.expression_size import most_made, weight_of
from rayflow_dagster.expressions import (
    Expression,
    Problem,
    compile_expression,
    evaluate,
    names_in,
)
from rayflow_dagster.secrets.references import Secret

NAMES = {
    "n": "int", "d": "float", "s": "str", "b": "bool", "x": "any", "l": "list[int]",
    "m": "dict[str, float]", "bare": "dict", "maybe": "int | None", "table": "pandas.DataFrame",
}  # fmt: skip


def compiled(text: str, gives: str = "any") -> Expression:
    made = compile_expression(text, NAMES, gives)
    assert isinstance(made, Expression), made
    return made


def value_of(text: str, **values: Any) -> Any:
    return evaluate(compiled(text), values)


def problems(text: str, gives: str = "any") -> list[str]:
    found = compile_expression(text, NAMES, gives)
    assert not isinstance(found, Expression)
    return [str(each) for each in found]


# --- what is known of the library -----------------------------------------------------------------


def environment(*extensions: Any) -> Any:
    types = {"n": cel.Type("int"), "d": cel.Type("double"), "x": cel.Type("dyn")}
    return cel.NewEnv(variables=types, extensions=list(extensions))


def test_the_library_tells_all_mistakes_at_once_with_their_places():
    with pytest.raises(RuntimeError) as raised:
        environment().compile("d > 1 || foo\n || bar")
    told = str(raised.value)
    assert "<input>:1:3: found no matching overload for '_>_' applied to '(double, int)'" in told
    assert "<input>:1:10: undeclared reference to 'foo' (in container '')" in told
    assert "<input>:2:5: undeclared reference to 'bar'" in told


def test_the_library_counts_characters_in_a_column():
    with pytest.raises(RuntimeError, match="<input>:1:7:"):
        environment().compile("'😀' + foo")


def test_the_library_gives_errors_as_values():
    found = environment().compile("n / 0").eval(data={"n": 1})
    assert found.type() == cel.Type.ERROR
    assert found.value() == "INVALID_ARGUMENT: divide by zero"
    missing = environment().compile("n").eval(data={})
    assert missing.type() == cel.Type.ERROR


def test_the_library_bounds_iterations_and_raises_there():
    many = {"x": list(range(10_001))}
    with pytest.raises(RuntimeError, match="Iteration budget exceeded"):
        environment().compile("x.all(i, i >= 0)").eval(data=many)


def test_the_library_bounds_no_memory():
    text = "x.map(a, " + " + ".join(["a"] * 20) + ")[0].size()"
    assert environment().compile(text).eval(data={"x": ["y" * 10**6]}).value() == 20 * 10**6


def test_the_library_writes_a_checked_tree_that_has_the_type_of_each_part():
    """``expression_size`` reads it: ``cel.expr.CheckedExpr`` in a ``google.protobuf.Any``."""
    written = environment().compile("x.a + 'b'").serialize()
    assert written.startswith(b"\n(type.googleapis.com/cel.expr.CheckedExpr\x12")
    assert b"\x12\x03_+_\x1a" in written


def test_the_library_has_functions_of_texts_only_where_they_are_asked_for():
    with pytest.raises(RuntimeError, match="undeclared reference to 'upperAscii'"):
        environment().compile("'a'.upperAscii()")
    assert environment(ext_strings.ExtStrings()).compile("'a'.upperAscii()").eval().value() == "A"


def test_what_the_library_compiles_does_not_pickle():
    for made in (environment(), environment().compile("n")):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(made)


def test_the_library_cuts_a_text_at_nul_and_refuses_half_characters_badly():
    program = environment().compile("x")
    assert program.eval(data={"x": "a\0b"}).value() == "a"
    with pytest.raises(RuntimeError):
        program.eval(data={"x": "\ud800"})


def test_the_library_tells_twenty_mistakes_and_that_there_are_more():
    names = ", ".join(f"name{number}" for number in range(30))
    with pytest.raises(RuntimeError) as raised:
        environment().compile(f"[{names}]")
    assert "undeclared reference to 'name19'" in str(raised.value)
    assert "maximum number of ERROR issues exceeded: 20" in str(raised.value)


def test_the_library_takes_a_bool_for_a_number():
    assert environment().compile("n + 1").eval(data={"n": True}).value() == 2


# --- what is wrong with an expression -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("d > 1", "column 3: '>' does not take double, int; write a whole number that meets a "
                  "float with a point, as 1.0, or use double()"),
        ("n == 1.5", "column 3: '==' does not take int, double; write a whole number that meets a "
                     "float with a point, as 1.0, or use double()"),
        ("d in [1, 2]", "column 3: 'in' does not take double, list(int); write a whole number "
                        "that meets a float with a point, as 1.0, or use double()"),
        ("d + table + foo(n)", "column 16: there is no function 'foo'"),
        ("n + s", "column 3: '+' does not take int, string"),
        ("total > n", "column 1: 'total' is not known here (known: b, bare, d, l, m, maybe, n, s, "
                      "table, x)"),
        ("n > mayb", "column 5: 'mayb' is not known here (known: b, bare, d, l, m, maybe, n, s, "
                     "table, x); did you mean 'maybe'?"),
        ("order.total.sum", "column 1: 'order' is not known here (known: b, bare, d, l, m, maybe, "
                            "n, s, table, x)"),
        ("s.startWith('a')", "column 12: there is no function 'startWith'; did you mean "
                             "'startsWith'?"),
        ("n ? 1 : 2", "column 3: what stands before ? must be bool, not int"),
        ("b ? 1 : 'x'", "column 3: '? :' does not take bool, int, string"),
        ("!n", "column 1: '!' does not take int"),
        ("has(it.key) && has(m.key)", "column 5: 'it' is not known here (known: b, bare, d, l, m, "
                                      "maybe, n, s, table, x)"),
        ("has(it.has)", "column 5: 'it' is not known here (known: b, bare, d, l, m, maybe, n, s, "
                        "table, x)"),
        ("l.foo", "column 2: expression of type 'list(int)' cannot be the operand of a select "
                  "operation"),
        ("n >", "column 4: mismatched input '<EOF>'"),
        ("", "column 1: mismatched input '<EOF>'"),
        ("for > 1", "column 1: reserved identifier: for"),
        ("n > 1 and n < 2", "column 7: an expression has no 'and'; write &&"),
        ("s == 'a and b' OR b", "column 16: an expression has no 'OR'; write ||"),
        ("b &&\n not b", "line 2 column 2: an expression has no 'not'; write !"),
        ("not (n > 1)", "column 5: an expression has no 'not'; write !"),
        ("n = 1", "column 3: an expression has no '='; write =="),
        ("n <> 1", "column 3: an expression has no '<>'; write !="),
        ("b & b", "column 3: an expression has no '&'; write &&"),
        ("maybe is 1", "column 7: an expression has no 'is'; write =="),
        ("maybe is not null", "column 7: an expression has no 'is not'; write !="),
        ("s not in ['a']", "column 3: an expression has no 'not in'; write !(x in y)"),
        ("maybe == None", "column 10: an expression has no 'None'; write null"),
        ("b == True || False == b", "column 6: an expression has no 'True'; write true\n"
                                    "column 14: an expression has no 'False'; write false"),
        ("len(s) > 1", "column 4: an expression has no 'len'; write size()"),
        ("str(n)", "column 4: an expression has no 'str'; write string()"),
        ("x.and ||", "column 9: mismatched input '<EOF>'"),
        ("n >\n\n oops", "line 3 column 2: 'oops' is not known here (known: b, bare, d, l, m, "
                         "maybe, n, s, table, x)"),
        ("(" * 100 + "n" + ")" * 100, "it is nested too deep"),
        ("+".join(["n"] * 400), "it is nested too deep"),
        ("n" * 1001, "it has 1,001 characters; an expression may have 1,000"),
        ("'\ud800'", "it has a character that no text can have"),
        ("n\0", "it has a character that no text can have"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_column(text, told):
    assert "\n".join(problems(text)) == told


def test_a_name_of_the_flow_is_no_word_of_another_language():
    (found,) = compile_expression("not >", {"not": "int"})
    assert str(found) == "column 6: mismatched input '<EOF>'"


def test_every_mistake_is_told_at_once():
    assert [text.partition(":")[0] for text in problems("d > 1 || foo || bar > n")] == [
        "column 3", "column 10", "column 17",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["for", "in", "int", "two words", "é", "a-b", "1a"])
def test_a_name_that_no_expression_can_have_is_told(name):
    found = compile_expression(f"{name} > 1", {name: "int"})
    assert isinstance(found, tuple)
    assert f"'{name}'" in str(found[0])


def test_such_a_name_does_no_harm_where_it_is_not_used():
    made = compile_expression("n > 1", {"n": "int", "two words": "int", "for": "str"})
    assert isinstance(made, Expression)
    assert made.names == ("n",)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("order.total * 1.5", ["order"]),
        ("'order.total' + b'x'", []),
        ("xs.map(x, x * y + z.x)", ["xs", "y", "z"]),
        ("xs.all(x, x > 1) && x == 1", ["xs", "x"]),
        ("{key: value}[has(it.key) ? int(s) : size(t)]", ["key", "value", "it", "s", "t"]),
        ("math.greatest(n, int(s)) + s.size()", ["n", "s"]),
        ("nope(a) + .b\n+ c", ["a", "b", "c"]),
        (f"[{', '.join(f'v{at}' for at in range(45))}]", [f"v{at}" for at in range(45)]),
        ("1 +", []),
        ("a\0", []),
        ("a" * 1001, []),
    ],
)
def test_the_names_that_an_expression_reads(text, names):
    assert list(names_in(text)) == names


@pytest.mark.parametrize(
    ("text", "gives", "told"),
    [
        ("n + 1", "float", []),
        ("n + 1", "int | None", []),
        ("x", "str", []),
        ("[1, 'a']", "list[int]", []),
        ("{'a': [d]}", "dict[str, list[float]]", []),
        ("l.map(i, string(i))", "list[int]", ["it gives list[str], not list[int]"]),
        ("{s: n}", "dict[str, str]", ["it gives dict[str, int], not dict[str, str]"]),
        ("null", "int", ["it gives None, not int"]),
        ("type(n)", "any", ["it gives a value of type type, which no port takes; make a text of "
                            "it with string()"]),
        ("[b'x']", "any", ["it gives a value of type bytes, which no port takes; make a text of "
                           "it with string()"]),
    ],
)  # fmt: skip
def test_an_expression_must_give_what_is_asked_for(text, gives, told):
    assert (problems(text, gives) if told else bool(compiled(text, gives))) == (told or True)


def test_a_condition_must_give_a_bool():
    assert problems("n + 1", gives="bool") == ["it gives int, not bool"]
    assert isinstance(compile_expression("x", NAMES, "bool"), Expression)
    with pytest.raises(ExpressionError, match="it gave int, not bool"):
        evaluate(compiled("x", gives="bool"), {"x": 1})


def test_a_problem_of_the_whole_has_no_column():
    assert str(Problem("too long")) == "too long"


# --- what an expression gives ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("n + 1", {"n": 2}, 3),
        ("d > 1.0", {"d": 2}, True),
        ("double(n) * 1.5", {"n": 2}, 3.0),
        ("s.upperAscii() + '!'", {"s": "é a"}, "é A!"),
        ("s.split(' ')", {"s": "a b"}, ["a", "b"]),
        ("math.greatest(n, 3)", {"n": 2}, 3),
        ("x.total > 1 && x.rows[0].id == 'a'", {"x": {"total": 1.5, "rows": [{"id": "a"}]}}, True),
        ("has(x.total) ? x.total : 0", {"x": {}}, 0),
        ("l.map(i, i * 2)", {"l": [1, 2]}, [2, 4]),
        ("l.exists(i, i > 1)", {"l": (1, 2)}, True),
        ("m.a + m['b']", {"m": {"a": 1, "b": 2.5}}, 3.5),
        ("bare[1] == bare.one", {"bare": {1: "x", "one": "x"}}, True),
        ("maybe == null", {"maybe": None}, True),
        ("maybe > 2", {"maybe": 3}, True),
        ("x != x", {"x": float("nan")}, True),
        ("x", {"x": {"a": [1, None, True, 2.5, "s"]}}, {"a": [1, None, True, 2.5, "s"]}),
        ("1 / 0 > 1 || true", {}, True),
        ("b ? 'yes' : 'no'", {"b": np.True_}, "yes"),
        ("n + 1", {"n": np.int64(2)}, 3),
        ("d", {"d": np.float32(0.5)}, 0.5),
        ("s", {"s": "x", "n": object(), "table": Secret("UNREAD")}, "x"),
    ],
)  # fmt: skip
def test_an_expression_gives_its_value(text, values, wanted):
    expression = compiled(text)
    found = evaluate(expression, dict.fromkeys(expression.names, 0) | values)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("text", "values", "reason"),
    [
        ("n / 0", {"n": 1}, "divide by zero"),
        ("n * n", {"n": 2**40}, "integer overflow"),
        ("l[5]", {"l": [1]}, "Index error: index=5 size=1"),
        ("x.foo", {"x": {}}, 'Key not found in map : "foo"'),
        ("x.foo", {"x": None}, "it reads a key, as in a.b or has(a.b), of what is no dict"),
        ("has(x.foo)", {"x": 3}, "it reads a key, as in a.b or has(a.b), of what is no dict"),
        ("x > 1", {"x": "a"}, "'>' does not take string, int"),
        ("x + 1", {"x": 1.5}, "'+' does not take double, int; write a whole number that meets a "
                              "float with a point, as 1.0, or use double()"),
        ("x ? 1 : 2", {"x": 1}, "what stands before ? must be bool"),
        ("int(s)", {"s": "x"}, "cannot convert string to int"),
        ("x.all(i, true)", {"x": [0] * 10_001},
         "it takes too many steps: it may go through ten thousand items in all"),
        ("n", {}, "'n' has no value"),
        ("dyn(b'a')", {"b": True}, "what it gives has bytearray, which no expression can read"),
        ("x.map(i, s)", {"x": [0] * 200, "s": "a" * 1000},
         "what it gives is too large for an expression: it has more than 100,000 items and "
         "characters"),
        ("x", {"x": object()}, "'x' has object, which no expression can read"),
        ("x", {"x": {1, 2}}, "'x' has set, which no expression can read"),
        ("x", {"x": Decimal(1)}, "'x' has decimal.Decimal, which no expression can read"),
        ("x", {"x": np.arange(3)}, "'x' has numpy.ndarray, which no expression can read"),
        ("x", {"x": [{"a": object()}]}, "'x' has object, which no expression can read"),
        ("x", {"x": {1.5: 2}}, "'x' has a key that is float; keys are texts or whole numbers"),
        ("x", {"x": 2**63}, "'x' has a whole number of more than 64 bits"),
        ("x", {"x": "a\0b"}, "'x' has a character that no expression can read"),
        ("x", {"x": "\ud800"}, "'x' has a character that no expression can read"),
        ("s", {"s": "a" * 100_001},
         "'s' is too large for an expression: it has more than 100,000 items and characters"),
        ("x", {"x": [["a" * 1000] * 50, [0] * 60_000]},
         "'x' is too large for an expression: it has more than 100,000 items and characters"),
        ("s", {"s": Secret("TOKEN")}, "'s' has the secret 'TOKEN', which no expression may read"),
        ("x", {"x": {"a": [Secret("TOKEN")]}},
         "'x' has the secret 'TOKEN', which no expression may read"),
        ("x", {"x": {Secret("TOKEN"): 1}},
         "'x' has the secret 'TOKEN', which no expression may read"),
    ],
)  # fmt: skip
def test_an_expression_without_a_value_says_why(text, values, reason):
    with pytest.raises(ExpressionError) as raised:
        value_of(text, **values)
    assert raised.value.reason == reason
    assert str(raised.value) == f"the expression '{text}' has no value: {reason}"


def test_a_value_that_is_nested_too_deep_is_refused():
    value: Any = 1
    for _ in range(expressions.MAX_DEPTH):
        value = [value]
    assert value_of("size(x)", x=value) == 1
    with pytest.raises(ExpressionError, match="'x' is nested deeper than 100 levels"):
        value_of("size(x)", x=[value])


def test_the_keys_of_a_dict_that_an_expression_gives_are_sorted():
    names = [f"k{number:02}" for number in range(20)]
    given = value_of("[{'x': x, 'a': {2: 1, 'z': 2, 1: 3, true: 4}}]", x=dict.fromkeys(names[::-1]))
    assert list(given[0]) == ["a", "x"]
    assert list(given[0]["x"]) == names
    assert list(given[0]["a"])[-1] == "z"


def test_an_expression_changes_no_value():
    value = {"a": [1]}
    assert value_of("x.a.map(i, i + 1)", x=value) == [2]
    assert value == {"a": [1]}


# --- what an expression can make ------------------------------------------------------------------

TOO_MUCH = (
    "of values as large as these it could make more than 100 MB; let it read shorter texts and go "
    "through shorter lists, or make the value in a node of yours"
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("s.replace('a', s).replace('a', s) == ''", {"s": "a" * 500}),
        ("s.replace('', s) == ''", {"s": "a" * 12_000}),
        ("x.map(i, x.join(s)).size()", {"x": ["a"] * 100, "s": "a" * 12_000}),
        ("x.map(i, s + 'a').size()", {"x": [0] * 2000, "s": "a" * 50_000}),
        ("x.map(i, s.split('')).size()", {"x": [0] * 60, "s": "a" * 60_000}),
        ("x.map(i, s.upperAscii()).size()", {"x": [0] * 2000, "s": "a" * 50_000}),
        ("x.map(i, '%s'.format([s])).size()", {"x": [0] * 2000, "s": "a" * 50_000}),
        ("x.map(i, i).size()", {"x": [0] * 3000}),
        ("x.filter(i, i == 0).size()", {"x": [0] * 3000}),
        ("[1, 2, 3].map(i, x.map(j, j)).size()", {"x": [0] * 2000}),
        ("[x]" + ".map(a, [a, a, a, a, a, a, a, a])" * 6 + ".size()", {"x": [0] * 100}),
        ("[l]" + ".map(a, a + a)" * 8 + ".size()", {"l": [0] * 20_000}),
    ],
)  # fmt: skip
def test_an_expression_that_could_make_too_much_is_not_evaluated(text, values):
    with pytest.raises(ExpressionError) as raised:
        value_of(text, **values)
    assert raised.value.reason == TOO_MUCH


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("s.replace('a', 'yz').replace('y', 'a').size()", {"s": "a" * 90_000}, 180_000),
        ("x.join(', ').size()", {"x": ["ab"] * 30_000}, 119_998),
        ("x.all(i, i.name != s)", {"x": [{"name": "n"}] * 9000, "s": "a" * 50_000}, True),
        ("x.filter(i, i.startsWith('y')).size()", {"x": ["a" * 90_000] + ["y"] * 2000}, 2000),
        ("x.map(i, i.tags.map(t, t + '!')).size()", {"x": [{"tags": ["a", "b"]}] * 2000}, 2000),
        ("x.map(i, i.replace(i, i + i))[0]", {"x": ["a"] * 2000}, "aa"),
        ("(s + '-' + s + '-' + s).size()", {"s": "a" * 90_000}, 270_002),
    ],
)  # fmt: skip
def test_large_values_are_no_hindrance_where_little_is_made_of_them(text, values, wanted):
    assert value_of(text, **values) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "s.replace('a', s)", "s.replace('', s)", "s.replace(s, 'xyz')", "s.replace('a', 'é😀')",
        "s.replace(x[0], s)", "x.join()", "x.join(s)", "s.split('')", "s + s + 'é'",
        "x.map(i, i + s)", "x.map(i, x.map(j, i + j))", "x.map(i, i.split('')).map(i, i + i)",
        "x.map(i, i.replace('b', i))", "x.filter(i, i != s)", "l.map(i, string(i)).join(s)",
        "l.map(i, {string(i): [i, s]})", "{s: x, 'é': l}", "bare.map(k, bare[k] + s)",
        "'%s %d %.900f %e %x %b'.format([x, n, d, d, s, n])", "strings.quote(s + '\"\"\"')",
        "l.map(i, '%.300f'.format([d]))", "b ? x : x + x", "x[0].substring(1) + s.reverse()",
        "string(d) + string(n) + string(b)", "[x, x].map(a, a + a)", "timestamp(0) < timestamp(1)",
        "string(timestamp(0)) + string(duration('1h'))", "bare.b + bare['b']", "math.greatest(l)",
        "x.map(i, i == s ? x : [])", "l.map(i, i > 2, [i, i])", "bare.map(k, k)", "l + l + l",
    ],
)  # fmt: skip
def test_no_more_is_made_than_is_reckoned(text):
    values: dict[str, Any] = {
        "n": -(2**63), "d": -1.7e308, "s": "abaa", "b": True, "x": ["bbbb", "", "cbc", "é"],
        "l": [-(2**62), 2, 3, 4], "bare": {"a": "x", "b": "y" * 9},
    }  # fmt: skip
    made = compiled(text)
    weights = {name: weight_of(values[name]) for name in made.names}
    assert weight_of(value_of(text, **values)).most <= most_made(made.tree, weights)
