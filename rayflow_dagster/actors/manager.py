"""``ActorManager``: runs nodes where they belong, and keeps an actor for whoever asks for one.

A node that asks for nothing special runs on a worker that it leases for one execution
(``pool.py``); one with ``ray_options`` gets an actor of its own for that. All ``async`` nodes share
one event loop (``event_loop.py``), resident nodes have actors that outlive the run
(``resident_nodes.py``), and control nodes run in this process (``control.py``).
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

import ray
from ray.actor import ActorHandle

from rayflow_dagster.cluster import connection
from rayflow_dagster.cluster.feasible import listed_demand
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.places import is_control, is_of_run
from rayflow_dagster.engine.deadline import Deadline
from rayflow_dagster.engine.iteration import Iteration, SomeIterations
from rayflow_dagster.errors import ClusterError, RunEndedError
from rayflow_dagster.optional import optional
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.types import ExecutionGraph, GraphNode, Hear, every_node
from rayflow_dagster.values.stored import StoredValue, boxed
from rayflow_dagster.variables.calls import Call, Calls
from rayflow_dagster.variables.store import GlobalVariableStore

from .answers import START_SECONDS, Running, fail, fetched, not_started, succeed
from .bodies import ASKED, SentIterations, asked_inputs
from .calls import ActorCall, NodeSpec, demanded
from .control import ControlNodes
from .event_loop import OPTIONS as LOOP_OPTIONS
from .event_loop import EventLoop, SharedLoopWorker
from .live import Listening
from .pool import WorkerPool, end
from .remote_class import remote_class
from .resident_nodes import ResidentNodes
from .serial_thread import SerialThread
from .variables import StoreProxy
from .worker import NodeWorker, WorkerSettings

# Every failure reaches whoever asked for the node; Ray would print it to the terminal as well.
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
_OPTIONS: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
# Ray's own retries stay off: a node runs again only when its author allowed it.

Handle = ActorHandle[Any]


class ActorManager:
    """Creates and manages the Ray actors of one run.

    Args:
        node_loader: knows the node classes and the roots they may come from.
        variable_store: the store's handle, or the store itself where no node but the variable
            nodes uses it; None for a flow without variables.
        folder: the project's folder, which relative paths in nodes are meant from.
        flow: the flow's name; with the folder it tells whose a resident actor is.
    """

    def __init__(
        self,
        node_loader: NodeLoader,
        variable_store: Handle | GlobalVariableStore | None,
        folder: str | None = None,
        flow: str = "",
    ) -> None:
        self._loader = node_loader
        self._store: Handle | None = None
        store: GlobalVariableStore | StoreProxy | None = None
        if isinstance(variable_store, GlobalVariableStore):
            store = variable_store
        elif variable_store is not None:
            self._store, store = variable_store, StoreProxy(variable_store)
        self._settings = WorkerSettings.of_this_process(
            node_loader.registry.roots, folder, has_variables=variable_store is not None
        )
        self._specs: dict[str, NodeSpec] = {}
        self._actors: dict[str, Handle] = {}
        self._coming_up: list[Future[Any]] = []
        self._thread = SerialThread("rayflow-actors")
        self._listening = Listening(ray.get_runtime_context().get_job_id())
        self._running = Running(self._thread, self._listening)
        self._control = ControlNodes(node_loader, store, self._running)
        self._pool = WorkerPool(self._new_worker, self._thread, self._running)
        self._loop = EventLoop(self._new_loop, self._running)
        self._residents = ResidentNodes(self._settings, self._store, flow, self._running)
        self._stop_listening = connection.on_lost(self._lost)

    def prepare(self, graph: ExecutionGraph, *, starts_early: bool = False) -> None:
        """Tell the manager the nodes of a flow, so that ``dispatch`` can run them.

        ``starts_early``: start the workers that it will need, before they are asked for.

        Raises:
            ClusterError: a node asks for what the cluster can never give.
        """
        asked = {}
        for node_id, node in every_node(graph).items():
            spec = self._specs[node_id] = NodeSpec.of(node_id, node)
            if spec.ray_options or self.needs_worker(node_id):
                asked[node_id] = spec.resources
        if asked:
            connection.check_feasible(asked)
        if starts_early:
            with optional("starting a run's actors early"):
                self._start_early(graph)

    def create_actor(self, node_id: str, class_path: str, constants: Mapping[str, Any]) -> Handle:
        """Create an actor of its own for a node; ``handle.process.remote(**inputs)`` runs it.

        It takes no CPU slot unless the node's ``ray_options`` ask for one, so that a flow may
        have more nodes than the cluster has slots.

        Raises:
            NodeLoadError: the class cannot be loaded.
            ClusterError: the actor can never be started, or was not within a minute.
        """
        metadata = self._loader.get_node_metadata(class_path)
        options = metadata.get("ray_options", {})
        if options:
            connection.check_feasible({node_id: demanded({"num_cpus": 0, **options})})
        path = metadata["path"]
        node: Any = {
            "class_path": path,
            "constants": dict(constants),
            "metadata": metadata,
            "ray_options": options,
        }
        self._specs[node_id] = NodeSpec.of(node_id, node)
        end(self._actors.pop(node_id, None))
        actor = self._actors[node_id] = self._new_worker(options)
        try:
            ray.get(actor.assign.remote(node_id, path), timeout=START_SECONDS)
            self._configure_actor(actor, dict(constants))
        except BaseException as error:
            end(self._actors.pop(node_id))
            raise not_started(node_id, error) from None
        return actor

    def get_actor(self, node_id: str) -> Handle:
        """The actor that ``create_actor`` made for a node.

        Raises:
            KeyError: it made none.
        """
        return self._actors[node_id]

    def cleanup_actors(self) -> None:
        """End every actor of this manager, for good. What still runs or waits fails.

        A resident actor lives on, unless it is at work for this run: only its end stops that.
        """
        self._stop_listening()
        self._thread.close(lambda: self._end_all(RunEndedError()))

    def dispatch(
        self,
        node_id: str,
        inputs: dict[str, Any],
        store_in: str | None = None,
        calls: Calls = (),
        until: Deadline | None = None,
        hear: Hear | None = None,
    ) -> "Future[NodeReply]":
        """Start one execution of a node; never waits for it.

        ``inputs`` are values, object refs or stored values by name; ``store_in`` is a folder or
        URL that the actor writes outputs to, or None. A small plain output comes back as it is
        and is not written; any other as an object ref. At the node's own ``timeout``, and at
        ``until``, its actor is ended. ``hear`` is told what a node says that runs for a second.
        """
        call = ActorCall(self._specs[node_id], inputs, store_in, calls, until, hear=hear)
        self._running.limit(call)
        actor = self._actors.get(node_id)
        if actor is not None or call.spec.runs_on in ("async", "resident"):
            call.begin()
        if self._thread.is_closed:
            fail(call.future, RunEndedError())
        elif actor is not None:
            self._running.send(actor.run, call, end=lambda: self._end_actor(node_id))
        elif not self._control.run_if_control(call):
            runners = {"async": self._loop.run, "resident": self._residents.run}
            runners.get(call.spec.runs_on, self._pool.run)(call)
        return call.future

    def _end_actor(self, node_id: str) -> None:
        handle = self._actors.pop(node_id, None)
        self._thread.do(lambda: end(handle))

    def needs_worker(self, node_id: str) -> bool:
        """Whether the node waits for a worker: one that all share, or an actor of its own."""
        spec = self._specs[node_id]
        path = spec.call.class_path
        rests = is_of_run(path, spec.metadata) or is_control(path, self._loader)
        return spec.runs_on in ("worker", "own") and not rests

    def reserve(self, node_id: str) -> "Future[Any]":
        """Get the worker that the next ``dispatch`` of the node runs on. The future is done when
        it is there, or when there can be none: ``dispatch`` then tells why.
        """
        return self._pool.reserve(self._specs[node_id])

    def asks_for(self, node_id: str) -> str:
        """What the worker of a node asks for, as words, and how much of that there is."""
        asked = listed_demand(self._specs[node_id].resources)
        return f"{asked}, and the cluster has {self._pool.slots:g} CPU slots"

    def give_back(self, node_id: str) -> None:
        """The worker that was reserved for a node is not needed after all."""
        self._pool.give_back(node_id)

    def wait_until_up(self, seconds: float) -> None:
        """Wait until the first worker that ``prepare`` started is up, and the async nodes' actor.

        At most so many seconds: on a full cluster they come up when another run ends. What could
        not be started is not waited for; the first node that needs it tells why.
        """
        wait(self._coming_up, seconds)

    def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
        """The values themselves, where ``values`` has object refs or files of stored values."""
        future: Future[dict[str, Any]] = Future()
        if not any(isinstance(value, (ray.ObjectRef, StoredValue)) for value in values.values()):
            future.set_result(dict(values))
            return future

        future.set_running_or_notify_cancel()
        self._apart(future, lambda: {name: fetched(value) for name, value in values.items()})
        return future

    @staticmethod
    def _apart(future: "Future[Any]", work: Callable[[], Any]) -> None:
        """Settle ``future`` with what ``work`` gives, on a thread of its own: opening a value may
        take long and runs its author's code.
        """

        def do() -> None:
            try:
                found = work()
            except Exception as error:  # the object store lost a value, or its class is not here
                fail(future, error)
            else:
                succeed(future, found)

        threading.Thread(target=do, name="rayflow-fetch", daemon=True).start()

    def run_body(
        self,
        node_id: str,
        asked: SomeIterations,
        until: Deadline | None = None,
        hear: Hear | None = None,
    ) -> "Future[list[Iteration]]":
        """Have one worker run iterations of a region's fused body: one at least, in their order."""
        future: Future[list[Iteration]] = Future()
        future.set_running_or_notify_cancel()
        call = ActorCall(self._specs[node_id], asked_inputs(asked), None, until=until, hear=hear)
        self._running.limit(call)
        if self._thread.is_closed:
            fail(future, RunEndedError())
        else:
            call.future.add_done_callback(lambda done: self._take_iterations(done, future))
            self._pool.run(call)
        return future

    def _take_iterations(
        self, done: "Future[NodeReply]", future: "Future[list[Iteration]]"
    ) -> None:
        """Settle ``future`` with what a worker made of a body."""
        reply = NodeReply(exception=error) if (error := done.exception()) else done.result()
        if reply.exception is not None:
            fail(future, reply.exception)
            return
        sent: SentIterations = reply.outputs[ASKED]
        if sent.is_plain:
            succeed(future, sent.opened())
        else:  # opening values and errors runs their authors' code
            self._apart(future, sent.opened)

    def read_variable(self, name: str, calls: Calls) -> "Future[Any]":
        """The value of a variable, as a node sees it that is in these calls."""
        return self._control.read_variable(name, calls)

    def end_call(self, call: Call) -> None:
        """Forget the variables that a call had for itself."""
        self._control.end_call(call.key)

    def keep(self, value: Any) -> Any:
        """Put a value of this process into the object store; its ref."""
        return ray.put(boxed(value))

    @property
    def width(self) -> int:
        """The CPU slots of the cluster, as last seen: how many plain nodes can run at once."""
        return max(1, int(self._pool.slots))

    def _lost(self, error: BaseException) -> None:
        """The cluster's head is gone: nothing will answer any more."""
        self._pool.fail_all(error)
        self._residents.fail_all(error)
        self._running.fail_all(error)

    def _start_early(self, graph: ExecutionGraph) -> None:
        where = [self._specs[node_id].runs_on for node_id in every_node(graph)]
        if "async" in where:
            self._coming_up.append(self._loop.start_early())
        width = self._width(graph)
        if width:
            self._coming_up.append(self._pool.start_early(width))

    def _width(self, graph: ExecutionGraph) -> int:
        """The most nodes for workers on one level: how many may want one at the same time."""
        levels: dict[str, int] = {}
        widths: Counter[int] = Counter()
        for node_id in graph["execution_order"]:
            node = graph["nodes"][node_id]
            levels[node_id] = 1 + max(
                (levels[before] for before in node["dependencies"]), default=0
            )
            if "body" in node:
                widths[levels[node_id]] += self._width_of_region(node)
            elif self._specs[node_id].runs_on == "worker" and self.needs_worker(node_id):
                widths[levels[node_id]] += 1
        return max(widths.values(), default=0)

    def _width_of_region(self, node: GraphNode) -> int:
        """As ``_width``, of a region whose items may run side by side."""
        spec = node["region"]
        at_once = 1
        if spec["kind"] == "for_each" and not spec["carry"]:
            at_once = min(self.width, spec["parallel"] or self.width)
        return at_once * (1 if spec["fused"] else self._width(node["body"]))

    def _end_all(self, error: ClusterError) -> None:
        handles = list(self._actors.values())
        self._actors.clear()
        # First, so that all hear why, and not that their actor died.
        self._running.fail_all(error)
        self._residents.close(error)
        self._pool.close(error)
        self._loop.close()
        for handle in handles:
            end(handle)
        self._control.close()
        self._listening.close()

    def _new_worker(self, options: Mapping[str, Any]) -> Handle:
        handle: Handle = (
            remote_class(NodeWorker)
            .options(**{**options, **_OPTIONS})
            .remote(self._settings, self._store)
        )
        return handle

    def _new_loop(self) -> Handle:
        handle: Handle = (
            remote_class(SharedLoopWorker)
            .options(**LOOP_OPTIONS, **_OPTIONS)
            .remote(self._settings, self._store)
        )
        return handle

    def _configure_actor(self, actor: Handle, constants: Mapping[str, Any]) -> None:
        """Apply constants to an actor that ``create_actor`` made."""
        ray.get(actor.configure.remote(dict(constants)), timeout=START_SECONDS)
