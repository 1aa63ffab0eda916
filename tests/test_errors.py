"""Exceptions carry facts, say them, and travel."""

import pickle

import pytest
from flow_nodes.raises import OURS

from rayflow_dagster import errors
from rayflow_dagster.errors import MAX_MESSAGE, RayflowError, describe, message_of


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_with_its_facts(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert {k: str(v) for k, v in vars(again).items()} == {
        k: str(v) for k, v in vars(error).items()
    }


@pytest.mark.parametrize("kind", [type(error) for error in OURS])
def test_an_error_can_be_made_from_one_message(kind):
    error = kind("the disk is full")
    assert str(error).removeprefix("1 error: ") == "the disk is full"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_every_error_has_an_example():
    defined = {
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RayflowError)
    }
    assert {type(error) for error in OURS} == defined


def test_a_node_load_error_is_an_import_error():
    assert issubclass(errors.NodeLoadError, ImportError)


def test_a_message_is_cut_where_it_is_huge():
    assert len(message_of(ValueError("x" * 10**6))) < MAX_MESSAGE + 100


def test_an_error_that_says_nothing_is_described_by_its_type():
    assert describe(ValueError()) == "ValueError"
    assert describe(ValueError("no")) == "ValueError: no"


def test_a_secret_error_leaves_its_node_to_whoever_shows_it():
    error = errors.SecretError("n1", "input 'token'", "TOKEN", "it is not set")
    assert str(error) == "input 'token': secret 'TOKEN': it is not set"
    assert error.node_id == "n1"
