"""``rayflow-dagster ray``: the embedded Ray from the command line."""

import time

import click

from rayflow_dagster.actors import cluster
from rayflow_dagster.actors.cluster import EmbeddedRay, RaySettings


def print_status() -> None:
    """Say whether the embedded Ray runs."""
    running = cluster.status()
    click.echo(_described(running) if running else "the embedded Ray is not running")


def start_ray(num_cpus: int | None, idle_seconds: float) -> None:
    """Start the embedded Ray, or find it running."""
    before = cluster.status()
    running = cluster.start(RaySettings(num_cpus=num_cpus, idle_seconds=idle_seconds))
    already = " already" if before and before.pid == running.pid else ""
    click.echo(_described(running, already))


def stop_ray() -> None:
    """End the embedded Ray."""
    stopped = cluster.stop()
    click.echo("the embedded Ray is stopped" if stopped else "the embedded Ray was not running")


def _described(running: EmbeddedRay, already: str = "") -> str:
    minutes = max(0.0, time.time() - running.started) / 60
    return (
        f"the embedded Ray is{already} running: address {running.address}, {running.num_cpus} CPU "
        f"slots, up {minutes:.0f} min, process {running.pid}, files in {running.folder}"
    )
