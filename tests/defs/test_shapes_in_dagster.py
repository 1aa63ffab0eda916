"""Every shape as a recorded Dagster run: on real Ray actors, and under a stock executor."""

import pytest
from dagster import DagsterInstance, in_process_executor
from dagster_runs import run_in_dagster
from shapes import SHAPES, Shape

from rayflow_dagster.testing import in_process


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_ends_as_worked_out_by_hand(shape: Shape, memory: DagsterInstance) -> None:
    run = run_in_dagster(shape.flow, shape.inputs, memory, connect=in_process)

    assert run.statuses == shape.statuses
    assert run.success == shape.success
    assert run.result == shape.result


ONE_OF_EACH = list({shape.name: shape for shape in SHAPES}.values())


@pytest.mark.ray
@pytest.mark.parametrize("shape", ONE_OF_EACH, ids=str)
def test_every_flow_ends_alike_on_ray_actors(
    shape: Shape, ray_session: None, memory: DagsterInstance
) -> None:
    run = run_in_dagster(shape.flow, shape.inputs, memory)

    assert run.statuses == shape.statuses
    assert run.success == shape.success
    assert run.result == shape.result


def _is_stock_alike(shape: Shape) -> bool:
    """Stock executors agree wherever no node fails and exactly one RETURN is reached."""
    ran_to_the_end = "pending" not in shape.statuses.values()
    return shape.success and ran_to_the_end and shape.name != "return_ends_flow"


@pytest.mark.parametrize("shape", [s for s in SHAPES if _is_stock_alike(s)], ids=str)
def test_the_in_process_executor_agrees(shape: Shape, memory: DagsterInstance) -> None:
    run = run_in_dagster(shape.flow, shape.inputs, memory, in_process_executor, in_process)

    assert run.statuses == shape.statuses
    assert run.result == shape.result
