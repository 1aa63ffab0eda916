"""The variable store as a Ray actor."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, cast

import cloudpickle
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayflow_dagster.errors import ClusterError, VariableError
from rayflow_dagster.values.stored import boxed, opened
from rayflow_dagster.variables.store import NO_VARIABLES_IN_UPDATE, GlobalVariableStore, Snapshot

from .death import crash
from .remote_class import remote_class

__all__ = ["GlobalVariableStore", "StoreProxy", "VariableStoreManager"]

IDLE_SECONDS = 3600.0
"""When a shared store ends that nobody calls, if nothing tells it that the run has ended."""
_LOOK_SECONDS = 1.0
# The store must not restart by itself: a restarted actor has silently forgotten everything.
_OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0}


class _StoreActor(GlobalVariableStore):
    """The store in an actor, which imports the author's code from where the run does.

    Values and functions given to ``update`` may need it. Ray copies what goes in and out.
    """

    @staticmethod
    def _copied(value: Any) -> Any:
        return value

    def __init__(self, paths: list[str], pickled: bytes) -> None:
        sys.path.extend(path for path in paths if path not in sys.path)
        super().__init__(*cloudpickle.loads(pickled))

    def get(self, name: str) -> Any:
        return boxed(super().get(name))

    def set(self, name: str, value: Any) -> None:
        super().set(name, opened(value))

    def of_call(self, node_id: str, key: str, method: str, *arguments: Any) -> Any:
        return boxed(super().of_call(node_id, key, method, *map(opened, arguments)))

    def _write(self, name: str, function: Callable[[Any], Any], amount: float | None) -> Any:
        return boxed(super()._write(name, function, amount))


class _SharedStoreActor(_StoreActor):
    """A store that several processes share, and that therefore nobody of them ends.

    It ends when the process that started them is gone or, where that cannot be seen from here,
    after ``IDLE_SECONDS`` without a call.
    """

    def __init__(self, paths: list[str], pickled: bytes, owner: "Owner") -> None:
        super().__init__(paths, pickled)
        self._used = time.monotonic()
        watch = partial(self._end_with, owner if owner.is_alive() else None)
        threading.Thread(target=watch, name="rayflow-reaper", daemon=True).start()

    def snapshot(self) -> Snapshot:
        self._used = time.monotonic()
        return super().snapshot()

    def _require(self, name: str) -> dict[str, Any]:
        self._used = time.monotonic()
        return super()._require(name)

    def _end_with(self, owner: "Owner | None") -> None:
        while owner.is_alive() if owner else time.monotonic() - self._used < IDLE_SECONDS:
            time.sleep(_LOOK_SECONDS)
        os._exit(0)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: its machine, its id, and when it started, as ids are used again."""

    host: str
    pid: int
    started: str

    @classmethod
    def parent(cls) -> "Owner":
        """The process that started this one."""
        pid = os.getppid()
        return cls(os.uname().nodename, pid, _start_of(pid))

    def is_alive(self) -> bool:
        """Whether it lives, seen from here; False on another machine."""
        here = os.uname().nodename == self.host
        return here and self.started != "" and _start_of(self.pid) == self.started


def _start_of(pid: int) -> str:
    """When a process started; "" when it is gone, or is the ancestor of all, or cannot be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if pid == 1 or state == "Z" else fields[18]


class VariableStoreManager:
    """Manages the variable store actor of one run.

    ``name``: given when several processes of one run share the store (a detached actor that each
    of them finds by this name, and that ends with the process that started them all); without
    one, the store dies with this process.
    """

    def __init__(self, name: str | None = None) -> None:
        self._store_actor: ActorHandle[Any] | None = None
        self._name = name

    def create_store(self, initial_variables: Mapping[str, Any]) -> "ActorHandle[Any]":
        """``create_declared`` for variables of any type: ``{name: first value}``."""
        return self.create_declared(
            {name: {"default": value} for name, value in initial_variables.items()}
        )

    def create_declared(
        self,
        declarations: Mapping[str, Any],
        snapshot: Snapshot | None = None,
        of_calls: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> "ActorHandle[Any]":
        """Create the store actor, or find it by its name. Arguments as ``GlobalVariableStore``."""
        pickled = cloudpickle.dumps((dict(declarations), snapshot, dict(of_calls)))
        arguments = list(sys.path), pickled
        if self._name:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), True)
            store = remote_class(_SharedStoreActor).options(
                **_OPTIONS, name=self._name, lifetime="detached", get_if_exists=True,
                scheduling_strategy=here,
            ).remote(*arguments, Owner.parent())  # fmt: skip
        else:
            store = remote_class(_StoreActor).options(**_OPTIONS).remote(*arguments)
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

    def type_of(self, name: str) -> str:
        return str(self._call("type_of", name))

    def set(self, name: str, value: Any) -> None:
        self._call("set", name, boxed(value))

    def increment(self, name: str, by: float = 1) -> Any:
        return self._call("increment", name, by)

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        return self._call("update", name, function)

    def of_call(self, node_id: str, key: str, method: str, *arguments: Any) -> Any:
        sent = map(boxed, arguments) if method == "set" else arguments
        return self._call("of_call", node_id, key, method, *sent)

    def end_call(self, key: str) -> None:
        self._handle.end_call.remote(key)

    def snapshot(self) -> Snapshot:
        taken: Snapshot = self._call("snapshot")
        return taken

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            ref = getattr(self._handle, method).remote(*arguments)
            # Not by ray.get, which warns of a loop that it holds up: Ray takes a worker for async.
            return opened(ref.future().result())
        except RayTaskError as error:
            # The author sees the store's own error, not Ray's report of a remote call.
            raise error.cause from None
        except RayActorError as error:
            names = arguments[3:4] if method == "of_call" else arguments[:1]
            which = f"variable '{names[0]}'" if names else "the variables"
            text = f"{which} cannot be reached, as the variable store of this run has died"
            raise ClusterError(f"{text}: {crash(error)}") from None
