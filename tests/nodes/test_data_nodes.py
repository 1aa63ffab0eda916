import pytest

from rayflow_dagster.nodes.data.dict_get import DictGetNode
from rayflow_dagster.nodes.data.json_dump import JsonDumpNode
from rayflow_dagster.nodes.data.json_parse import JsonParseNode
from rayflow_dagster.nodes.data.list_append import ListAppendNode
from rayflow_dagster.nodes.data.list_get import ListGetNode
from rayflow_dagster.nodes.data.list_length import ListLengthNode
from rayflow_dagster.testing import run_node_locally


def test_json_comes_back_as_it_was_written():
    value = {"name": "Zoë", "sizes": [1, 2.5, None, True]}
    text = run_node_locally(JsonDumpNode, value=value)["text"]
    assert "Zoë" in text
    assert run_node_locally(JsonParseNode, text=text) == {"value": value}


def test_json_with_indent_zero_is_one_line():
    text = run_node_locally(JsonDumpNode, value={"a": [1]}, constants={"INDENT": 0})["text"]
    assert text == '{"a": [1]}'


@pytest.mark.parametrize("value", [{1, 2}, float("nan")])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises((TypeError, ValueError), match="JSON"):
        run_node_locally(JsonDumpNode, value=value)


@pytest.mark.parametrize(("text", "shown"), [("[1,", r"begins '\[1,'"), ("", "it is empty")])
def test_text_that_is_not_json_is_shown(text, shown):
    with pytest.raises(ValueError, match=f"cannot be read as JSON .*{shown}"):
        run_node_locally(JsonParseNode, text=text)


@pytest.mark.parametrize("text", ["NaN", "[1, -Infinity]", "1e999", "1" * 5000])
def test_what_json_or_a_number_cannot_be_is_refused(text):
    with pytest.raises(ValueError, match=r"cannot be read as JSON .* it begins"):
        run_node_locally(JsonParseNode, text=text)


def test_dict_get_prefers_the_dict_to_the_default():
    node = {"data": {"a": None}, "key": "a"}
    assert run_node_locally(DictGetNode, **node, default=5) == {"value": None}


def test_dict_get_gives_the_default_for_a_missing_key():
    assert run_node_locally(DictGetNode, data={}, key="a", default=5) == {"value": 5}


def test_dict_get_without_a_default_fails_and_suggests_a_key():
    with pytest.raises(KeyError, match=r"no key 'quantiy'.*did you mean 'quantity'\?"):
        run_node_locally(DictGetNode, data={"quantity": 1, 2: "b"}, key="quantiy")


def test_dict_get_of_an_optional_key_gives_none():
    constants = {"OPTIONAL": True}
    assert run_node_locally(DictGetNode, data={}, key="a", constants=constants) == {"value": None}


def test_list_append_leaves_its_input_alone():
    items = [1]
    assert run_node_locally(ListAppendNode, items=items, item=[2]) == {"items": [1, [2]]}
    assert items == [1]


def test_list_get_counts_from_both_ends():
    assert run_node_locally(ListGetNode, items=["a", "b"], index=0) == {"item": "a"}
    assert run_node_locally(ListGetNode, items=["a", "b"], index=-1) == {"item": "b"}


def test_list_get_says_how_long_the_list_is():
    with pytest.raises(IndexError, match="list of 2 items has no index 2"):
        run_node_locally(ListGetNode, items=["a", "b"], index=2)


def test_list_length_counts():
    assert run_node_locally(ListLengthNode, items=["a", "b"]) == {"length": 2}
