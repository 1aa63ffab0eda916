"""The benchmarks work: each imports, and those without servers run small. Nothing is timed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
NAMES = sorted(file.stem for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))
RUN_HERE = ("direct", "arrays", "for_each")
RUN_QUICK = f"""
import runpy, _bench
with _bench.embedded_ray():
    for name in {RUN_HERE}:
        runpy.run_path(name + ".py", run_name="__main__")
"""
ROW = {"question": "a|b", "ours": 0.05, "theirs": 0.2, "target": 0.3, "unit": "s"}
MACHINE = dict.fromkeys(("date", "cores", "system", "python", "dagster", "ray"), "x")
FOUND = [{"name": "chain", "machine": MACHINE, "rows": [ROW], "notes": ["a note"]}]


def run(*arguments: str) -> str:
    """What a Python process in an environment of its own prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    """What one process that has imported all benchmarks tells: the text of each, the order of the
    report, and the report of ``FOUND``.
    """
    texts = f"{{name: __import__(name).__doc__ or '' for name in {NAMES}}}"
    told = f"dict(texts={texts}, order=_report.ORDER, table=_report.markdown({FOUND!r}))"
    answer: dict[str, Any] = json.loads(
        run("-c", f"import _report, json; print(json.dumps({told}))")
    )
    return answer


@pytest.fixture(scope="module")
def quick() -> dict[str, dict[str, Any]]:
    """What the benchmarks write when they run small, all in one process and on one Ray."""
    printed = run("-c", RUN_QUICK, "--quick")
    assert printed.count("the figures mean nothing") == len(RUN_HERE)
    folder = ROOT / "out" / "benchmarks"
    return {name: json.loads((folder / f"quick-{name}.json").read_text()) for name in RUN_HERE}


def test_every_benchmark_is_told_of_in_the_docs_and_in_the_order_of_the_report(
    imported: dict[str, Any],
) -> None:
    told = (ROOT / "docs" / "benchmarks.md").read_text()

    assert [name for name in NAMES if f"`{name}.py`" not in told] == []
    assert sorted(imported["order"]) == NAMES


def test_every_benchmark_imports_and_says_what_it_compares(imported: dict[str, Any]) -> None:
    assert [name for name, text in imported["texts"].items() if len(text) < 100] == []


def test_the_report_is_one_table_of_what_was_measured(imported: dict[str, Any]) -> None:
    table = imported["table"]

    assert "| chain | a\\|b | 50.00 ms | 0.20 s | 0.25 | 0.3 | yes |" in table
    assert "chain: a note" in table


@pytest.mark.ray
def test_the_direct_benchmark_runs_small(quick: dict[str, dict[str, Any]]) -> None:
    found = quick["direct"]

    assert {row["target"] for row in found["rows"]} == {1.15, 1.3}
    assert all(row["ours"] and row["theirs"] for row in found["rows"])


@pytest.mark.ray
def test_the_benchmark_of_loops_runs_small(quick: dict[str, dict[str, Any]]) -> None:
    found = quick["for_each"]

    assert [row["target"] for row in found["rows"]] == [1.5, 1.3, 1.2, None, 1.0, 1.2]


@pytest.mark.ray
def test_the_benchmark_of_arrays_runs_small(quick: dict[str, dict[str, Any]]) -> None:
    found = quick["arrays"]

    assert len(found["measured"]["ours"]) == len(found["measured"]["bare"]) == 1
