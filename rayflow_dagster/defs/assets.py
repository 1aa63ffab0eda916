"""Assets: what a flow's nodes declare, as Dagster's asset graph shows it and as steps report it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dagster import AssetKey, AssetMaterialization, AssetSpec, MetadataValue, OpExecutionContext

from rayflow_dagster.compiler.rules.assets import shown
from rayflow_dagster.compiler.starts.assets import AssetPath, DeclaredAsset
from rayflow_dagster.errors import ValidationError
from rayflow_dagster.types import NodeResult
from rayflow_dagster.values.measures import measures
from rayflow_dagster.values.preview import preview

from .compiled import CompiledFlow
from .last_form import LastForm
from .names import RESULT, flow_name

ROW_COUNT = "dagster/row_count"
"""Dagster's own name for the number of rows, which its UI knows."""

_LARGEST = 2**63


class LocationAssets:
    """The assets of a code location, gathered while its flows load."""

    def __init__(self) -> None:
        self._flows: dict[str, CompiledFlow | LastForm] = {}
        self._owners: dict[AssetPath, CompiledFlow | LastForm] = {}
        self._upstream: dict[AssetPath, list[AssetPath]] = {}

    def add(self, flow: CompiledFlow | LastForm) -> None:
        """Take the assets of a flow.

        Raises:
            ValidationError: another flow has one of its keys, or its deps close a circle. Then
                none of its assets are taken.
        """
        problems = [
            f"asset '{shown(asset.path)}' is declared by flow '{other.name}' as well"
            f"{_in_file(other)}; give one of them another key"
            for asset in flow.assets
            if (other := self._owners.get(asset.path)) is not None
        ]
        if not problems:
            self._upstream.update((asset.path, list(asset.deps)) for asset in flow.assets)
            problems = [text for asset in flow.assets for text in self._circles(flow, asset)]
        if problems:
            for asset in flow.assets:
                if asset.path not in self._owners:
                    self._upstream.pop(asset.path, None)
            raise ValidationError(problems, flow.name)
        self._owners.update((asset.path, flow) for asset in flow.assets)
        self._flows[flow.name] = flow

    def specs(self) -> list[AssetSpec]:
        """One spec for each asset, with lineage over all flows."""
        return [
            build_spec(flow, asset, self._deps(asset))
            for flow in self._flows.values()
            for asset in flow.assets
        ]

    def _circles(self, flow: CompiledFlow | LastForm, asset: DeclaredAsset) -> Iterator[str]:
        for dep in asset.deps:
            if self._comes_from(dep, asset.path):
                other = self._owners.get(dep)
                of = "" if other is None else f" of flow '{other.name}'{_in_file(other)}"
                yield (
                    f"asset '{shown(asset.path)}' of flow '{flow.name}' depends on "
                    f"'{shown(dep)}'{of}, which depends on it in turn; remove one of the deps"
                )

    def _deps(self, asset: DeclaredAsset) -> list[AssetPath]:
        """What the asset is made from, in its own flow and in those whose results it gets.

        Two flows may start each other in turn, which Dagster's asset graph cannot show: what would
        close a circle is left out.
        """
        deps = self._upstream[asset.path]
        for name in asset.flows:
            for path in self._results_of(name):
                if path not in deps and not self._comes_from(path, asset.path):
                    deps.append(path)
        return deps

    def _results_of(self, name: str) -> list[AssetPath]:
        """The assets that stand for the result of a flow: RETURN's, else all that it has."""
        flow = self._flows.get(flow_name(name))
        declared = flow.assets if flow is not None else ()
        returned = [asset.path for asset in declared if asset.output is None]
        return returned or [asset.path for asset in declared]

    def _comes_from(self, path: AssetPath, origin: AssetPath) -> bool:
        """Whether ``path`` is ``origin``, or is made from it."""
        pending, seen = [path], {path}
        while pending:
            current = pending.pop()
            if current == origin:
                return True
            further = [dep for dep in self._upstream.get(current, ()) if dep not in seen]
            seen.update(further)
            pending.extend(further)
        return False


