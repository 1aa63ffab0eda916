"""The flows in ``flows/`` do what their descriptions say, each way round."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a flow of the project without Ray, on a copy of its data, and returns its result."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROJECT / "data", tmp_path / "data")

    def run_flow(name, **inputs):
        flow = json.loads((PROJECT / "flows" / f"{name}.json").read_text(encoding="utf-8"))
        orchestrator = FlowOrchestrator(Project.at(PROJECT), connect=in_process)
        outcome = asyncio.run(orchestrator.execute_flow(flow, inputs))
        assert outcome["success"], outcome["error"]
        return outcome["result"]

    return run_flow


def test_order_check_accepts_a_file_with_few_bad_rows(run):
    result = run("order_check")
    assert (result["orders"], result["revenue"]) == (53, 7112.35)
    assert sum(result["by_country"].values()) == pytest.approx(result["revenue"])
    assert result["error_rate"] == pytest.approx(8 / 61)


def test_order_check_rejects_a_file_with_too_many_bad_rows(run):
    result = run("order_check", max_error_rate=0.1)
    assert result["reasons"]["no customer"] == 2
    assert len(result["problems"]) == 8


def test_text_report_writes_a_table(run):
    result = run("text_report", top=3)
    assert [entry["word"] for entry in result["ranking"]] == ["light", "train", "there"]
    assert "| light | 11 |" in Path(result["report"]).read_text(encoding="utf-8")


def test_text_report_writes_a_note_when_no_word_is_frequent(run, tmp_path):
    result = run("text_report", often=100)
    report = (tmp_path / "out" / "word_report.md").read_text(encoding="utf-8")
    assert report == "No word is frequent in the texts of data/texts"
    assert result["report"] == "out/word_report.md"


def test_counter_loses_no_addition(run):
    assert run("counter") == {"counter": 6, "excess": 1}
    assert run("counter", first=-6) == {"counter": 0}


def test_arithmetic_tells_which_gave_more(run):
    assert run("arithmetic") == {"result": 42, "lead": 29}
    assert run("arithmetic", a=1, b=1) == {"result": 2}


def test_daily_report_adds_up_and_sales_share_divides(run):
    report = run("daily_report")
    assert report["revenue"] == 7112.35
    assert run("sales_share", revenue=report["revenue"]) == {"share": pytest.approx(0.711235)}


def test_order_pages_reads_until_a_page_is_empty(run):
    result = run("order_pages")
    assert (result["orders"], len(result["problems"]), result["pages"]) == (53, 8, 4)


def test_file_check_goes_on_where_files_fail_and_tells_why(run, tmp_path):
    assert run("file_check") == {"files": 4, "failed": {}, "words": 1122}
    texts = tmp_path / "data" / "texts"
    (texts / "empty.txt").write_text("")
    (texts / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0")
    result = run("file_check")
    assert (result["files"], result["words"]) == (6, 1122)
    assert set(result["failed"]) == {"data/texts/empty.txt", "data/texts/photo.txt"}
    assert result["failed"]["data/texts/empty.txt"] == "only 0 of at least 50 words"
