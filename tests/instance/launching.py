"""A code location in a folder, an instance on disk that names our launcher, and runs on it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import ConfigurableClassData

from rayflow_dagster.instance.launcher import WarmRunLauncher
from rayflow_dagster.instance.server_process import ForkServer
from rayflow_dagster.instance.workers import find_worker, worker_folder

WAIT_SECONDS = 90.0
GOING = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]

SETTINGS = """\
telemetry: {enabled: false}
run_launcher: {module: rayflow_dagster.instance.launcher, class: WarmRunLauncher}
run_coordinator: {module: rayflow_dagster.instance.coordinator, class: PromptRunCoordinator}
"""


class SharingLauncher(WarmRunLauncher):
    """Launches with the one fork server of this process: to start another takes seconds."""

    server = ForkServer()

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._server = self.server

    def dispose(self) -> None:
        """Leaves the server to the next."""
        self._disposed.set()
        self._dagsters_own.dispose()


# `gate` stops a run until a file of that name stands in the folder.
CODE = """
import os, signal, sys, time
from pathlib import Path
from dagster import Definitions, in_process_executor, job, op
import beside

HERE = Path(__file__).parent

def gate(name):
    (HERE / f"reached-{name}").touch()
    while not (HERE / name).exists():
        time.sleep(0.02)

@op
def speak(context):
    print("said to stdout")
    print("said to stderr", file=sys.stderr)
    context.log.info(f"{beside.WORD}; in {os.getcwd()}; process {os.getpid()}")

@op
def raise_error():
    raise ValueError("the author's own mistake")

@op
def leave():
    os._exit(3)

@op
def leave_politely():
    os._exit(0)

@op
def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)

@op
def wait():
    gate("open")

@op
def wait_deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    gate("deaf")

@op(config_schema={"mine": str, "other": str})
def meet(context):
    (HERE / context.op_config["mine"]).touch()
    gate(context.op_config["other"])

def of(an_op):
    @job(name=f"job_{an_op.name}", executor_def=in_process_executor)
    def single():
        an_op()
    return single

OPS = [speak, raise_error, leave, leave_politely, kill_itself, wait, wait_deaf, meet]
defs = Definitions(jobs=[of(each) for each in OPS])
"""


def write_location(folder: Path) -> Path:
    """The folder of a code location with one job for each way in which a run can end."""
    folder.mkdir()
    (folder / "location.py").write_text(CODE)
    (folder / "beside.py").write_text("WORD = 'first'\n")
    return folder


def make_home(folder: Path, settings: str = SETTINGS) -> Path:
    """A DAGSTER_HOME."""
    folder.mkdir()
    (folder / "dagster.yaml").write_text(settings)
    return folder


@contextmanager
def open_instance(home: Path) -> Iterator[DagsterInstance]:
    """The instance of a home. Runs that a failed test has left are ended."""
    with DagsterInstance.from_config(str(home)) as instance:
        yield instance
        for run in instance.get_runs(RunsFilter(statuses=GOING)):
            instance.run_launcher.terminate(run.run_id)


def create(
    instance: DagsterInstance, location: Path, op: str, config: dict[str, Any] | None = None
) -> str:
    """A run that is not launched yet, with the origin that a code server would give it."""
    repository = ReconstructableRepository.for_file(
        str(location / "location.py"), "defs", str(location)
    )
    job = repository._replace(executable_path=sys.executable).get_reconstructable_job(f"job_{op}")
    run_config = {"ops": {op: {"config": config}}} if config else {}
    server = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(python_file=str(location / "location.py")), "location"
    )
    run = instance.create_run_for_job(
        job.get_definition(),
        run_config=run_config,
        job_code_origin=job.get_python_origin(),
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(server, "__repository__"), job.job_name
        ),
    )
    return run.run_id


def launch(
    instance: DagsterInstance, location: Path, op: str, config: dict[str, Any] | None = None
) -> str:
    """Create a run and launch it."""
    run_id = create(instance, location, op, config)
    instance.launch_run(run_id, None)  # type: ignore[arg-type]
    return run_id


def status(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def end_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    """How a run ends."""
    wait_until(lambda: instance.get_run_by_id(run_id).is_finished)  # type: ignore[union-attr]
    return status(instance, run_id)


def messages(instance: DagsterInstance, run_id: str) -> str:
    """Everything that the log of a run says."""
    records = instance.all_logs(run_id)
    return "\n".join(
        f"{record.message} {record.dagster_event.message if record.dagster_event else ''}"
        for record in records
    )


def worker_of(instance: DagsterInstance, run_id: str) -> int:
    """The process of a run that is going."""
    worker = find_worker(worker_folder(instance.storage_directory()), run_id)
    assert worker is not None
    assert worker.alive
    return worker.pid


def is_gone(pid: int) -> bool:
    """Whether a process has ended. A zombie, whose parent has not looked yet, has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], Any]) -> None:
    """Until ``condition`` holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
