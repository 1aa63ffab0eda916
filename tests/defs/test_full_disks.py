"""Captured output that has no room."""

import contextlib
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from disks import fill, small_disk

from rayflow_dagster.defs._dagster import StepLogs


def test_what_is_printed_onto_a_full_disk_is_told_once_and_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        manager = LocalComputeLogManager(str(disk / "logs"))
        context: Any = SimpleNamespace(
            instance=SimpleNamespace(compute_log_manager=manager),
            run_id="run",
            log=logging.getLogger("run"),
        )
        with contextlib.ExitStack() as closing:
            logs = StepLogs(context, "it", closing)
            logs.write("kept\n")
            fill(disk)
            logs.write("x" * 100_000)
            logs.write("more")
        assert len(caplog.messages) == 1
        assert "What step it prints cannot be kept: [Errno 28] No space" in caplog.messages[0]
        assert (disk / "logs" / "run" / "compute_logs" / "it.out").read_text().startswith("kept")
