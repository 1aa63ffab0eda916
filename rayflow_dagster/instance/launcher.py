"""The run launcher of the embedded default: each run in a process forked from a fork server.

Dagster's default launcher starts a Python process for a run and imports everything in it, which
takes seconds. Here a process that has imported Dagster, Ray and this package waits, and each run is
forked from it; see ``fork_server`` for how that is safe and what ends when. The author's code is
imported in the fork, so it is always read fresh, and a crash stays inside its run.

A run goes Dagster's own way, and its log says why, if its code location has a Python of its own or
a gRPC server that somebody else started, on macOS (where forking a process that has used the
system's frameworks is not safe), and if the fork server does not start.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, DefaultRunLauncher

from rayflow_dagster.crash_points import crash_point

from . import _dagster
from ._dagster import (
    CheckRunHealthResult,
    ConfigurableClass,
    ConfigurableClassData,
    LaunchRunContext,
    RunLauncher,
    UserConfigSchema,
    WorkerStatus,
)
from .executing import launching, lost_text, record_dead, record_lost, workers_of
from .run_worker import RunOrder
from .server_process import ForkServer, ForkServerError
from .workers import Worker, find_worker

KILL_SECONDS = 60.0
"""How long a run that was told to terminate has to do so before its process is killed."""

WATCH_SECONDS = 10.0
"""How often a process that launches runs looks for those whose processes have died."""

START_SECONDS = 5.0
"""How long a run that is to terminate, and whose worker is not there yet, is waited for."""

_log = logging.getLogger("dagster.rayflow")


class WarmRunLauncher(RunLauncher[DagsterInstance], ConfigurableClass):
    """Named in ``dagster.yaml``; takes no configuration."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        self._dagsters_own: RunLauncher[DagsterInstance] = DefaultRunLauncher()
        self._server = ForkServer()
        self._launched: set[str] = set()
        self._watching: threading.Thread | None = None
        self._disposed = threading.Event()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Where the configuration came from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "WarmRunLauncher":
        """What Dagster calls."""
        return cls(inst_data=inst_data, **config_value)

    def register_instance(self, instance: DagsterInstance) -> None:
        """In the webserver, where people launch runs, the fork server is started at once."""
        super().register_instance(instance)
        self._dagsters_own.register_instance(instance)
        if sys.platform == "linux" and is_server():
            self._watch()
            if is_webserver():
                self._server.start()

    @property
    def server_pid(self) -> int | None:
        """The process of the fork server, if this process has one that runs."""
        return self._server.pid

    def launch_run(self, context: LaunchRunContext) -> None:
        """Fork a worker for a run, or let Dagster's own launcher start one."""
        run = context.dagster_run
        reason = _why_dagsters_own(run)
        if reason is None:
            self._watch()
            try:
                with launching(self._instance, run.run_id):
                    crash_point("launch_begun")
                    self._server.launch(self._order(run))
                    crash_point("launch_ordered")
                self._launched.add(run.run_id)
                return
            except (ForkServerError, OSError) as error:
                reason = str(error)
        self._instance.report_engine_event(
            f"Launching the run Dagster's own way, which takes some seconds: {reason}.",
            run,
            cls=type(self),
        )
        self._dagsters_own.launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Tell a run to stop; after ``KILL_SECONDS`` its process is killed."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        worker = self._worker_told_of(run)
        if worker is None:
            return bool(self._dagsters_own.terminate(run_id))
        if worker.alive and not worker.is_here:
            self._instance.report_engine_event(
                "The run has no process here that could be told to end: it is executed on "
                f"{worker.host}, where it can be terminated, or it is still being launched, and "
                "can be terminated soon.",
                run,
                cls=type(self),
            )
            return False
        if run.status != DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        if worker.alive and run.status == DagsterRunStatus.STARTING:
            # Nothing of it runs yet, and Dagster takes a run for failed that is to end by then.
            _kill(worker)
        elif worker.alive:
            self._stop_worker(worker)
        else:
            record_lost(self._instance, run_id)
        return True

    def _worker_told_of(self, run: DagsterRun) -> Worker | None:
        """The worker of a run; one that is being started is waited for."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            worker = find_worker(self._workers, run.run_id)
            is_to_come = run.status == DagsterRunStatus.STARTING and not _dagster.is_of_server(run)
            is_told = worker is not None and worker.pid
            if is_told or not is_to_come or time.monotonic() > deadline:
                return worker
            time.sleep(0.02)

    def join(self, timeout: int = 30) -> None:
        """Wait until the runs launched here are finished.

        Raises:
            TimeoutError: some still go on after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        going = self._going()
        while going and time.monotonic() < deadline:
            time.sleep(0.05)
            going = self._going()
        if going:
            raise TimeoutError(f"runs still going after {timeout} s: {', '.join(sorted(going))}")
        self._dagsters_own.join(timeout)

    def dispose(self) -> None:
        """The runs that are going are finished; no further one is started."""
        self._disposed.set()
        self._server.close()
        self._dagsters_own.dispose()

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's run monitoring may ask after a run."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the worker of a started run lives.

        A run without a worker's file was started by Dagster's own launcher, or in a test, and who
        started it looks after it.
        """
        worker = find_worker(self._workers, run.run_id)
        if worker is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "not launched by the fork server")
        if worker.alive:
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(worker.pid))
        record_lost(self._instance, run.run_id)  # before Dagster does, which knows less of it
        return CheckRunHealthResult(WorkerStatus.FAILED, lost_text(worker.pid))

    @property
    def _workers(self) -> Path:
        return workers_of(self._instance)

    def _order(self, run: DagsterRun) -> RunOrder:
        return RunOrder(
            run_id=run.run_id,
            instance_ref=_dagster.pack_instance(self._instance),
            folder=os.getcwd(),  # a code server gets the folder of the process that starts it
            workers=str(self._workers),
        )

    def _stop_worker(self, worker: Worker) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGTERM)
        threading.Thread(
            target=_kill_later, args=(self._workers, worker), name="kill-run", daemon=True
        ).start()

    def _going(self) -> set[str]:
        return {run_id for run_id in tuple(self._launched) if not _is_over(self._instance, run_id)}

    def _watch(self) -> None:
        """Have a thread record as failed, now and from time to time, what died with a machine, or
        otherwise so that nobody could say so.
        """
        if self._watching is None:
            self._watching = threading.Thread(target=self._look, name="dead-runs", daemon=True)
            self._watching.start()

    def _look(self) -> None:
        while not self._disposed.is_set() and self.has_instance:
            record_dead(self._instance)
            self._disposed.wait(WATCH_SECONDS)


def _why_dagsters_own(run: DagsterRun) -> str | None:
    """Why the fork server cannot execute a run; None if it can."""
    if sys.platform != "linux":
        return "runs are forked on Linux only"
    return _dagster.foreign_code(run)


def is_webserver() -> bool:
    """Whether this process is Dagster's webserver, from which people launch runs."""
    return _is_program("dagster-webserver", "dagster_webserver")


def is_server() -> bool:
    """Whether this process is Dagster's webserver or daemon, which stay."""
    return is_webserver() or _is_program("dagster-daemon", "_daemon")


def _is_program(*names: str) -> bool:
    program = Path(sys.argv[0])
    return bool({program.name, program.parent.name}.intersection(names))


def _is_over(instance: DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _kill_later(workers: Path, worker: Worker) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        now = find_worker(workers, worker.run_id)
        if now is None or not now.alive or now.pid != worker.pid:
            return
        time.sleep(0.5)
    _log.warning("killing the process of run %s, which did not terminate", worker.run_id)
    _kill(worker)


def _kill(worker: Worker) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGKILL)
