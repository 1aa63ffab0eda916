"""What Ray cannot take to the actor of the variables, and what the actor tells of them."""

import functools
import threading
from collections.abc import Iterator

import pytest

from rayflow_dagster.actors.variables import StoreProxy, VariableStoreManager
from rayflow_dagster.errors import VariableError
from rayflow_dagster.variables.store import WriteTracking

pytestmark = pytest.mark.ray

TOO_DEEP = functools.reduce(lambda inner, _: [inner], range(2000), 1)


@pytest.fixture
def variables(ray_session: None) -> Iterator[WriteTracking]:
    manager = VariableStoreManager()
    yield WriteTracking(StoreProxy(manager.create_declared({"a": {"type": "int | list"}})))
    manager.cleanup()


def test_what_cannot_be_pickled_is_refused_with_the_name_of_the_variable(variables):
    with pytest.raises(VariableError, match=r"variable 'a' cannot hold \[\[\[\[.*recursion"):
        variables.set("a", TOO_DEEP)
    with pytest.raises(VariableError, match=r"variable 'a' cannot hold <unlocked .*cannot pickle"):
        variables.set("a", threading.Lock())
    with pytest.raises(VariableError, match=r"variable 'a' cannot hold this, .*recursion"):
        variables.update("a", lambda _: functools.reduce(lambda x, _: [x], range(2000), 1))


def test_the_actor_tells_the_type_of_a_variable(variables):
    assert variables.type_of("a") == "int | list"
