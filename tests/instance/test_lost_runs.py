"""What a run held whose process has died."""

from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus, job

from rayflow_dagster.instance._dagster import report_lost


@job
def nothing() -> None: ...


def test_a_lost_run_fails_and_frees_what_it_held_in_pools(tmp_path: Path) -> None:
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = instance.create_run_for_job(nothing, status=DagsterRunStatus.STARTED)
        pools = instance.event_log_storage
        pools.set_concurrency_slots("lonely", 1)
        assert pools.claim_concurrency_slot("lonely", run.run_id, "step").is_claimed

        report_lost(instance, run.run_id, "it died")

        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status == DagsterRunStatus.FAILURE
        assert pools.claim_concurrency_slot("lonely", "another run", "step").is_claimed
