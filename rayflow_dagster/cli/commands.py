"""Everything that can be typed after ``rayflow-dagster``."""
# ruff: noqa: D301 - "\b" is click's mark for lines that it must not join

from pathlib import Path
from typing import Any

import click

from rayflow_dagster import __version__

from . import completion
from .group import CommandGroup
from .typed import Choice

_FLOW = click.argument("flow", metavar="FLOW", shell_complete=completion.flow)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rayflow-dagster")
def main() -> None:
    """Drawn flows as Dagster jobs whose steps run on Ray actors.

    A FLOW is the path of a flow file, or the name of a flow in the project's flows folder.

    \b
    Example:
      rayflow-dagster init my_project
      cd my_project
      rayflow-dagster run hello -i name=Ada
    """


@main.command()
@click.argument("flows", metavar="FLOW...", nargs=-1, required=True, shell_complete=completion.flow)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@_AS_JSON
@click.pass_context
def validate(context: click.Context, /, flows: tuple[str, ...], **options: bool) -> None:
    """Print every finding about flow files; a folder stands for its *.json.

    Exit code 1 when there is an error; warnings alone give 0, and with --strict 1.

    \b
    Example:
      rayflow-dagster validate flows
      rayflow-dagster validate flows --strict
      rayflow-dagster validate flows/order_check.json --json
    """
    from .validate import validate_flows

    if not validate_flows(flows, **options):
        context.exit(1)


@main.command()
@_FLOW
@click.option(
    "-i", "--input", "typed", multiple=True, metavar="NAME=VALUE",
    help="Value of an input, read by the type that START declares. Lists, dicts and unions are "
    "JSON. Repeatable; wins over --inputs.", shell_complete=completion.run_input,
)  # fmt: skip
@click.option(
    "--inputs", "file", metavar="FILE", shell_complete=completion.path,
    help="A JSON object of inputs; - is stdin.",
)  # fmt: skip
@click.option("--direct", is_flag=True, help="Without Dagster: nothing is recorded.")
@click.option("-v", "--verbose", is_flag=True, help="Tracebacks, and all that nodes print.")
@_AS_JSON
@click.pass_context
def run(context: click.Context, /, flow: str, **options: Any) -> None:
    """Run a flow as a recorded Dagster run, and print each node as it settles.

    Runs are recorded in DAGSTER_HOME; where that is not set, in .dagster in the project's folder.
    Exit code 1 when the flow fails, 130 after Ctrl-C.

    \b
    Example:
      rayflow-dagster run order_check -i max_error_rate=0.5
      rayflow-dagster run flows/order_check.json --inputs inputs.json --json
    """
    from .run import RunOptions, run_flow

    context.exit(run_flow(flow, RunOptions(**options)))


@main.command()
@_AS_JSON
@click.pass_context
def nodes(context: click.Context, as_json: bool) -> None:
    """List every node that a flow can use: name, ports, constants, file.

    Exit code 1 when a file or class of nodes is broken; all the others are listed.

    \b
    Example:
      rayflow-dagster nodes
      rayflow-dagster nodes --json
    """
    from .nodes import list_nodes

    if not list_nodes(as_json=as_json):
        context.exit(1)


@main.command()
@click.argument("folder", metavar="DIR", shell_complete=completion.path)
def init(folder: str) -> None:
    """Write a new project: definitions.py, workspace.yaml, one node, one flow that uses it.

    No file that is there already is overwritten.

    \b
    Example:
      rayflow-dagster init my_project
    """
    from .scaffold import init_project

    init_project(folder)


@main.command("new-node")
@click.argument("path", metavar="PATH", shell_complete=completion.path)
def new_node(path: str) -> None:
    """Write a node's file with a working skeleton, and its test.

    \b
    Example:
      rayflow-dagster new-node nodes/text/shout.py
      python -m pytest tests/nodes/text/test_shout.py
    """
    from .scaffold import write_node

    write_node(path)


@main.command()
@_FLOW
@click.option("--svg", is_flag=True, help="An SVG document instead of Mermaid text.")
def graph(flow: str, svg: bool) -> None:
    """Print a flow as Mermaid text or as SVG. Exec edges are solid, data edges dotted.

    \b
    Example:
      rayflow-dagster graph order_check
      rayflow-dagster graph order_check --svg > order_check.svg
    """
    from .graph import draw_flow
    from .terminal import say

    say(draw_flow(flow, as_svg=svg))


@main.command()
@_FLOW
@click.argument("node", metavar="[NODE]", required=False, shell_complete=completion.node)
@_AS_JSON
@click.pass_context
def explain(context: click.Context, flow: str, node: str | None, *, as_json: bool) -> None:
    """Say in sentences when each node of a flow runs, and where. NODE is the id of one of them.

    When it runs and when it is skipped, what it waits for, the loop or group that it is in, and
    whether it is a step of its own or part of another, on which process, and why. Exit code 1 when
    the flow has errors, which are printed as "validate" does.

    \b
    Example:
      rayflow-dagster explain file_check
      rayflow-dagster explain file_check check
      rayflow-dagster explain file_check --json
    """
    from .explain import explain_flow

    if not explain_flow(flow, node, as_json=as_json):
        context.exit(1)


@main.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="A page that lists every key.")
def schema(*, as_markdown: bool) -> None:
    """Print the JSON Schema of flow files, for completion and checking in editors.

    \b
    Example:
      rayflow-dagster schema > flow.schema.json
      rayflow-dagster schema --markdown
    """
    from .schema import print_schema

    print_schema(as_markdown=as_markdown)


