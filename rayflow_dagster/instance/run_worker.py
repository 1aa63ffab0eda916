"""What a child of the fork server does: execute one run, or record that one has died."""

import os
import sys
from pathlib import Path

from . import _dagster
from .workers import WorkerFile


def execute_run(run_id: str, instance_ref: str, folder: str, file: WorkerFile) -> None:
    """Do what ``dagster api execute_run`` does, in ``folder``.

    The author's code is imported here, fresh, through the run's own origin; the flow is the one
    that the code location had loaded, because the run carries what was frozen then.
    """
    _stand_in(folder)
    if _dagster.execute_run(run_id, instance_ref, before=_expect):
        file.remove()


def _expect(job_name: str) -> None:
    """Have the job's actors come up while the rest of its code location loads."""
    from rayflow_dagster.defs import prestart

    prestart.expect(job_name)


def _stand_in(folder: str) -> None:
    """Look like a process that was started in the folder, as the code server was."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv[:] = ["dagster", "api", "execute_run"]


def report_crash(run_id: str, instance_ref: str, file: Path, exit_code: int) -> None:
    """Record a run as failed whose worker ended without having recorded its end."""
    with _dagster.open_instance(instance_ref) as instance:
        _dagster.report_lost(instance, run_id, _dagster.explain_exit(run_id, exit_code))
    file.unlink(missing_ok=True)
