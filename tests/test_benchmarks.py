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


def quick_result(name: str) -> dict[str, Any]:
    """What a benchmark writes when it runs small."""
    printed = run(f"{name}.py", "--quick")
    assert "the figures mean nothing" in printed
    document: dict[str, Any] = json.loads(
        (ROOT / "out" / "benchmarks" / f"quick-{name}.json").read_text()
    )
    return document


def test_every_benchmark_is_told_of_in_the_docs_and_in_the_order_of_the_report() -> None:
    told = (ROOT / "docs" / "benchmarks.md").read_text()
    order = json.loads(run("-c", "import _report, json; print(json.dumps(_report.ORDER))"))

    assert [name for name in NAMES if f"`{name}.py`" not in told] == []
    assert sorted(order) == NAMES


def test_every_benchmark_imports_and_says_what_it_compares() -> None:
    imported = f"[__import__(name).__doc__ or '' for name in {NAMES}]"
    texts = json.loads(run("-c", f"import json; print(json.dumps({imported}))"))

    assert [name for name, text in zip(NAMES, texts, strict=True) if len(text) < 100] == []


def test_the_report_is_one_table_of_what_was_measured() -> None:
    row = {"question": "a|b", "ours": 0.05, "theirs": 0.2, "target": 0.3, "unit": "s"}
    machine = dict.fromkeys(("date", "cores", "system", "python", "dagster", "ray"), "x")
    found = [{"name": "chain", "machine": machine, "rows": [row], "notes": ["a note"]}]

    table = run("-c", f"import _report; print(_report.markdown({found!r}))")

    assert "| chain | a\\|b | 50.00 ms | 0.20 s | 0.25 | 0.3 | yes |" in table
    assert "chain: a note" in table


@pytest.mark.ray
def test_the_direct_benchmark_runs_small() -> None:
    found = quick_result("direct")

    assert {row["target"] for row in found["rows"]} == {1.15, 1.3}
    assert all(row["ours"] and row["theirs"] for row in found["rows"])


@pytest.mark.ray
def test_the_benchmark_of_arrays_runs_small() -> None:
    found = quick_result("arrays")

    assert len(found["measured"]["ours"]) == len(found["measured"]["bare"]) == 1
