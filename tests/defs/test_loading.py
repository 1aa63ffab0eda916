"""A code location of flows: what loading it imports, shares and survives."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest
from dagster import DagsterInvariantViolationError, Definitions
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.repository_definition import RepositoryDefinition
from drawing import draw, node

from rayflow_dagster import build_definitions, build_job
from rayflow_dagster.defs import build
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

LOAD = """
import sys
from rayflow_dagster import build_definitions

repository = build_definitions(sys.argv[1]).get_repository_def()
repository.load_all_definitions()
print(sorted(job.name for job in repository.get_all_jobs() if "rayflow/broken" not in job.tags))
print([name for name in ("ray", "networkx") if name in sys.modules])
"""


def small(name: str, **data) -> dict:
    flow = draw(
        {"s": node("start", inputs={"a": "int"}), "add": node("math.add", **data), "r": "return"},
        "s > add, add > r, s.a - add.x, s.a - add.y, add.result - r.sum",
    )
    return {"name": name, **flow}


def chain(count: int) -> dict:
    names = ["s", *(f"n{number}" for number in range(count)), "r"]
    nodes = {name: node("math.add", values={"x": 1, "y": 1}) for name in names[1:-1]}
    wires = ", ".join(f"{one} > {two}" for one, two in pairwise(names))
    return draw({"s": "start", **nodes, "r": "return"}, wires)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (tmp_path / "flows").mkdir()
    for name in ("one", "two"):
        (tmp_path / "flows" / f"{name}.json").write_text(json.dumps(small(name, label=name)))
    return tmp_path / "flows"


def test_loading_imports_neither_ray_nor_what_only_broken_flows_need(folder):
    command = [sys.executable, "-c", LOAD, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["['one', 'two']", "[]"]


def test_nodes_of_one_class_differ_in_their_description_alone(folder):
    one, two = (build_definitions(folder).resolve_job_def(name) for name in ("one", "two"))
    ops = [job.graph.node_named(job.name).definition for job in (one, two)]
    assert ops[0] is not ops[1]
    assert ops[0].name != ops[1].name
    assert [op.description.splitlines()[0] for op in ops] == ["one", "two"]
    assert ops[0].input_dict == ops[1].input_dict
    assert ops[0].output_dict == ops[1].output_dict


def test_nodes_that_look_the_same_share_a_definition(folder):
    for name in ("one", "two"):
        (folder / f"{name}.json").write_text(json.dumps(small(name, label="Sum")))
    defs = build_definitions(folder)
    ops = [defs.resolve_job_def(name).graph.node_named("Sum").definition for name in ("one", "two")]
    assert ops[0] is ops[1]
    defs.get_repository_def().load_all_definitions()  # a repository refuses two ops of one name


def test_a_chain_deeper_than_pythons_recursion_becomes_a_job(tmp_path):
    limit = sys.getrecursionlimit()
    job = build_job(chain(limit + 200), "deep", project=Project.at(tmp_path), connect=in_process)
    assert len(job.graph.node_dict) == limit + 202


def loaded_again(folder) -> RepositoryDefinition:
    """The repository as a run's process has it."""
    first = DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)
    with DefinitionsLoadContext.scoped(first):
        pending = first.get_pending_reconstruction_metadata
        repository = build_definitions(folder).get_repository_def()
        data = repository.replace_repository_load_data(pending(), None).repository_load_data
    again = DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, data)
    with DefinitionsLoadContext.scoped(again):
        return build_definitions(folder).get_repository_def()


def test_a_run_compiles_its_own_flow_alone(folder, monkeypatch):
    (folder / "half.json").write_text("{")
    repository = loaded_again(folder)
    compiled = []
    real = build.compile_flow
    monkeypatch.setattr(
        build, "compile_flow", lambda raw, name, *rest, **keys: compiled.append(name)
        or real(raw, name, *rest, **keys),
    )  # fmt: skip

    one, half = repository.get_job("one"), repository.get_job("half")

    assert repository.get_job("one") is one
    assert compiled == ["one"]
    assert "it is not JSON" in (half.description or "")


def test_all_else_is_there_for_who_asks(folder):
    repository = loaded_again(folder)
    assert repository.has_job("two")
    assert {job.name for job in repository.get_all_jobs()} == {"one", "two"}
    assert repository.get_job("one") in repository.get_all_jobs()
    assert repository.repository_load_data is not None
    repository.load_all_definitions()


def test_definitions_of_a_run_can_be_merged_with_others(folder):
    frozen = loaded_again(folder).repository_load_data
    again = DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, frozen)
    with DefinitionsLoadContext.scoped(again):
        merged = Definitions.merge(build_definitions(folder), Definitions())
        assert {job.name for job in merged.resolve_all_job_defs()} == {"one", "two"}


def test_a_run_of_an_unknown_job_fails_by_its_name(folder):
    with pytest.raises(DagsterInvariantViolationError, match="Could not find job 'three'"):
        loaded_again(folder).get_job("three")


def test_a_run_calls_a_flow_as_it_was_when_the_code_location_loaded(folder):
    called = {**small("two"), "name": "Another name"}
    call = node("flow", flow="two", values={"a": 1})
    caller = draw({"s": "start", "call": call, "r": "return"}, "s > call, call > r")
    for name, flow in {"one": caller, "two": called, "three": caller}.items():
        (folder / f"{name}.json").write_text(json.dumps(flow))
    (folder / "broken.json").write_text(json.dumps({"nodes": [], "edges": []}))
    loading = DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)
    with DefinitionsLoadContext.scoped(loading):
        first = build_definitions(folder).get_repository_def()
        first.load_all_definitions()
    again = DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, first.repository_load_data)
    (folder / "two.json").unlink()
    (folder / "broken.json").write_text("{")

    with DefinitionsLoadContext.scoped(again):
        job = build_definitions(folder).get_repository_def().get_job("one")

    assert job.tags["rayflow/flow_hash"] == first.get_job("one").tags["rayflow/flow_hash"]
    inside = {each.name for each in job.get_node_named("call").definition.nodes}
    assert inside == {"s", "add", "r", "Returned"}
    assert {each.name for each in first.get_all_jobs()} == {
        "one", "Another_name", "three", "broken"
    }  # fmt: skip


def test_what_calls_a_flow_that_cannot_run_names_its_file(folder):
    caller = draw(
        {"s": "start", "call": node("flow", flow="half"), "r": "return"}, "s > call, call > r"
    )
    (folder / "one.json").write_text(json.dumps(caller))
    (folder / "half.json").write_text("{")
    told = build_definitions(folder).resolve_job_def("one").description or ""
    assert "node 'call' data.flow: flow 'half' (half.json) cannot be called: it is not JSON" in told
