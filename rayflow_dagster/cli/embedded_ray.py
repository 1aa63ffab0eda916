"""``rayflow-dagster ray``: the embedded Ray, and our actors on a cluster, from the command line."""

import time
from collections.abc import Sequence

from rayflow_dagster.cluster import connection
from rayflow_dagster.cluster.connection import EmbeddedRay, RaySettings, Resident

from .group import Refused
from .terminal import say


def print_status() -> None:
    """Say whether the embedded Ray runs, or which cluster is used, and who resides there."""
    address, running = connection.existing_address(), connection.status()
    residents = connection.residents()
    if address is not None:
        say(f"RAY_ADDRESS names an existing cluster, which answers: {address}")
    if running is not None:
        say(_described(running))
    elif address is None:
        say("the embedded Ray is not running")
    for resident in residents:
        say(f"  resident {resident.name} on {resident.machine}")


def start_ray(num_cpus: int | None, idle_seconds: float) -> None:
    """Start the embedded Ray, or find it running.

    Raises:
        Refused: it runs with another number of CPU slots than the one that was asked for.
    """
    before = connection.status()
    running = connection.start(RaySettings(num_cpus=num_cpus, idle_seconds=idle_seconds))
    already = " already" if before and before.pid == running.pid else ""
    say(_described(running, already))
    if num_cpus not in (None, running.num_cpus):
        raise Refused(
            f"it has {running.num_cpus} CPU slots, not {num_cpus}: --cpus counts only when Ray "
            "starts. Type `rayflow-dagster ray stop` first, when no run uses it"
        )


def stop_ray() -> None:
    """End the embedded Ray; of an existing cluster only what runs left there."""
    address = connection.existing_address()
    if address is not None:
        ended = connection.end_residents()
        say(
            f"the cluster at {address} is not ours to stop; of it ended: {_named(ended)}. For the "
            "embedded Ray unset RAY_ADDRESS"
        )
        return
    residents = connection.residents()
    stopped = connection.stop()
    with_them = f", and with it {_named(residents)}" if stopped and residents else ""
    state = "is stopped" if stopped else "was not running"
    say(f"the embedded Ray {state}{with_them}")


def _named(residents: Sequence[Resident]) -> str:
    names = ", ".join(resident.name for resident in residents)
    return (
        f"{len(residents)} resident(s): {names}" if names else "nothing, as no node resides there"
    )


def _described(running: EmbeddedRay, already: str = "") -> str:
    minutes = max(0.0, time.time() - running.started) / 60
    return (
        f"the embedded Ray is{already} running: address {running.address}, {running.num_cpus} CPU "
        f"slots, up {minutes:.0f} min, process {running.pid}, files in {running.folder}"
    )
