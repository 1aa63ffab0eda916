"""A node and the state of its flow in, its inputs out, those among them that expressions give."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from rayflow_dagster.computed import Computed
from rayflow_dagster.port_check import check_inline
from rayflow_dagster.types import ExecutionState

from .gatherer import DataGatherer
from .stepping import Done

Fetch = Callable[[Mapping[str, Any]], "Future[dict[str, Any]]"]
"""Gives values themselves in the place of object refs."""


async def all_inputs(
    gatherer: DataGatherer, fetch: Fetch, node_id: str, state: ExecutionState
) -> dict[str, Any]:
    """All inputs of a node, as ``DataGatherer.gather_inputs`` finds them. An expression gives its
    value here, in the run's process, and not where the node runs.

    Raises:
        DataNotAvailableError: a required input has no value.
        ExpressionError: an expression has no value.
    """
    inputs = gatherer.gather_inputs(node_id, state)
    known = gatherer.graph["nodes"][node_id].get("values", {}).items()
    computed = {port: each for port, each in known if isinstance(each, Computed)}
    if not computed:
        return inputs
    extra = {port for each in computed.values() for port in each.extra}
    # A wire may have brought a value in the place of that of the expression.
    asked = {port: each for port, each in inputs.items() if isinstance(each, Computed)}
    read = {port for each in asked.values() for port in each.reads.values()}
    values = await Done(fetch({port: inputs[port] for port in read}))
    given = {port: each.value(port, values) for port, each in asked.items()}
    return {name: given.get(name, value) for name, value in inputs.items() if name not in extra}


async def inputs_of_call(
    gatherer: DataGatherer, fetch: Fetch, call: str, state: ExecutionState
) -> dict[str, Any]:
    """What a node that calls a flow hands to its START, as it came, and of the types that START
    declares as far as that is seen without opening it.

    Raises:
        DataNotAvailableError: a required input has no value.
        ExpressionError: an expression has no value.
        TypeError: a value is not of its type.
    """
    inputs = await all_inputs(gatherer, fetch, call, state)
    check_inline(call, gatherer.graph["nodes"][call]["metadata"]["inputs"], inputs)
    return inputs
