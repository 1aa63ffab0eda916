"""What the connected cluster has, what others wait for in it, and what it can never give."""

import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import ray

from rayflow_dagster.errors import ClusterError, describe

from . import _ray

# What a node may ask for: "num_cpus", "num_gpus" and "memory" (bytes), custom resources either
# under "resources" or by their own names.
Demand = Mapping[str, float | Mapping[str, float]]

T = TypeVar("T", bound=Hashable)

logger = logging.getLogger(__name__)

_RAY_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU"}

_MOST_NAMED = 10
"""How many nodes an error names."""
GRACE_SECONDS = 60.0
"""How long what waits may wait for a machine that left to come back: a reboot, a network that is
away for a moment."""


@dataclass(frozen=True, slots=True)
class Machines:
    """The connected cluster at one moment.

    ``by_id``: what each live machine has in total: "CPU", "GPU", "memory" (bytes), custom ones.
    ``pending``: how many demands for CPUs, of any run, have not been given theirs yet.
    """

    by_id: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pending: int = 0
    autoscales: bool = False

    @property
    def cpus(self) -> float:
        """All CPU slots."""
        return sum(machine.get("CPU", 0.0) for machine in self.by_id.values())

    def may_stand(self, demand: Demand, machine_id: str) -> bool:
        """Whether an actor that asks for this could ever be on a machine; also if it is unknown."""
        machine = self.by_id.get(machine_id)
        return machine is None or _fits(_resources(demand), machine)

    def may_run(self, demand: Demand) -> bool:
        """Whether an actor that asks for this could ever be on some machine, now or one to come."""
        wanted = _resources(demand)
        return self.autoscales or any(_fits(wanted, each) for each in self.by_id.values())


@dataclass(slots=True)
class Stranded:
    """What waits and can run nowhere since machines have left, and since when."""

    _since: dict[Hashable, float] = field(default_factory=dict)

    def look(self, waiting: Mapping[T, Demand], machines: Machines, now: float) -> list[T]:
        """Those of ``waiting`` that no machine could run for ``GRACE_SECONDS`` in a row, as far as
        the looks tell. ``waiting``: whoever waits -> its demand; ``now`` in seconds.
        """
        stranded = [each for each, demand in waiting.items() if not machines.may_run(demand)]
        self._since = {each: self._since.get(each, now) for each in stranded}
        return [each for each in stranded if now - self._since[each] >= GRACE_SECONDS]


def look_around() -> Machines | None:
    """The connected cluster as it is now; None where Ray does not say. Only a help to whoever asks:
    without it they go by what they knew.
    """
    try:
        machines = _live_machines()
        pending = sum(
            count
            for wanted, count in _ray.waiting_requests()
            if wanted.get("CPU") and any(_fits(wanted, machine) for machine in machines.values())
        )
        return Machines(machines, pending, _ray.autoscales())
    except Exception as error:  # Ray raises RpcError, RuntimeError, ...
        logger.debug("cannot look at the cluster: %s", describe(error))
        return None


def _live_machines() -> dict[str, dict[str, float]]:
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: _resources(node["Resources"]) for node in nodes if node["Alive"]}


def check_feasible(demands: Mapping[str, Demand]) -> None:
    """Refuse what the connected cluster can never run; Ray itself would wait for ever.

    ``demands``: node -> its demand. A demand must fit one machine of the cluster. A cluster
    with an autoscaler may grow, so there nothing is refused. Raises ClusterError naming the nodes
    that cannot run.
    """
    machines = Machines(_live_machines(), autoscales=_ray.autoscales())
    refused = {name: each for name, each in demands.items() if not machines.may_run(each)}
    if refused:
        raise ClusterError(_refusal(refused, machines, "can ever satisfy that"))


def stranded(name: str, demand: Demand, machines: Machines) -> ClusterError:
    """The error for a node that waited for a machine until none was left that could run it."""
    away = f"can satisfy that any more, and none came back within {GRACE_SECONDS:g} s"
    return ClusterError(_refusal({name: demand}, machines, away))


def _refusal(refused: Mapping[str, Demand], machines: Machines, why: str) -> str:
    named = [f"node '{name}' asks for {_listed(_resources(refused[name]))}" for name in refused]
    more = len(named) - _MOST_NAMED
    named = named[:_MOST_NAMED] + ([f"and {more} nodes more"] if more > 0 else [])
    has = "; ".join(_listed(machine) for machine in machines.by_id.values()) or "no live machine"
    return (
        f"{'; '.join(named)}: no machine of the Ray cluster at {_ray.gcs_address()} {why}. "
        f"It has {has}. Ask for less, or use a larger cluster"
    )


def _resources(demand: Demand) -> dict[str, float]:
    """Ray's own names and amounts; zero amounts are left out."""
    flat: dict[str, float] = {}
    for name, amount in demand.items():
        entries = amount if isinstance(amount, Mapping) else {_RAY_NAMES.get(name, name): amount}
        flat.update(entries)
    return {name: float(amount) for name, amount in flat.items() if amount}


def _fits(wanted: Mapping[str, float], machine: Mapping[str, float]) -> bool:
    return all(amount <= machine.get(name, 0.0) for name, amount in wanted.items())


def listed_demand(demand: Demand) -> str:
    """What is asked for, as words: ``CPU 1, GPU 1``."""
    return _listed(_resources(demand))


def _listed(resources: Mapping[str, float]) -> str:
    shown = {
        name: amount
        for name, amount in sorted(resources.items())
        if not name.startswith("node:") and name != "object_store_memory"
    }
    return ", ".join(_told(name, amount) for name, amount in shown.items()) or "nothing"


def _told(name: str, amount: float) -> str:
    """``CPU 2``; ``memory 17 GB``, since that is what machines are measured in."""
    return f"{name} {amount / 1e9:.4g} GB" if name == "memory" else f"{name} {amount:g}"
