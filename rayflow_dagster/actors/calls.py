"""What is asked of actors: nodes as the manager knows them, and single executions of them."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import ray

from rayflow_dagster.compiler.places import RunsOn, runs_on
from rayflow_dagster.engine.deadline import Deadline
from rayflow_dagster.runner import NodeCall
from rayflow_dagster.types import GraphNode, Hear, NodeMetadata
from rayflow_dagster.values.stored import StoredValue, is_inline
from rayflow_dagster.variables.calls import Calls

from .worker import CallData, Job, Limit

DEFAULT_TTL = 600.0
SLACK_SECONDS = 0.5
"""What an actor itself keeps ends so much later, for who has sent the call is to end it first."""


def demanded(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``ray_options`` is a demand for resources."""
    names = ("num_cpus", "num_gpus", "memory", "resources")
    asked = {name: options[name] for name in names if options.get(name) is not None}
    return {"num_cpus": 1, **asked}


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node. ``packed`` is its ``Job``, or the node itself where it is a region with a fused
    body; ``ttl`` the seconds after which a resident ends.
    """

    call: NodeCall
    metadata: NodeMetadata
    runs_on: RunsOn
    outputs: tuple[str, ...]
    packed: bytes
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    ttl: float = DEFAULT_TTL
    priority: int = 0
    timeout: float | None = None
    """Seconds that an execution may take once it is on an actor."""

    @classmethod
    def of(cls, node_id: str, node: GraphNode) -> "NodeSpec":
        """The node as the compiled flow has it."""
        call = NodeCall(node_id, node["class_path"], node["constants"])
        metadata, options = node["metadata"], node.get("ray_options", {})
        outputs = tuple(metadata["outputs"])
        if "body" in node and node["region"]["fused"]:
            packed = cloudpickle.dumps(node, protocol=5)
            return cls(call, metadata, "worker", (), packed, priority=node.get("priority", 0))
        packed = Job(call, outputs).packed()
        return cls(
            call,
            metadata,
            runs_on(node),
            outputs,
            packed,
            options,
            ttl=float(node.get("resident_ttl", DEFAULT_TTL)),
            priority=node.get("priority", 0),
            timeout=node.get("timeout"),
        )

    @property
    def cpus(self) -> float:
        """The CPU slots that an actor of its own takes."""
        return float(self.ray_options.get("num_cpus", 1))

    @property
    def resources(self) -> dict[str, Any]:
        """What its actor asks of a machine. A resident keeps no CPU slot between its runs."""
        return demanded(self.ray_options) | ({"num_cpus": 0} if self.runs_on == "resident" else {})


@dataclass(slots=True, eq=False)
class ActorCall:
    """One execution that somebody waits for; or, with ``only_reserves``, a worker for one, which
    the future then brings.
    """

    spec: NodeSpec
    inputs: dict[str, Any]
    store_in: str | None
    calls: Calls = ()
    until: Deadline | None = None
    """The first limit of what the node is in."""
    future: "Future[Any]" = field(default_factory=Future)
    refs: dict[str, Any] = field(default_factory=dict)
    """The inputs that are object refs, while it is on an actor."""
    only_reserves: bool = False
    end_place: "Callable[[], None] | None" = None
    """Ends where it runs, once it is there, without waiting."""
    hear: Hear | None = None
    """Is told what its node says on the way."""
    heard: bytes = b""
    """The key under which that is heard, once it is sent, if somebody listens."""
    sent: float = 0.0
    """When it was sent to its actor, on this machine's monotonic clock."""

    @property
    def node_id(self) -> str:
        return self.spec.call.node_id

    @property
    def is_light(self) -> bool:
        """Whether sending it costs nothing, so that a thread that must not wait may do it."""
        known = (ray.ObjectRef, StoredValue)
        return all(is_inline(each) or isinstance(each, known) for each in self.inputs.values())

    @property
    def _limit(self) -> Limit | None:
        """What the actor itself has to keep, where no other one ends it for that."""
        if self.spec.runs_on != "async" or (self.spec.timeout is None and self.until is None):
            return None
        until = None if self.until is None else time.time() + self.until.left + SLACK_SECONDS
        return Limit(self.spec.timeout, until)

    def begin(self) -> bool:
        """Say that it is on its way to an actor, so that nobody can cancel it any more; False if
        somebody has, or if it failed while it waited.
        """
        if self.future.done() and not self.future.cancelled():
            return False
        try:
            return self.future.set_running_or_notify_cancel()
        except InvalidStateError:  # it has failed meanwhile
            return False

    def send(self, run: Any, *before: Any) -> Any:
        """Call an actor's ``run`` with it, and let go of the inputs that are values.

        Returns:
            what Ray returns: a ref for each output and one for the envelope.
        """
        refs = self.refs
        values: dict[str, Any] = {}
        for name, value in self.inputs.items():
            (refs if isinstance(value, ray.ObjectRef) else values)[name] = value
        data = CallData(self.store_in, values, tuple(refs), self.calls, self._limit, self.heard)
        sent = data.packed() if self.is_light else data
        returned = run.options(num_returns=1 + len(self.spec.outputs)).remote(
            *before, self.spec.packed, sent, *refs.values()
        )
        self.inputs = {}
        return returned
