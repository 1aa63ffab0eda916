import pytest

from rayflow_dagster.nodes.text.concat import ConcatNode
from rayflow_dagster.nodes.text.format import FormatNode
from rayflow_dagster.nodes.text.split import SplitNode
from rayflow_dagster.testing import run_node_locally


def test_concat_joins_with_its_separator():
    assert run_node_locally(ConcatNode, a="out", b="x") == {"result": "outx"}
    constants = {"SEPARATOR": "/"}
    assert run_node_locally(ConcatNode, a="out", b="x", constants=constants) == {"result": "out/x"}


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{count} words", "3 words"),
        ("{price:.2f}", "1.50"),
        ("{count:{width}}|", "   3|"),
        ("{name!r}", "'Ada'"),
        ("{{count}}", "{count}"),
        ("", ""),
    ],
)
def test_format_fills_in_values(template, result):
    values = {"count": 3, "price": 1.5, "name": "Ada", "width": 4}
    assert run_node_locally(FormatNode, template=template, values=values) == {"result": result}


def test_format_names_the_missing_value_and_those_there_are():
    with pytest.raises(KeyError, match=r"asks for \{total\}, but 'values' has count, name"):
        run_node_locally(FormatNode, template="{total}", values={"count": 1, "name": "x"})


@pytest.mark.parametrize(
    "template", ["{x.__class__}", "{x[0]}", "{}", "{0}", "{y:{x.__class__}}", "{x.__init__!r}"]
)
def test_format_looks_at_nothing_but_the_values(template):
    with pytest.raises(ValueError, match="is not a plain name"):
        run_node_locally(FormatNode, template=template, values={"x": "text", "y": 1})


@pytest.mark.parametrize("template", ["{x:>1001}", "{y:.9999999999f}", "{x:{wide}}"])
def test_format_fills_up_no_memory(template):
    values = {"x": "text", "y": 1, "wide": 10**9}
    with pytest.raises(ValueError, match=r"is wider than 1,000"):
        run_node_locally(FormatNode, template=template, values=values)


def test_format_shows_a_broken_template():
    with pytest.raises(ValueError, match=r"template '\{count': expected '\}'"):
        run_node_locally(FormatNode, template="{count", values={"count": 1})


@pytest.mark.parametrize(
    ("separator", "parts"),
    [(" ", ["a", "", "b\tc"]), ("", ["a", "b", "c"]), ("b", ["a  ", "\tc"])],
)
def test_split_takes_text_apart(separator, parts):
    constants = {"SEPARATOR": separator}
    assert run_node_locally(SplitNode, text="a  b\tc", constants=constants) == {"parts": parts}
