"""Resident actors: detached ones, which outlive their run and end by themselves when unused."""

from contextlib import suppress
from dataclasses import dataclass

import ray

from . import _ray

NAMESPACE = "rayflow"
PREFIX = "rayflow-resident"
"""What the names of resident actors begin with."""


@dataclass(frozen=True, slots=True, order=True)
class Resident:
    """A live resident actor: its name, and the IP address of the machine that it lives on."""

    name: str
    machine: str


def residents(address: str | None = None) -> list[Resident]:
    """The residents of the connected cluster, or of the one at ``host:port``."""
    return sorted(
        Resident(name, machine)
        for name, machine in _ray.detached_actors(address)
        if name.startswith(PREFIX)
    )


def end_residents() -> list[Resident]:
    """End the residents of the connected cluster, whatever they do; returns who they were."""
    found = residents()
    for resident in found:
        with suppress(ValueError):  # it has ended since
            ray.kill(ray.get_actor(resident.name, namespace=NAMESPACE))
    return found
