"""The log of a region's iterations."""

from pathlib import Path

import pytest

from rayflow_dagster.defs.iterations import LOG, IterationLog, recorded_in
from rayflow_dagster.engine.iteration import Ended, Recorded


def record(number: int) -> Recorded:
    return Recorded(number, Ended({"x": number}), {}, over=False)


def append(folder: Path, number: int) -> None:
    log = IterationLog(str(folder), lambda _: None)
    log.append(record(number), None)
    log.flush()


@pytest.mark.parametrize("left", [1, 9, -1])
def test_what_is_recorded_behind_a_record_that_is_cut_off_is_found(tmp_path: Path, left: int):
    append(tmp_path, 0)
    whole = (tmp_path / LOG).stat().st_size
    append(tmp_path, 1)
    file = tmp_path / LOG
    file.write_bytes(file.read_bytes()[: whole + left if left > 0 else left])
    append(tmp_path, 2)

    assert [*recorded_in(str(tmp_path))] == [record(0), record(2)]


def test_a_log_goes_on_where_another_attempt_has_left_it(tmp_path: Path):
    append(tmp_path, 0)
    append(tmp_path, 1)

    assert [*recorded_in(str(tmp_path))] == [record(0), record(1)]
