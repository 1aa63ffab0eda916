"""The end of a run whose process has died while its disk was full."""

from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus
from disks import fill, small_disk
from event_logs import good
from launching import make_home

from rayflow_dagster.instance._dagster import pack_instance
from rayflow_dagster.instance.executing import workers_of
from rayflow_dagster.instance.run_worker import RunOrder, record_end
from rayflow_dagster.instance.workers import open_worker_file


def test_the_end_of_a_run_that_cannot_be_recorded_is_recorded_once_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with DagsterInstance.from_config(str(make_home(disk / "home"))) as instance:
            run = instance.create_run_for_job(good, status=DagsterRunStatus.STARTED)
            workers = workers_of(instance)
            order = RunOrder(run.run_id, pack_instance(instance), str(disk), str(workers))
        file = open_worker_file(workers, run.run_id)
        file.name_process(1)
        file.close()  # as the kernel does when the process dies
        filling = fill(disk)
        told = record_end(order, -9)
        assert told is not None
        assert run.run_id in told
        filling.unlink()
        assert record_end(order, -9) is None
        with DagsterInstance.from_config(str(disk / "home")) as instance:
            (recorded,) = instance.get_runs()
        assert recorded.status == DagsterRunStatus.FAILURE
