"""Everything that can be typed after ``rayflow-dagster ray``."""
# ruff: noqa: D301 - "\b" is click's mark for lines that it must not join

from pathlib import Path

import click

from .group import CommandGroup


@click.group(cls=CommandGroup)
def ray() -> None:
    """Look after the embedded Ray, which starts by itself and ends by itself when idle.

    \b
    Example:
      rayflow-dagster ray status
    """


@ray.command()
def status() -> None:
    """Say whether the embedded Ray runs, and where. Exit code 0 either way.

    \b
    Example:
      rayflow-dagster ray status
    """
    from .embedded_ray import print_status

    print_status()


@ray.command()
@click.option(
    "--cpus",
    type=click.IntRange(min=1),
    help="CPU slots; by default the project's.",
)
@click.option(
    "--idle", type=click.FloatRange(min=0, min_open=True), default=600.0, show_default=True,
    metavar="SECONDS", help="End after so long without a driver.",
)  # fmt: skip
def start(cpus: int | None, idle: float) -> None:
    """Start the embedded Ray, so that the next run need not wait for it.

    \b
    Example:
      rayflow-dagster ray start --cpus 4
    """
    from rayflow_dagster.project import Project

    from .embedded_ray import start_ray

    start_ray(cpus or Project.around(Path.cwd()).settings.num_cpus, idle)


@ray.command()
def stop() -> None:
    """End the embedded Ray. Runs that still use it end, too.

    \b
    Example:
      rayflow-dagster ray stop
    """
    from .embedded_ray import stop_ray

    stop_ray()
