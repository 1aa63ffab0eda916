"""What is known of a node class."""

import ast

import pytest

from rayflow_dagster import RayflowNode
from rayflow_dagster.metadata import display_name, fires_one_output, inspect_class


class WordCountNode(RayflowNode):
    """Count words.

    All of them.
    """

    icon = "fa-list"
    category = "text"
    inputs = {"text": str, "minimum": {"type": int, "default": 1, "description": "letters"}}
    outputs = {"count": int}
    ray_options = {"num_cpus": 0.5}
    resident_ttl = 90
    LOWERCASE = True
    NOTHING = None
    CHOICES = ("a", "b")
    _HIDDEN = 1

    async def process(self, text, minimum):  # noqa: ARG002
        return {"count": 1}


class LongWordCountNode(WordCountNode):
    inputs = {"text": str}
    LOWERCASE = False


def test_inspection_tells_everything():
    metadata = inspect_class(WordCountNode)
    assert metadata.pop("file") == __file__
    assert metadata == {
        "path": f"{__name__}.WordCountNode",
        "name": "Word Count",
        "class_name": "WordCountNode",
        "inputs": {"text": "str", "minimum": "int"},
        "outputs": {"count": "int"},
        "exec_input": True,
        "exec_output": True,
        "constants": {
            "LOWERCASE": {"type": "bool", "value": True},
            "NOTHING": {"type": "any", "value": None},
            "CHOICES": {"type": "list", "value": ("a", "b")},
        },
        "exec_outputs": ("exec_out",),
        "exec_exclusive": True,
        "defaults": {"minimum": 1},
        "input_descriptions": {"minimum": "letters"},
        "description": "Count words.\n\nAll of them.",
        "icon": "fa-list",
        "category": "text",
        "ray_options": {"num_cpus": 0.5},
        "resident": False,
        "resident_ttl": 90.0,
        "is_async": True,
    }


def test_a_subclass_inherits_all_but_the_description():
    metadata = inspect_class(LongWordCountNode)
    assert metadata["inputs"] == {"text": "str"}
    assert metadata["outputs"] == {"count": "int"}
    assert metadata["constants"]["LOWERCASE"]["value"] is False
    assert metadata["description"] == ""
    assert metadata["is_async"]


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("AddNode", "Add"),
        ("WordCountNode", "Word Count"),
        ("JSONParseNode", "JSON Parse"),
        ("Top10Node", "Top10"),
        ("Node", "Node"),
        ("Thing", "Thing"),
    ],
)
def test_a_class_name_becomes_words(class_name, name):
    assert display_name(class_name) == name


@pytest.mark.parametrize(
    ("body", "one"),
    [
        ("return {'exec_next': 'a'}", True),
        ("return {'exec_next': 'a' if x else 'b'}", True),
        ("return {'exec_next': f'{x}'}", True),
        ("return {'exec_next': str(x)}", True),
        ("if x: return {'value': 1, 'exec_next': 'a'}\n    return {'exec_next': 'b'}", True),
        ("return {'value': 1}", True),
        ("return {'exec_next': ['a', 'b']}", False),
        ("return {'exec_next': x}", False),
        ("return {'exec_next': 'a' if x else ['a', 'b']}", False),
        ("return dict(exec_next=['a', 'b'])", False),
        ("return {**x, 'exec_next': 'a'}", False),
        ("return {'exec_next': 'a', **x}", False),
        ("return {x: 'a'}", False),
        ("result = {'exec_next': 'a'}\n    result['exec_next'] = x\n    return result", False),
        ("if x: return {'exec_next': 'a'}\n    return self.helper()", False),
        ("return", False),
        ("pass", False),
    ],
)
def test_that_one_output_fires_is_read_from_the_source(body, one):
    (process,) = ast.parse(f"def process(self, x):\n    {body}").body
    assert fires_one_output(process) is one
