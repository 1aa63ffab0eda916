"""A folder of flows as a code location."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, Definitions
from drawing import draw, node

from rayflow_dagster import build_definitions, build_job
from rayflow_dagster.errors import ValidationError
from rayflow_dagster.testing import in_process

GOOD = draw(
    {"start": node("start", inputs={"a": "int"}), "add": "math.add", "return": "return"},
    "start > add, start.a - add.x, start.a - add.y, add > return, add.result - return.sum",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))


def _load(folder: Path, **flows: Any) -> Definitions:
    flows_dir = folder / "flows"
    flows_dir.mkdir(exist_ok=True)
    for name, flow in flows.items():
        text = flow if isinstance(flow, str) else json.dumps(flow)
        (flows_dir / f"{name}.json").write_text(text, encoding="utf-8")
    return build_definitions(flows_dir)


def _description(defs: Definitions, name: str) -> str:
    return defs.resolve_job_def(name).description or ""


def test_every_flow_file_becomes_a_job(tmp_path: Path) -> None:
    defs = _load(tmp_path, one=GOOD, two={**GOOD, "name": "The second"})

    assert {job.name for job in defs.resolve_all_job_defs()} >= {"one", "The_second"}


def test_an_invalid_flow_is_a_job_that_lists_its_findings_and_fails_with_them(
    tmp_path: Path,
) -> None:
    broken = {**GOOD, "edges": GOOD["edges"][:1]}

    defs = _load(tmp_path, good=GOOD, broken=broken, notjson="{")

    assert "input 'x' (float): it has no wire" in _description(defs, "broken")
    assert "it is not JSON" in _description(defs, "notjson")
    with DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("broken").execute_in_process(
            instance=instance, raise_on_error=False
        )
    assert not result.success
    assert "input 'x' (float): it has no wire" in str(result.all_node_events)
    assert defs.resolve_job_def("good").name == "good"


def test_two_flows_of_one_name_are_both_refused_each_naming_the_other(tmp_path: Path) -> None:
    defs = _load(tmp_path, one={**GOOD, "name": "same"}, two={**GOOD, "name": "Same"})

    texts = sorted(job.description or "" for job in defs.resolve_all_job_defs())
    assert len(texts) == 2
    assert "'same' is claimed by 'one.json', 'two.json'" in texts[0]
    assert "'Same' is claimed by 'two.json', 'one.json'" in texts[1]


def test_a_file_that_cannot_be_read_takes_no_name_from_a_flow(tmp_path: Path) -> None:
    defs = _load(tmp_path, half="{", other={**GOOD, "name": "Half"}, a_b="[", **{"a-b": "{"})

    jobs = {job.name: job.description or "" for job in defs.resolve_all_job_defs()}
    assert len(jobs) == 4
    assert "cannot run" not in jobs.pop("Half")
    assert all("it is not JSON" in text for text in jobs.values())
    assert sum(name.startswith("half_") for name in jobs) == 1


def test_two_flows_share_the_definition_of_nodes_that_look_the_same(tmp_path: Path) -> None:
    defs = _load(tmp_path, one=GOOD, two=GOOD)

    one, two = (defs.resolve_job_def(name).graph.node_defs for name in ("one", "two"))
    assert {id(op) for op in one} == {id(op) for op in two}


def test_build_job_raises_all_findings() -> None:
    broken = {**GOOD, "edges": GOOD["edges"][:1]}

    with pytest.raises(ValidationError) as raised:
        build_job(broken)

    assert len(raised.value.findings) > 2


def test_a_job_runs_in_process_without_a_home_or_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    job = build_job(GOOD, connect=in_process)

    result = job.execute_in_process(run_config={"ops": {"start": {"config": {"a": 2}}}})

    assert result.output_for_node("Return", "result") == {"sum": 4}


def test_the_jobs_page_shows_description_file_and_inputs(tmp_path: Path) -> None:
    flow = json.loads(json.dumps({**GOOD, "description": "Doubles a number."}))
    flow["nodes"][0]["data"]["inputs"] = {"a": {"type": "int", "description": "What to double"}}
    (tmp_path / "definitions.py").touch()

    text = _description(_load(tmp_path, double=flow), "double")

    assert "Doubles a number." in text
    assert "flows/double.json" in text
    assert "`a`: int, required: What to double" in text


def test_loading_a_code_location_imports_neither_ray_nor_its_cluster(tmp_path: Path) -> None:
    _load(tmp_path, good=GOOD)
    code = (
        "import sys; from rayflow_dagster import build_definitions;"
        f"build_definitions({str(tmp_path / 'flows')!r}).resolve_all_job_defs();"
        "assert not {'ray', 'sqlalchemy', 'fsspec'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