def build_spec(
    flow: CompiledFlow | LastForm, asset: DeclaredAsset, deps: list[AssetPath]
) -> AssetSpec:
    """The asset as Dagster's asset graph shows it. No step makes it by Dagster's account: runs of
    the flow's job report it.
    """
    return AssetSpec(
        AssetKey(asset.path),
        deps=[AssetKey(path) for path in deps],
        description=asset.options.description or _described(flow, asset),
        group_name=asset.options.group,
        metadata={**_about_asset(flow, asset), **asset.options.metadata},
        kinds={"ray"},
        partitions_def=flow.partitions,
    )


def _described(flow: CompiledFlow | LastForm, asset: DeclaredAsset) -> str:
    what = "The result" if asset.output is None else f"Output `{asset.output}`"
    if isinstance(flow, LastForm):
        return f"{what} in the flow `{flow.name}`, which cannot run at the moment."
    return f"{what} of **{_label(flow, asset)}** in the flow `{flow.name}`."


def _about_asset(flow: CompiledFlow | LastForm, asset: DeclaredAsset) -> dict[str, Any]:
    if isinstance(flow, LastForm):
        return {"flow": flow.name}
    node = flow.graph["nodes"][asset.node]
    about: dict[str, Any] = {"flow": flow.name, "node": _label(flow, asset)}
    if flow.file:
        about["flow file"] = MetadataValue.path(flow.file)
    if asset.output is not None:
        about["output"] = asset.output
        about["type"] = node["metadata"]["outputs"][asset.output]
    return about


def _label(flow: CompiledFlow, asset: DeclaredAsset) -> str:
    node = flow.graph["nodes"][asset.node]
    return node.get("label") or node["id"]


def materializations(
    flow: CompiledFlow, context: OpExecutionContext, result: NodeResult
) -> Iterator[AssetMaterialization]:
    """What a step that has succeeded reports: each asset whose value the node gave."""
    for asset in flow.assets_of.get(result["node_id"], ()):
        output = RESULT if asset.output is None else asset.output
        if output not in result["outputs"]:
            continue  # the node's error was handled
        partition = context.partition_key if context.has_partition_key else None
        yield AssetMaterialization(
            AssetKey(asset.path),
            description=f"Run {context.run_id[:8]} of the flow {flow.name}",
            metadata={
                **_about_value(output, result),
                **(_about_items(result["outputs"][output]) if asset.output is None else {}),
                "flow": MetadataValue.text(flow.name),
                "node": MetadataValue.text(_label(flow, asset)),
                "run": MetadataValue.dagster_run(context.run_id),
            },
            partition=partition,
        )


def _about_value(output: str, result: NodeResult) -> dict[str, Any]:
    """Kind, amount and preview: from its actor, or of the value itself if this process has it."""
    details = result.get("details", {})
    value = result["outputs"][output]
    known = details.get("measures", {}).get(output)
    text = details.get("previews", {}).get(output)
    shown_value = preview(value) if text is None else text
    found: dict[str, Any] = {"preview": MetadataValue.text(shown_value)}
    for name, measure in (measures(value) if known is None else known).items():
        found[ROW_COUNT if name == "rows" else name] = measure
    if known is None and _is_number(value):
        found["value"] = value
    return found


def _about_items(result: Mapping[str, Any]) -> dict[str, Any]:
    """Every part of a flow's result; numbers as such, which Dagster plots over time."""
    return {
        f"result.{name}": item if _is_number(item) else MetadataValue.text(preview(item))
        for name, item in result.items()
    }


def _is_number(value: Any) -> bool:
    """Whether Dagster's metadata can hold ``value`` as a number."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and -_LARGEST <= value < _LARGEST


def _in_file(flow: CompiledFlow | LastForm) -> str:
    return f" ({flow.file})" if isinstance(flow, CompiledFlow) and flow.file else ""