@main.command(context_settings={"ignore_unknown_options": True})  # -5 is a value
@_FLOW
@click.argument("action", metavar="[set|reset]", type=Choice(["set", "reset"]), required=False)
@click.argument("name", metavar="[NAME]", required=False)
@click.argument("value", metavar="[JSON]", required=False, type=click.UNPROCESSED)
@_AS_JSON
def variables(flow: str, *, as_json: bool, **order: str | None) -> None:
    """Show the variables that a flow keeps between its runs, or set one.

    They are declared with "scope": "flow". A run that has read a variable, and sets it too, fails
    when it was set here meanwhile. Reset gives one variable, or all of them, its default again.

    \b
    Example:
      rayflow-dagster variables visits
      rayflow-dagster variables visits set last_visitor '"Grace"'
      rayflow-dagster variables visits reset
    """
    from .variables import Order, show_variables

    show_variables(flow, Order(**order), as_json=as_json)


@main.command()
@click.option(
    "--older-than", metavar="AGE",
    help="Also the outputs of runs that ended longer ago: 30d, 2w, 12h.",
)  # fmt: skip
@click.option(
    "--storage", "storages", multiple=True, metavar="URL", shell_complete=completion.path,
    help="Another folder or URL to look in, where only this Dagster instance stores outputs. "
    "Repeatable.",
)  # fmt: skip
@click.option("--dry-run", "dry", is_flag=True, help="Print what would go, and remove nothing.")
@click.pass_context
def prune(
    context: click.Context, older_than: str | None, storages: tuple[str, ...], dry: bool
) -> None:
    """Remove stored outputs of runs that were deleted in Dagster.

    Runs in progress keep theirs, and so do the runs that they re-execute. A run that has lost its
    outputs can be run again as a whole, not from its failure.

    \b
    Example:
      rayflow-dagster prune --dry-run
      rayflow-dagster prune --older-than 30d
    """
    from .prune import prune as remove_unneeded

    if not remove_unneeded(older_than, storages, dry=dry):
        context.exit(1)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.option(
    "-p", "--port", "--dagit-port", "port", type=click.IntRange(1, 65535),
    help="By default 3000 or a free one.",
)  # fmt: skip
@click.option(
    "-h", "--host", "--dagit-host", "host", metavar="HOST",
    help="Where to listen; by default 127.0.0.1. Alone, -h is help.",
)  # fmt: skip
@click.option(
    "--watch", "more", metavar="PATH", multiple=True, shell_complete=completion.path,
    help="A file or folder to watch besides, such as flows or node packages that definitions.py "
    "names. Repeatable.",
)  # fmt: skip
@click.argument(
    "arguments", metavar="[DAGSTER OPTIONS]...", nargs=-1, type=click.UNPROCESSED,
    shell_complete=completion.path,
)  # fmt: skip
def dev(arguments: tuple[str, ...], **options: Any) -> None:
    """Open the Dagster UI, and reload flows and nodes when they are saved.

    This is "dagster dev" with its options, its exit code and its output, and a watcher beside it.
    Whenever a flow, a file of a node package, a *.py beside definitions.py or pyproject.toml is
    saved, the code location is loaded again. Runs in progress keep the flow that they started
    with. Runs are recorded as by "run".

    \b
    Example:
      rayflow-dagster dev
      rayflow-dagster dev -w workspace.yaml -p 3001
      rayflow-dagster dev -f definitions.py --watch ../shared_nodes
    """
    from .dev import run_dev

    run_dev(arguments, **options)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=3001, show_default=True,
    help="0 for any free one, which is printed.",
)  # fmt: skip
@click.option(
    "--secret-file", metavar="FILE", shell_complete=completion.path,
    help="A file with the secrets of which callers must send one, each on a line, or with a "
    "flow's name before it (order: ...) for that flow alone. It is read again when it has changed. "
    "Without it, RAYFLOW_INBOX_SECRET has the secret.",
)  # fmt: skip
@click.option(
    "--flows", metavar="DIR", shell_complete=completion.path,
    help="The folder of flows; by default the project's flows.",
)  # fmt: skip
@click.option(
    "--max-body", type=click.IntRange(1, 10_000_000), default=1_000_000, show_default=True,
    metavar="BYTES", help="Of a request's body.",
)  # fmt: skip
@click.option(
    "--max-waiting", type=click.IntRange(min=1), default=1000, show_default=True,
    metavar="COUNT", help="Requests of one flow that may wait for their runs.",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True,
    metavar="COUNT", help="Requests a second, of all callers.",
)  # fmt: skip
@click.option(
    "--keep", type=click.IntRange(min=1), default=30, show_default=True, metavar="DAYS",
    help="How long a request can be asked for.",
)  # fmt: skip
def inbox(max_body: int, max_waiting: int, rate: float, keep: int, **options: Any) -> None:
    """Let other programs start flows over HTTP: those that have an inbox sensor.

    A request is on the disk before it is accepted, and waits there until Dagster's daemon starts
    a run for it. Callers must send a secret, or sign what they send with it.

    \b
    Example:
      export RAYFLOW_INBOX_SECRET=$(python -c 'import secrets; print(secrets.token_urlsafe(32))')
      rayflow-dagster inbox
      rayflow-dagster inbox --port 8080 --secret-file /run/secrets/inbox
    """
    from rayflow_dagster.inbox.endpoint import Limits

    from .inbox import serve_inbox

    serve_inbox(Limits(max_body, max_waiting, rate, keep * 24 * 3600.0), **options)


@main.group()
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
