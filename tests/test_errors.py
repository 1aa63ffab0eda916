"""Every exception carries facts, says them, and survives pickling."""

import copy
import pickle

import cloudpickle
import pytest

from rayflow_dagster import errors
from rayflow_dagster.errors import (
    DataNotAvailableError,
    FlowFailedError,
    InvalidInputsError,
    NameCollisionError,
    NodeExecutionError,
    NodeLoadError,
    OutputError,
    RayflowError,
    ValidationError,
)

EXAMPLES = {
    "RayflowError": ("text",),
    "ValidationError": (["one", "two"], "flow"),
    "FlowFormatError": ("it is not JSON", "x.json"),
    "GraphBuildError": ("text",),
    "NodeLoadError": ("a.b.C", "no such class"),
    "InvalidInputsError": (["'a' is missing", "'b' is unknown"],),
    "DataNotAvailableError": ("'n'", "value", "its source was skipped"),
    "NodeExecutionError": ("n", ValueError("boom")),
    "OutputError": ("n", "it returned a list"),
    "VariableError": ("text",),
    "FlowFailedError": ("no RETURN", "n"),
    "FlowChangedError": ("text",),
    "ProjectError": ("text",),
    "NameCollisionError": ({"a": ["x.json", "y.json"]},),
    "ClusterError": ("text",),
}


def tree(base: type) -> list[type]:
    own = [each for each in base.__subclasses__() if each.__module__ == errors.__name__]
    return [base, *(each for child in own for each in tree(child))]


def test_every_class_has_an_example_and_stands_in_the_drawing():
    names = {each.__name__ for each in tree(RayflowError)}
    assert names == set(EXAMPLES)
    assert all(name in (errors.__doc__ or "") for name in names)


def facts(error: BaseException) -> dict:
    return {name: repr(value) for name, value in vars(error).items()}


@pytest.mark.parametrize("copied", [
    lambda error: pickle.loads(pickle.dumps(error)),
    lambda error: cloudpickle.loads(cloudpickle.dumps(error)),
    copy.copy,
    copy.deepcopy,
], ids=["pickle", "cloudpickle", "copy", "deepcopy"])  # fmt: skip
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_error_survives_pickling_with_its_facts(name, copied):
    error = getattr(errors, name)(*EXAMPLES[name])
    error.add_note("seen twice")
    twin = copied(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert facts(twin) == facts(error)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_subclass_of_an_error_survives_pickling(name):
    twin = pickle.loads(
        pickle.dumps(NodeExecutionError("n", getattr(errors, name)(*EXAMPLES[name])))
    )
    assert type(twin.original_error) is getattr(errors, name)


def test_the_documented_signature_of_a_nodes_failure():
    original = ValueError("boom")
    error = NodeExecutionError("n1", original)
    assert (error.node_id, error.original_error) == ("n1", original)
    assert str(error) == "Node n1 failed: boom"


def test_a_load_error_is_an_import_error():
    error = NodeLoadError("a.b.C", "no such class")
    assert isinstance(error, ImportError)
    assert str(error) == "cannot load node class 'a.b.C': no such class"


def test_texts_say_the_facts():
    assert str(ValidationError("one")) == "1 error: one"
    assert str(ValidationError(["one", "two"], "f")) == "2 errors in flow 'f':\n  - one\n  - two"
    assert str(InvalidInputsError(["a", "b"])) == "a; b"
    assert str(DataNotAvailableError("'n'", "x", "why")) == "node 'n' input 'x' has no value: why"
    assert str(NameCollisionError({"a": ["x", "y"]})) == "'a' is claimed by x, y"
    assert str(OutputError("n", "a list")) == "Node n failed: a list"
    assert FlowFailedError("text").node_id is None
