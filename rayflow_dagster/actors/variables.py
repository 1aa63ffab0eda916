"""The variable store as a Ray actor."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, cast

import cloudpickle
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError

from rayflow_dagster.errors import ClusterError, VariableError
from rayflow_dagster.variables import NO_VARIABLES_IN_UPDATE, GlobalVariableStore

__all__ = ["GlobalVariableStore", "StoreProxy", "VariableStoreManager"]

# The store must not restart by itself: a restarted actor has silently forgotten everything.
_OPTIONS = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0}


class _StoreActor(GlobalVariableStore):
    """The store in an actor, which imports the author's code from where the run does.

    Values and functions given to ``update`` may need it.
    """

    def __init__(self, paths: list[str], pickled: bytes) -> None:
        sys.path.extend(path for path in paths if path not in sys.path)
        declarations, snapshot = cloudpickle.loads(pickled)
        super().__init__(declarations, snapshot)


_STORE: Any = ray.remote(_StoreActor)


class VariableStoreManager:
    """Manages the variable store actor of one run.

    ``name``: given when several processes of one run share the store (a detached actor that each
    of them finds by this name); without one, the store dies with this process.
    """

    def __init__(self, name: str | None = None) -> None:
        self._store_actor: ActorHandle[Any] | None = None
        self._name = name

    def create_store(
        self, initial_variables: Mapping[str, Any], snapshot: Mapping[str, Any] | None = None
    ) -> "ActorHandle[Any]":
        """Create the store actor, or find it by its name.

        Args:
            initial_variables: declarations (``{name: {"type", "default"}}``) or plain values.
            snapshot: values to go on from instead of the defaults.
        """
        options: dict[str, Any] = dict(_OPTIONS)
        if self._name:
            options |= {"name": self._name, "lifetime": "detached", "get_if_exists": True}
        pickled = cloudpickle.dumps((dict(initial_variables), snapshot))
        store = _STORE.options(**options).remote(list(sys.path), pickled)
        self._store_actor = cast("ActorHandle[Any]", store)
        return self._store_actor

    def get_store_handle(self) -> "ActorHandle[Any]":
        """The handle of the store.

        Raises:
            ClusterError: there is none; ``create_store`` makes it.
        """
        if self._store_actor is None:
            raise ClusterError("the variable store has not been created; call create_store first")
        return self._store_actor

    def cleanup(self) -> None:
        """End the store actor, unless other processes share it."""
        if self._store_actor is not None and not self._name:
            with suppress(Exception):  # the cluster may be gone, and the actor with it
                ray.kill(self._store_actor)
        self._store_actor = None


class StoreProxy:
    """The store's methods, called on its actor from inside another."""

    def __init__(self, handle: "ActorHandle[Any]") -> None:
        self._handle = handle

    def __reduce__(self) -> NoReturn:
        # Only a function given to update() could carry a proxy away, into the store itself, and
        # there a call would wait for ever.
        raise VariableError(NO_VARIABLES_IN_UPDATE)

    def get(self, name: str) -> Any:
        return self._call("get", name)

    def set(self, name: str, value: Any) -> None:
        self._call("set", name, value)

    def increment(self, name: str, by: float = 1) -> Any:
        return self._call("increment", name, by)

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        return self._call("update", name, function)

    def snapshot(self) -> Any:
        return self._call("snapshot")

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(self._handle, method).remote(*arguments))
        except RayTaskError as error:
            # The author sees the store's own error, not Ray's report of a remote call.
            raise error.cause from None
        except RayActorError as error:
            raise ClusterError(f"the variable store of this run is gone: {error}") from None
