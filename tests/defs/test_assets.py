"""Assets of flows: what runs report, and what the asset graph of a code location shows."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    AutomationCondition,
    DagsterInstance,
    Definitions,
    ExecutorDefinition,
    MetadataValue,
    ReexecutionOptions,
    asset,
    build_reconstructable_job,
    evaluate_automation_conditions,
    execute_job,
    in_process_executor,
)
from dagster_runs import PROJECT, FlowRun, run_in_dagster, run_job
from drawing import draw, node

from rayflow_dagster import build_definitions
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.prestart import flow_of
from rayflow_dagster.testing import in_process


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))


def sales(**keys: Any) -> dict[str, Any]:
    """Doubles a number: assets of the node that doubles, and of RETURN."""
    nodes = {
        "start": node("start", inputs={"a": {"type": "int", "default": 1}}),
        "double": node("math.add", label="Double it", asset={"key": "raw/double"}),
        "return": node("return", asset={"key": "sales", "group": "reports", "deps": ["prices"]}),
    }
    wires = (
        "start > double, start.a - double.x, start.a - double.y, double > return,"
        "double.result - return.total"
    )
    return draw(nodes, wires, **keys)


def materialized(run: FlowRun) -> dict[str, AssetMaterialization]:
    """Key -> what the run reported; each once."""
    found = [
        event.step_materialization_data.materialization
        for event in run.events
        if event.event_type_value == "ASSET_MATERIALIZATION"
    ]
    by_key = {item.asset_key.to_user_string(): item for item in found}
    assert len(by_key) == len(found)
    return by_key


def run_here(flow: dict[str, Any], instance: DagsterInstance, **inputs: Any) -> FlowRun:
    return run_in_dagster(flow, inputs, instance, connect=in_process)


# What runs report


def test_a_run_reports_each_asset_with_what_its_value_is(memory: DagsterInstance) -> None:
    run = run_here(sales(), memory, a=21)

    found = materialized(run)
    assert set(found) == {"raw/double", "sales"}
    assert found["raw/double"].metadata == {
        "preview": MetadataValue.text("42"),
        "type": MetadataValue.text("int"),
        "value": MetadataValue.int(42),
        "flow": MetadataValue.text("test"),
        "node": MetadataValue.text("Double it"),
        "run": MetadataValue.dagster_run(run.run_id),
    }
    assert found["sales"].metadata == {
        "preview": MetadataValue.text("{'total': 42}"),
        "type": MetadataValue.text("dict"),
        "size": MetadataValue.int(1),
        "result.total": MetadataValue.int(42),
        "flow": MetadataValue.text("test"),
        "node": MetadataValue.text("Return"),
        "run": MetadataValue.dagster_run(run.run_id),
    }
    assert found["sales"].partition is None


def test_the_instance_knows_the_latest_materialization_and_its_run(
    instance: DagsterInstance,
) -> None:
    run_here(sales(), instance, a=1)
    second = run_here(sales(), instance, a=2)

    event = instance.get_latest_materialization_event(AssetKey(["raw", "double"]))

    assert event is not None
    assert (event.run_id, event.step_key) == (second.run_id, "Double_it")
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["value"].value == 4


def test_a_step_reports_its_asset_when_all_its_outputs_are_kept(memory: DagsterInstance) -> None:
    run = run_here(sales(), memory)

    told = run.of_step("Double_it")
    assert told.count("STEP_OUTPUT") == 2  # the value, and that exec_out fired
    assert told[-2:] == ["ASSET_MATERIALIZATION", "STEP_SUCCESS"]


def test_a_number_that_is_none_is_shown_as_text(memory: DagsterInstance) -> None:
    nodes = {"start": node("start", inputs={"a": "any"}), "r": node("return", asset={"key": "k"})}
    flow = draw(nodes, "start > r, start.a - r.a")

    for value, shown in ((2**70, str(2**70)), (True, "True")):
        found = materialized(run_here(flow, memory, a=value))["k"].metadata
        assert found["result.a"] == MetadataValue.text(shown)


def choosing(which: Any = "a") -> dict[str, Any]:
    """One of two nodes runs, each with an asset."""
    nodes = {
        "start": "start",
        "choose": node("choose", values={"which": which}),
        "one": node("constant", values={"VALUE": 1}, asset={"key": "one"}),
        "two": node("constant", values={"VALUE": 2}, asset={"key": "two"}),
        "return": "return",
    }
    wires = "start > choose, choose.a > one, choose.b > two, one > return, two > return"
    return draw(nodes, wires)


def test_a_skipped_node_reports_nothing(memory: DagsterInstance) -> None:
    run = run_here(choosing(), memory)

    assert run.statuses["two"] == "skipped"
    assert set(materialized(run)) == {"one"}


def failing(*, handled: bool, **data: Any) -> dict[str, Any]:
    nodes = {
        "start": node("start", inputs={"value": "any"}),
        "fragile": node("fragile", values={"fail": True}, asset={"key": "lost"}, **data),
        "return": node("return", asset={"key": "end"}),
    }
    wires = "start > fragile, start.value - fragile.value, fragile > return"
    return draw(nodes, wires + (", fragile.error > return" if handled else ""))


def test_a_failed_node_reports_nothing(memory: DagsterInstance) -> None:
    run = run_here(failing(handled=False), memory, value=1)

    assert run.statuses["fragile"] == "failed"
    assert materialized(run) == {}


def test_a_node_whose_error_was_handled_reports_nothing(memory: DagsterInstance) -> None:
    run = run_here(failing(handled=True), memory, value=1)

    assert run.statuses["fragile"] == "completed"
    assert set(materialized(run)) == {"end"}


def flaky() -> dict[str, Any]:
    nodes = {
        "start": "start",
        "flaky": node(
            "flaky",
            values={"value": "x", "FAILURES": 2},
            retry={"max": 2},
            asset={"key": "tried", "output": "attempts"},
        ),
        "return": node("return", asset={"key": "end"}),
    }
    variables = {"attempts": {"type": "int", "default": 0}}
    return draw(nodes, "start > flaky, flaky > return", variables=variables)


def test_a_node_that_was_retried_reports_its_asset_once(memory: DagsterInstance) -> None:
    run = run_here(flaky(), memory)

    assert run.of_step("flaky").count("STEP_RESTARTED") == 2
    assert materialized(run)["tried"].metadata["value"] == MetadataValue.int(3)


def job_of(flow: str) -> Any:
    """Dagster reconstructs the job by calling this again."""
    return build_job(json.loads(flow), "test", project=PROJECT, connect=in_process)


def keys_of(events: Any) -> list[str]:
    return sorted(
        event.asset_key.to_user_string()
        for event in events
        if event.event_type_value == "ASSET_MATERIALIZATION"
    )


def test_a_rerun_of_some_steps_reports_only_what_ran(instance: DagsterInstance) -> None:
    job = build_reconstructable_job("test_assets", "job_of", (json.dumps(sales()),))
    first = execute_job(job, instance)

    options = ReexecutionOptions(first.run_id, step_selection=["Return"])
    again = execute_job(job, instance, reexecution_options=options)

    assert keys_of(first.all_events) == ["raw/double", "sales"]
    assert again.success
    assert keys_of(again.all_events) == ["sales"]


def test_the_in_process_executor_reports_the_same(memory: DagsterInstance) -> None:
    ours = run_here(sales(), memory, a=3)
    theirs = run_in_dagster(
        sales(), {"a": 3}, memory, connect=in_process, executor_def=in_process_executor
    )

    def shown(run: FlowRun) -> dict[str, Any]:
        return {
            key: {name: item.value for name, item in found.metadata.items() if name != "run"}
            for key, found in materialized(run).items()
        }

    assert shown(ours) == shown(theirs) != {}
    assert ours.of_step("Return") == theirs.of_step("Return")


LARGE = {
    "array": {"type": "ndarray", "dagster/row_count": 200_000, "shape": "200000"},
    "table": {"type": "Table", "dagster/row_count": 200_000, "columns": 1, "shape": "200000 x 1"},
    "frame": {"type": "DataFrame", "dagster/row_count": 200_000, "columns": 1},
}


@pytest.mark.ray
@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("executor_def", [None, in_process_executor], ids=["ours", "in process"])
def test_a_value_on_ray_is_measured_where_it_is(
    ray_session: None, memory: DagsterInstance, kind: str, executor_def: ExecutorDefinition | None
) -> None:
    nodes = {
        "start": "start",
        "make": node("odd_nodes.frames.MakeLargeNode", values={"KIND": kind}, asset={"key": "big"}),
        "return": "return",
    }
    flow = draw(nodes, "start > make, make > return")
    project = type(PROJECT)(PROJECT.root, ("flow_nodes", "odd_nodes"))
    job = build_job(flow, "test", project=project, executor_def=executor_def)
    compiled = flow_of(job)
    assert compiled is not None

    run = run_job(job, compiled, {}, memory)

    found = materialized(run)["big"].metadata
    assert {name: found[name].value for name in LARGE[kind]} == LARGE[kind]
    assert str(found["preview"].value).startswith(str(LARGE[kind]["type"]))
    assert "value" not in found


def test_the_partition_of_the_run_is_the_assets(memory: DagsterInstance) -> None:
    job = build_job(sales(), "test", project=PROJECT, connect=in_process)
    run = memory.create_run_for_job(job, tags={**job.run_tags, "dagster/partition": "2024-05-01"})

    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run

    execute_run(InMemoryJob(job), run, memory)

    event = memory.get_latest_materialization_event(AssetKey("sales"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == "2024-05-01"


def test_assets_change_neither_step_keys_nor_ops_nor_run_config() -> None:
    def looks(flow: dict[str, Any]) -> Any:
        job = build_job(flow, "test", project=PROJECT, connect=in_process)
        ops = sorted((op.name, op.definition.name) for op in job.graph.nodes)
        return ops, job.run_config_schema.run_config_schema_type.snapshot

    plain = sales()
    for drawn in plain["nodes"]:
        drawn["data"].pop("asset", None)

    assert looks(plain) == looks(sales())


# What the asset graph shows


def load(folder: Path, **flows: Any) -> Definitions:
    flows_dir = folder / "flows"
    flows_dir.mkdir(exist_ok=True)
    for name, flow in flows.items():
        (flows_dir / f"{name}.json").write_text(json.dumps(flow), encoding="utf-8")
    return build_definitions(flows_dir)


def lineage(defs: Definitions) -> dict[str, set[str]]:
    """Key -> what it depends on, of every asset in the graph."""
    graph = defs.resolve_asset_graph()
    return {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.toposorted_asset_keys
    }


def descriptions(defs: Definitions) -> dict[str, str]:
    return {job.name: job.description or "" for job in defs.resolve_all_job_defs()}


def simple(key: Any, deps: tuple[str, ...] = (), **keys: Any) -> dict[str, Any]:
    """A flow whose RETURN is one asset."""
    nodes = {
        "start": node("start", inputs={"a": {"type": "int", "default": 1}}),
        "return": node("return", asset={"key": key, "deps": list(deps)}),
    }
    return draw(nodes, "start > return, start.a - return.total", **keys)


def started_by(flow: str, given: Any = "{{ result.total }}") -> dict[str, Any]:
    return {"sensors": [{"type": "flow", "flow": flow, "inputs": {"a": given}}]}


def test_the_graph_has_the_assets_with_group_text_and_place(tmp_path: Path) -> None:
    (tmp_path / "definitions.py").touch()
    defs = load(tmp_path, sales=sales())

    spec = defs.resolve_asset_graph().get(AssetKey("sales"))
    inner = defs.resolve_asset_graph().get(AssetKey(["raw", "double"]))

    assert (spec.group_name, spec.kinds, spec.is_executable) == ("reports", {"ray"}, False)
    assert spec.metadata["flow file"] == MetadataValue.path("flows/sales.json")
    assert inner.metadata["node"] == "Double it"
    assert inner.metadata["output"] == "result"
    assert inner.description == "Output `result` of **Double it** in the flow `sales`."


def test_wires_and_deps_are_lineage_and_a_key_of_nobody_is_an_outside_asset(
    tmp_path: Path,
) -> None:
    defs = load(tmp_path, sales=sales())

    assert lineage(defs) == {
        "raw/double": set(),
        "prices": set(),
        "sales": {"raw/double", "prices"},
    }


def test_deps_name_the_assets_of_other_flows_in_any_order_of_files(tmp_path: Path) -> None:
    defs = load(tmp_path, a=simple("report", ("sales",)), b=sales(), c=simple("z", ("report",)))

    assert lineage(defs)["report"] == {"sales"}
    assert lineage(defs)["z"] == {"report"}


def test_a_flow_that_gets_the_result_of_another_is_made_from_its_assets(tmp_path: Path) -> None:
    name = "The sales"
    only_inner = sales(name="Inner")
    only_inner["nodes"][1]["data"]["asset"]["key"] = "inner"
    del only_inner["nodes"][2]["data"]["asset"]
    defs = load(
        tmp_path,
        a=simple("of_return", **started_by(name)),
        b=sales(name=name),
        c=only_inner,
        d=simple("of_inner", **started_by("Inner")),
        e=simple("only_started", **started_by(name, 5)),
        f=simple("of_nobody", **started_by("Unknown")),
    )

    found = lineage(defs)
    assert found["of_return"] == {"sales"}
    assert found["of_inner"] == {"inner"}
    assert found["only_started"] == found["of_nobody"] == set()


def test_flows_that_start_each_other_in_turn_load(tmp_path: Path) -> None:
    ping = simple("ping", **started_by("pong"))
    pong = simple("pong", **started_by("ping"))
    defs = load(tmp_path, ping=ping, pong=pong, again=simple("again", **started_by("again")))

    assert lineage(defs) == {"ping": {"pong"}, "pong": set(), "again": set()}


def test_of_two_flows_with_one_key_the_later_is_broken_and_names_the_other(
    tmp_path: Path,
) -> None:
    defs = load(tmp_path, a=simple("taken"), b=simple(["taken"]), c=simple("free", ("taken",)))

    texts = descriptions(defs)
    assert "cannot run" not in texts["a"] + texts["c"]
    assert "asset 'taken' is declared by flow 'a' as well" in texts["b"]
    assert "a.json" in texts["b"]
    assert lineage(defs) == {"taken": set(), "free": {"taken"}}
    assert defs.resolve_asset_graph().get(AssetKey("taken")).metadata["flow"] == "a"


def test_deps_that_close_a_circle_break_the_later_flow_alone(tmp_path: Path) -> None:
    defs = load(
        tmp_path, a=simple("a", ("c",)), b=simple("b", ("a",)), c=simple("c", ("b",)), d=sales()
    )

    texts = descriptions(defs)
    assert "cannot run" not in texts["a"] + texts["b"] + texts["d"]
    assert "asset 'c' of flow 'c' depends on 'b' of flow 'b'" in texts["c"]
    assert lineage(defs)["a"] == {"c"}
    assert lineage(defs)["c"] == set()


def test_a_broken_flow_has_no_assets_in_the_graph(tmp_path: Path) -> None:
    broken = sales()
    broken["edges"] = broken["edges"][:1]

    defs = load(tmp_path, broken=broken, good=simple("good"))

    assert "cannot run" in descriptions(defs)["broken"]
    assert lineage(defs) == {"good": set()}


def test_a_folder_without_assets_has_an_empty_graph(tmp_path: Path) -> None:
    plain = simple("x")
    del plain["nodes"][1]["data"]["asset"]

    assert lineage(load(tmp_path, plain=plain)) == {}


# What may follow


@pytest.fixture
def betas_allowed() -> Iterator[None]:
    """Dagster's evaluation of conditions itself uses a parameter that it calls beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Parameter `include_sources`")
        yield


def test_a_plain_asset_downstream_is_requested_after_a_run(
    tmp_path: Path, memory: DagsterInstance, betas_allowed: None
) -> None:
    @asset(deps=[AssetKey("sales")], automation_condition=AutomationCondition.eager())
    def summary() -> None: ...

    @asset(deps=[AssetKey("elsewhere")], automation_condition=AutomationCondition.eager())
    def other() -> None: ...

    defs = Definitions.merge(load(tmp_path, sales=sales()), Definitions(assets=[summary, other]))

    def requested(cursor: Any = None) -> Any:
        return evaluate_automation_conditions(defs, memory, cursor=cursor)

    before = requested()
    run_here(sales(), memory)
    after = requested(before.cursor)
    later = requested(after.cursor)

    assert before.total_requested == later.total_requested == 0
    assert after.get_requested_partitions(AssetKey("summary")) == {None}
    assert after.get_num_requested(AssetKey("other")) == 0


def test_the_example_flows_are_joined_by_lineage() -> None:
    found = lineage(build_definitions(Path(__file__).parents[2] / "flows"))

    assert found["sales/orders"] == {"shop/export"}
    assert found["sales/daily_report"] == {"sales/orders"}
    assert found["sales/share_of_target"] == {"sales/daily_report"}
