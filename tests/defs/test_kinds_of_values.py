"""What a node gives arrives as it was, with the types of all that is in it, or is refused."""

from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._config import process_config
from dagster_runs import TESTS, run_in_dagster, run_job
from drawing import draw, node
from hypothesis import assume, example, given
from hypothesis import strategies as st
from odd_nodes.kinds import KINDS, GiveKindsNode, GiveViewNode, spelled
from running import execute

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.defs.ops import start_config
from rayflow_dagster.errors import OutputError, VariableError
from rayflow_dagster.orchestrator import Connect, FlowOrchestrator
from rayflow_dagster.port_types import accepts, parse_type
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process, run_node_locally
from rayflow_dagster.variables.store import GlobalVariableStore, WriteTracking

PROJECT = Project.at(TESTS, ["flow_nodes", "odd_nodes"])
BY_PORT = dict(zip(GiveKindsNode.outputs, KINDS.values(), strict=True))


def _flow() -> dict[str, Any]:
    """Every kind goes to RETURN, and through a node and a variable to RETURN."""
    nodes: dict[str, Any] = {"start": "start", "give": "odd_nodes.kinds.GiveKindsNode"}
    wires, before = ["start > give"], "give"
    for port in BY_PORT:
        nodes[f"keep_{port}"] = "odd_nodes.kinds.KeepKindNode"
        wires += [
            f"{before} > keep_{port}",
            f"give.{port} - keep_{port}.value",
            f"give.{port} - return.{port}",
            f"keep_{port}.kept - return.kept_{port}",
            f"keep_{port}.told - return.told_{port}",
        ]
        before = f"keep_{port}"
    nodes["return"] = "return"
    return draw(nodes, ", ".join([*wires, f"{before} > return"]), variables={"kept": {}})


def _check(result: dict[str, Any]) -> None:
    for port, value in BY_PORT.items():
        expected = spelled(value)
        assert spelled(result[port]) == expected
        assert spelled(result[f"kept_{port}"]) == expected
        assert result[f"told_{port}"] == expected


BOTH = pytest.mark.parametrize(
    "connect",
    [pytest.param(None, marks=pytest.mark.ray, id="ray"), pytest.param(in_process, id="fake")],
    indirect=True,
)


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Connect | None:
    if request.param is None:
        request.getfixturevalue("ray_session")
    chosen: Connect | None = request.param
    return chosen


@BOTH
def test_values_of_every_kind_arrive_as_they_were(connect: Connect | None) -> None:
    outcome = execute(FlowOrchestrator(PROJECT, connect=connect), _flow())
    assert outcome["success"], outcome["error"]
    _check(outcome["result"])


@pytest.mark.ray
def test_values_of_every_kind_arrive_as_they_were_in_a_job(
    ray_session: None, memory: DagsterInstance
) -> None:
    job = build_job(_flow(), "test", project=PROJECT)
    run = run_job(job, compile_flow(_flow(), "test", PROJECT), {}, memory)
    assert run.success
    _check(run.result)


@pytest.mark.parametrize("where", ["alone", "in a list", "deep"])
def test_a_view_of_memory_is_refused_where_it_is_given(where: str) -> None:
    with pytest.raises(OutputError, match=r"output 'value' has a memoryview.*give bytes\(view\)"):
        run_node_locally(GiveViewNode, constants={"WHERE": where})


def test_a_view_of_memory_is_refused_by_variables_and_as_an_input() -> None:
    store = WriteTracking(GlobalVariableStore({"kept": None}))
    with pytest.raises(VariableError, match="variable 'kept': the value has a memoryview"):
        store.set("kept", [memoryview(b"abc")])
    flow = draw({"start": node("start", inputs={"a": "any"}), "return": "return"}, "start > return")
    outcome = execute(FlowOrchestrator(PROJECT, connect=in_process), flow, a=memoryview(b"abc"))
    assert "input 'a' (any) has a value that has a memoryview" in outcome["error"]


CONFIGURED = (
    "any", "list", "dict", "list[any]", "list[list]", "list[dict]", "list[int | None]",
    "dict[str, any]", "dict[str, list]", "dict[str, list[list]]", "list | None",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(st.sampled_from(CONFIGURED), JSON)
@example("list", [None, 1])
@example("list[list]", [[None]])
@example("dict[str, any]", {"a": None})
@example("dict[str, list]", {"a": [None]})
def test_what_an_input_accepts_can_be_given_in_run_config(kind: str, value: Any) -> None:
    assume(accepts(parse_type(kind), value))
    field = start_config({"x": kind}, {}, {})["x"]
    found = process_config(field.config_type, value)
    assert found.success
    assert found.value == value
    start_config({"x": kind}, {"x": value}, {})  # nor does it as a default


@pytest.mark.parametrize(
    ("value", "told"),
    [(float("1e400"), "inf, which is not a JSON value"), (10**400, "more than 300 digits")],
)
def test_a_number_that_no_float_can_hold_is_refused_in_run_config(
    memory: DagsterInstance, value: float, told: str
) -> None:
    flow = draw({"start": node("start", inputs={"a": "float"}), "return": "return"},
                "start > return, start.a - return.a")  # fmt: skip
    run = run_in_dagster(flow, {"a": value}, memory, connect=in_process)
    assert not run.success
    (failure,) = (event for event in run.events if event.is_step_failure)
    assert told in str(failure.step_failure_data.error)
    assert run_in_dagster(flow, {"a": 3}, memory, connect=in_process).result == {"a": 3.0}
