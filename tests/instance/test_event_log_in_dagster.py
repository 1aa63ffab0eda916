"""Whole flows that run in Dagster with our event log."""

from pathlib import Path

import pytest
from dagster_runs import compile_test_flow, read_run, run_in_dagster
from event_logs import SHARDS, open_files, open_instance
from shapes import SHAPES, Shape

from rayflow_dagster.testing import in_process

SOME = [next(shape for shape in SHAPES if shape.name == name) for name in ("diamond", "linear")]
FAILING = next(shape for shape in SHAPES if "failed" in shape.statuses.values())


@pytest.mark.parametrize("shape", [*SOME, FAILING], ids=str)
def test_a_flow_runs_and_dagsters_class_reads_the_same_run_back(
    shape: Shape, tmp_path: Path
) -> None:
    with open_instance(tmp_path) as instance:
        run = run_in_dagster(shape.flow, shape.inputs, instance, connect=in_process)
        assert run.statuses == shape.statuses
        assert run.success == shape.success
        assert run.result == shape.result
        read = instance.event_log_storage.get_stats_for_run(run.run_id)
    assert open_files(tmp_path) == []
    assert list((tmp_path / SHARDS).glob("*-wal")) == []
    with open_instance(tmp_path, "stock") as stock:
        again = read_run(stock, run.run_id, compile_test_flow(shape.flow))
        assert again == run
        assert stock.event_log_storage.get_stats_for_run(run.run_id) == read
