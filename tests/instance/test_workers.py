"""Who records the end of a run whose worker died."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from instance.launching import make_home, open_instance

from rayflow_dagster.instance.executing import record_dead
from rayflow_dagster.instance.workers import dead_workers, open_worker_file, worker_folder

LOOKERS = 8


def test_a_run_whose_worker_died_is_recorded_as_failed_once(tmp_path: Path) -> None:
    with open_instance(make_home(tmp_path / "home")) as instance:
        run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
        folder = worker_folder(instance.storage_directory())
        with subprocess.Popen(["true"]) as worker:
            file = open_worker_file(folder, run.run_id)
            file.name_process(worker.pid)
        file.close()
        assert [dead.run_id for dead in dead_workers(folder)] == [run.run_id]
        together = Barrier(LOOKERS)

        def look(_: int) -> None:
            together.wait()
            record_dead(instance)

        with ThreadPoolExecutor(LOOKERS) as threads:
            list(threads.map(look, range(LOOKERS)))
        kinds = [
            entry.dagster_event.event_type_value
            for entry in instance.all_logs(run.run_id)
            if entry.dagster_event is not None
        ]
        assert kinds.count("PIPELINE_FAILURE") == 1
        assert not list(dead_workers(folder))
