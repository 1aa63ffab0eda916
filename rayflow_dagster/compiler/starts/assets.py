"""The assets that a flow declares: ``data.asset`` of its nodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as PydanticError

from rayflow_dagster.compiler.resolved import Edge, Node, ResolvedFlow
from rayflow_dagster.suggest import listed

from .templates import template_names
from .triggers import FlowSensor, declared_triggers

AssetPath = tuple[str, ...]
"""An asset's key, part by part."""


class AssetOptions(BaseModel):
    """Makes the node's output an asset in Dagster."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    key: str | list[str] = Field(
        description='The asset\'s key: "reports/daily" or ["reports", "daily"]. Its parts have '
        "letters, digits, _, - and dots."
    )
    output: str | None = Field(
        default=None,
        description="Which output it is, where the node has several. Of RETURN it is the whole "
        "result.",
    )
    group: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]+$",
        description="The group that Dagster shows it in: letters, digits and _.",
    )
    deps: list[str | list[str]] = Field(
        default_factory=list,
        description="Keys of assets that it is made from, beside those that its wires tell of.",
    )
    description: str | None = Field(default=None, description="Shown at the asset.")
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Shown at the asset: any names and JSON values."
    )

    @property
    def path(self) -> AssetPath:
        """The key's parts."""
        return key_path(self.key)

    @property
    def dep_paths(self) -> tuple[AssetPath, ...]:
        """The parts of every key in ``deps``."""
        return tuple(dict.fromkeys(key_path(key) for key in self.deps))


def key_path(key: str | list[str]) -> AssetPath:
    """The parts of a key in either spelling."""
    return tuple(key.split("/") if isinstance(key, str) else key)


@dataclass(frozen=True, slots=True)
class DeclaredAsset:
    """One asset of a flow."""

    node: str
    output: str | None
    """None for RETURN, whose whole result it is."""
    options: AssetOptions
    made_from: tuple[AssetPath, ...]
    """The flow's own assets whose values wires lead into it, the nearest ones."""
    flows: tuple[str, ...]
    """The flows, by name, whose result a sensor gives to an input that leads into it."""

    @property
    def path(self) -> AssetPath:
        """The key's parts."""
        return self.options.path

    @property
    def deps(self) -> tuple[AssetPath, ...]:
        """All that it is made from, as far as the flow itself tells."""
        return tuple(dict.fromkeys((*self.made_from, *self.options.dep_paths)))


def asset_options(node: Node) -> AssetOptions | None:
    """What ``data.asset`` says.

    Raises:
        pydantic.ValidationError: it has the wrong form.
    """
    given = node.data.get("asset")
    return None if given is None else AssetOptions.model_validate(given)


def asset_output(node: Node, options: AssetOptions) -> str | None:
    """The output that is the asset; None for RETURN.

    Raises:
        LookupError: the node has no such output, or several to choose from.
    """
    if node.is_return:
        if options.output is not None:
            raise LookupError("RETURN's asset is the whole result; leave 'output' out")
        return None
    known = listed(node.outputs)
    if options.output is not None:
        if options.output not in node.outputs:
            raise LookupError(f"the node has no output '{options.output:.80}' (known: {known})")
        return options.output
    if len(node.outputs) != 1:
        raise LookupError(
            f"say with 'output' which of the node's outputs it is (known: {known})"
            if node.outputs
            else "the node has no output that could be an asset"
        )
    return next(iter(node.outputs))


def declared_assets(flow: ResolvedFlow) -> tuple[DeclaredAsset, ...]:
    """The assets of a flow that has passed the validator, in drawing order.

    A node whose ``data.asset`` is wrong is left out.
    """
    return tuple(_Lineage(flow).assets())


def valid_assets(flow: ResolvedFlow) -> dict[str, AssetOptions]:
    """Node id -> its asset, in drawing order. A node whose ``data.asset`` is wrong is left out."""
    return {node_id: options for node_id, (_, options) in _Lineage(flow).options.items()}


AssetStep = str | AssetPath
"""A node, by its id, or an asset."""


def asset_steps(flow: ResolvedFlow) -> dict[AssetStep, list[AssetStep]]:
    """What each node and each asset of a flow is made from: a node from the nodes and assets that
    its data edges bring, an asset from its node and from the flow's own assets among its ``deps``.
    """
    lineage = _Lineage(flow)
    made: dict[AssetStep, list[AssetStep]] = {
        node_id: [lineage.step(edge) for edge in flow.data_into(node_id)] for node_id in flow.nodes
    }
    own = {options.path for _, options in lineage.options.values()}
    for node_id, (_, options) in lineage.options.items():
        deps = [path for path in options.dep_paths if path in own and path != options.path]
        made[options.path] = [node_id, *deps]
    return made


class _Lineage:
    """Walks a flow's wires backwards, from each asset to what it is made from."""

    def __init__(self, flow: ResolvedFlow) -> None:
        self._flow = flow
        self.options: dict[str, tuple[str | None, AssetOptions]] = {}
        for node in flow.nodes.values():
            try:
                options = asset_options(node)
                if options is not None:
                    self.options[node.id] = asset_output(node, options), options
            except (PydanticError, LookupError):
                continue  # which a rule reports

    def step(self, edge: Edge) -> AssetStep:
        """What a data edge brings: an asset, or the value of a node."""
        port, options = self.options.get(edge.source, (None, None))
        return edge.source if options is None or port != edge.source_port else options.path

    def assets(self) -> Iterator[DeclaredAsset]:
        for node_id, (output, options) in self.options.items():
            made_from: dict[AssetPath, None] = {}
            flows: dict[str, None] = {}
            self._walk(node_id, output, made_from, flows)
            yield DeclaredAsset(node_id, output, options, tuple(made_from), tuple(flows))

    def _walk(
        self,
        node_id: str,
        output: str | None,
        made_from: dict[AssetPath, None],
        flows: dict[str, None],
    ) -> None:
        pending = [(node_id, output)]
        seen: set[str] = set()
        while pending:
            current, port = pending.pop()
            if self._flow.nodes[current].is_start:
                flows.update(dict.fromkeys(self._feeding.get(port or "", ())))
                continue
            if current in seen:
                continue
            seen.add(current)
            for edge in self._flow.data_into(current):
                step = self.step(edge)
                if isinstance(step, str):
                    pending.append((step, edge.source_port))
                else:
                    made_from[step] = None

    @cached_property
    def _feeding(self) -> Mapping[str, list[str]]:
        """Input of START -> the flows whose results sensors give to it."""
        feeding: dict[str, list[str]] = {}
        try:
            sensors = declared_triggers(self._flow.data).sensors
        except PydanticError:
            return feeding  # which a rule reports
        for sensor in sensors:
            if not isinstance(sensor, FlowSensor):
                continue
            for name, value in sensor.inputs.items():
                if any(found.startswith("result.") for found in template_names(value)):
                    feeding.setdefault(name, []).append(sensor.flow)
        return feeding
