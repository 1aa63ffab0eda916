"""``rayflow-dagster run``: a flow from its file to its result on the terminal."""

import contextlib
import gc
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .flows import LOCATION, FlowFile, open_flow, shown
from .group import STOPPED, Refused, Stopped, shown_as_messages
from .home import FOLDER, VARIABLE
from .inputs import read_inputs
from .progress import NoProgress, Progress, print_outcome
from .report import STOPPED_TEXT, Runner, RunReport, Watcher, node_reports
from .terminal import one_line, open_console, print_document, styled


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a flow is to be run: ``typed`` and ``file`` are its inputs."""

    typed: tuple[str, ...] = ()
    file: str | None = None
    direct: bool = False
    verbose: bool = False
    as_json: bool = False


def run_flow(named: str, options: RunOptions) -> int:
    """Run the named flow and print what came of it; returns the exit code.

    Raises:
        RayflowError: the flow or its inputs are wrong, or Ray cannot be reached.
    """
    report = _run_as_json(named, options) if options.as_json else _run_on_terminal(named, options)
    return STOPPED if report.stopped else int(not report.success)


def _run_on_terminal(named: str, options: RunOptions) -> RunReport:
    flow = open_flow(named)
    runner = load(flow, direct=options.direct)
    inputs = read_inputs(runner.graph, options.typed, options.file)
    console = open_console()
    labels = [node.label for node in node_reports(runner.graph).values()]
    console.print(styled(one_line(str(flow.raw.get("name") or flow.path.stem)), "bold"))
    with Progress(console, labels, verbose=options.verbose) as progress:
        progress.waiting("connecting to Ray; the first run has to start it")
        report = connect_and_run(flow, runner, inputs, progress)
    print_outcome(console, open_console(stderr=True), report, verbose=options.verbose)
    if report.run_id is not None:
        console.print(f"run {report.run_id}; see it with: {ui_command(flow, report)}")
    return report


def _run_as_json(named: str, options: RunOptions) -> RunReport:
    try:
        with shown_as_messages():
            flow = open_flow(named)
            runner = load(flow, direct=options.direct)
            inputs = read_inputs(runner.graph, options.typed, options.file)
            report = connect_and_run(flow, runner, inputs, NoProgress())
    except Stopped:
        report = RunReport(error=STOPPED_TEXT, stopped=True)
    except Refused as error:
        error.show()
        report = RunReport(error=error.message, findings=error.findings)
    print_document(report.as_dict())
    return report


def load(flow: FlowFile, *, direct: bool) -> Runner:
    """The flow, validated and compiled for one way to run it.

    Raises:
        ValidationError: with all findings.
    """
    if direct:
        with _imported_for_good():
            from .direct import DirectRunner
        return DirectRunner(flow)
    with _imported_for_good():
        from .recorded import RecordedRunner
    return RecordedRunner(flow)


@contextlib.contextmanager
def _imported_for_good() -> Iterator[None]:
    """Have what is imported in here, and Ray, not searched for garbage, now or when the process
    ends: with Dagster and Ray that takes half as long again as importing them.
    """
    if "ray" in sys.modules:  # by an earlier command of this process, whose garbage may go
        yield
        return
    gc.disable()
    try:
        from rayflow_dagster.cluster import connection  # noqa: F401

        yield
        gc.freeze()
    finally:
        gc.enable()


def connect_and_run(
    flow: FlowFile, runner: Runner, inputs: Mapping[str, Any], watcher: Watcher
) -> RunReport:
    """Run the flow. Ray is connected first: without it there is no run to record.

    Raises:
        ClusterError: Ray cannot be reached.
    """
    from rayflow_dagster.cluster import connection

    try:
        connection.connect(shipment=connection.Shipment.of(flow.project))
        return runner.run(inputs, watcher)
    except KeyboardInterrupt:
        return RunReport(error=STOPPED_TEXT, stopped=True)


def ui_command(flow: FlowFile, report: RunReport) -> str:
    """What to type to see a recorded run in the UI."""
    root, home = flow.project.root, Path(report.home)
    command = shlex.join(["rayflow-dagster", "dev", *_location_options(root)])
    if home.resolve() != root / FOLDER:
        command = f"{VARIABLE}={shlex.quote(str(home))} {command}"
    return command if root == Path.cwd() else f"cd {shlex.quote(shown(root))} && {command}"


def _location_options(root: Path) -> list[str]:
    """What Dagster must be told to start in the project's folder, as it finds nothing there."""
    if any((root / name).is_file() for name in ("workspace.yaml", "workspace.yml")):
        return []
    with contextlib.suppress(OSError, ValueError):
        if "dagster" in tomllib.loads((root / "pyproject.toml").read_text("utf-8")).get("tool", {}):
            return []
    return ["-f", LOCATION] if (root / LOCATION).is_file() else ["--empty-workspace"]
