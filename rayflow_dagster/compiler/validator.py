"""``FlowValidator``: every finding about a flow in one pass."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from rayflow_dagster.errors import FlowFormatError, NodeLoadError, ValidationError
from rayflow_dagster.node import RayflowNode
from rayflow_dagster.types import FLOW_CLASS, FlowData, NodeMetadata

from .callees import Callees, FlowFolder, levelled
from .expression_wires import placed_with_expressions
from .findings import Finding
from .flow import canonicalize
from .levels import by_level
from .loader import NodeLoader
from .resolved import Callee, Node, ResolvedFlow, resolve
from .rules import (
    assets,
    control,
    expressions,
    options,
    regions,
    runs,
    secrets,
    structure,
    triggers,
    values,
)  # fmt: skip

Rule = Callable[[ResolvedFlow], Iterable[Finding]]


class FlowValidator:
    """Validates flow structure before execution.

    ``findings`` and ``warnings`` are those of the last call of ``validate``. ``node_loader`` knows
    the node classes; by default the built-in ones and a ``nodes`` package in the working folder.
    ``settings`` are the project's, for flows that do not say otherwise; ``allow_runtime_env`` is
    its word on whether a flow may set Ray's ``runtime_env``; ``storages`` are the folders and URLs
    at or in which a flow may have its values stored. ``folder`` is the project's, if it is known:
    it has the classes of ``poll`` sensors, and says which files its flows may use. ``flows`` has
    the flows that a flow can call.
    """

    def __init__(
        self,
        node_loader: NodeLoader | None = None,
        *,
        settings: Mapping[str, Any] = MappingProxyType({}),
        allow_runtime_env: bool = False,
        storages: Sequence[str] = (),
        folder: Path | None = None,
        flows: FlowFolder | None = None,
    ) -> None:
        self.node_loader = node_loader if node_loader is not None else NodeLoader()
        self.settings = settings
        self.allow_runtime_env = allow_runtime_env
        self.storages = storages
        self.folder = folder
        self.flows = flows or FlowFolder(Path("flows"))
        self.findings: list[Finding] = []

    @property
    def warnings(self) -> list[str]:
        """What does not keep the flow from running, but deserves a look."""
        return [finding.message for finding in self.findings if finding.severity == "warning"]

    def validate(self, flow_data: FlowData) -> tuple[bool, list[str]]:
        """Check every rule.

        Args:
            flow_data: a flow in any spelling.

        Returns:
            (is_valid, errors): the messages of all errors; none when the flow is valid.
        """
        self.findings = list(self.check(flow_data))
        errors = self._errors()
        return not errors, errors

    def require_valid(self, flow_data: FlowData, name: str | None = None) -> ResolvedFlow:
        """The flow with every name looked up, level by level.

        Raises:
            ValidationError: with every error, if there is one.
        """
        self.findings = []
        try:
            flow = self.resolve(flow_data)
            self.findings = list(self._check(flow))
        except FlowFormatError as error:
            self.findings = _form_findings(error)
        errors = self._errors()
        if errors:
            raise ValidationError(errors, name)
        return levelled(flow)

    def _errors(self) -> list[str]:
        return [finding.message for finding in self.findings if finding.severity == "error"]

    def check(self, flow_data: FlowData) -> Iterator[Finding]:
        """The findings of every rule, in the rules' order."""
        try:
            flow = self.resolve(flow_data)
        except FlowFormatError as error:
            yield from _form_findings(error)
            return
        yield from self._check(flow)

    def _check(self, flow: ResolvedFlow) -> Iterator[Finding]:
        own = (self._node_class, self._runtime_env, self._unlisted_storage)
        general = (
            *structure.SHAPE,
            *options.OPTIONS,
            *values.VALUES,
            *control.CONTROL,
            *expressions.EXPRESSIONS,
            regions.region_settings,
            *assets.ASSETS,
        )
        for rule in (*own, *general, *secrets.SECRETS, self._triggers):
            yield from rule(flow)
        misplaced = list(regions.check_regions(flow))
        yield from misplaced
        is_told = not flow.regions or bool(flow.scopes)
        if is_told and flow.is_acyclic and not any(f.severity == "error" for f in misplaced):
            yield from self._check_level(by_level(flow))

    def _check_level(self, flow: ResolvedFlow, region: str | None = None) -> Iterator[Finding]:
        """The rules about what can happen in a run, of one level of a flow and those in it."""
        for rule in control.SEQUENCES:
            yield from rule(flow)
        yield from values.variable_circle(flow)
        yield from regions.circle_through_region(flow)
        if flow.is_acyclic:
            yield from runs.check_runs(flow, is_body=region is not None)
        for inner, body in flow.bodies.items():
            yield from self._check_level(body, inner)

    def resolve(self, flow_data: Any) -> ResolvedFlow:
        """The flow with every name looked up.

        Raises:
            FlowFormatError: its form is broken.
        """
        canonical = self._canonical(flow_data)
        return self._resolved(canonical, self._callees().of(canonical))

    def _callees(self) -> Callees:
        return Callees(self.flows, self._canonical, self._resolved, self._first_error)

    def callable_flows(self) -> dict[str, NodeMetadata]:
        """What is known of a node that calls a flow, for each flow that can be called, by name."""
        known = self.node_loader.get_node_metadata(FLOW_CLASS)
        found = self._callees().named(self.flows.names).values()
        return {
            callee.name: cast(
                NodeMetadata, {**known, **callee.ports, "file": str(self.flows.file(callee.name))}
            )
            for callee in found
            if callee.ports is not None
        }

    def _canonical(self, flow_data: Any) -> FlowData:
        return canonicalize(flow_data, self.node_loader.registry, self._lookup)

    def _resolved(self, canonical: FlowData, callees: Mapping[str, Callee]) -> ResolvedFlow:
        resolved = resolve(canonical, self._lookup, self.settings, callees)
        return placed_with_expressions(resolved, self._lookup)

    def _first_error(self, flow: ResolvedFlow) -> str | None:
        errors = (found.message for found in self._check(flow) if found.severity == "error")
        return next(errors, None)

    def _lookup(self, class_path: str) -> NodeMetadata | None:
        try:
            return self.node_loader.get_node_metadata(class_path)
        except NodeLoadError:
            return None  # the rule _node_class reports it, once per node

    def _node_class(self, flow: ResolvedFlow) -> Iterator[Finding]:
        problems: dict[str, str | None] = {}
        for node in flow.nodes.values():
            if node.class_path not in problems:
                problems[node.class_path] = self._class_problem(node)
            problem = problems[node.class_path]
            if problem:
                yield Finding("node_class", f"node {node}: {problem}", node=node.id)

    def _runtime_env(self, flow: ResolvedFlow) -> Iterator[Finding]:
        if not self.allow_runtime_env:
            yield from options.runtime_env(flow)

    def _unlisted_storage(self, flow: ResolvedFlow) -> Iterator[Finding]:
        yield from options.unlisted_storage(flow, self.storages)

    def _triggers(self, flow: ResolvedFlow) -> Iterator[Finding]:
        yield from triggers.triggers(flow, self.folder)

    def _class_problem(self, node: Node) -> str | None:
        try:
            self.node_loader.get_node_metadata(node.class_path)
        except NodeLoadError as error:
            return str(error)
        if node.class_path.startswith("rayflow_dagster.nodes."):
            return None
        try:
            node_class = self.node_loader.load_node_class(node.class_path)
            problem = self.node_loader.metadata_problem(node.class_path)
        except NodeLoadError as error:
            return str(error)
        return problem or _process_problem(node_class, node.own_inputs)

    def _check_single_start(self, flow_data: FlowData) -> list[str]:
        """Ensure exactly one START node exists."""
        return self._messages(structure.single_start, flow_data)

    def _check_at_least_one_return(self, flow_data: FlowData) -> list[str]:
        """Ensure at least one RETURN node exists."""
        return self._messages(structure.at_least_one_return, flow_data)

    def _check_all_nodes_reachable(self, flow_data: FlowData) -> list[str]:
        """Ensure all nodes are reachable from START."""
        return self._messages(structure.all_nodes_reachable, flow_data)

    def _check_return_nodes_reachable(self, flow_data: FlowData) -> list[str]:
        """Ensure at least one RETURN is reachable."""
        return self._messages(structure.return_nodes_reachable, flow_data)

    def _check_no_cycles(self, flow_data: FlowData) -> list[str]:
        """Ensure no node waits for itself."""
        return self._messages(structure.no_cycles, flow_data)

    def _check_type_compatibility(self, flow_data: FlowData) -> list[str]:
        """Ensure connected ports have compatible types."""
        return self._messages(values.type_compatibility, flow_data)

    def _messages(self, rule: Rule, flow_data: FlowData) -> list[str]:
        try:
            flow = self.resolve(flow_data)
        except FlowFormatError as error:
            return error.findings
        return [finding.message for finding in rule(flow) if finding.severity == "error"]


def _form_findings(error: FlowFormatError) -> list[Finding]:
    return [Finding("outline", text) for text in error.findings]


def _process_problem(node_class: type[RayflowNode], inputs: Sequence[str]) -> str | None:
    """What is wrong with the class's ``process``; None where nothing is."""
    name = node_class.__name__
    if node_class.process is RayflowNode.process:
        return f"class {name} does not define process(); write one that takes the node's inputs"
    try:
        signature = inspect.signature(node_class.process)
    except (TypeError, ValueError):  # made in a way that cannot be looked into
        return None
    try:
        signature.bind(None, **dict.fromkeys(inputs))
    except TypeError as error:
        taken = ", ".join(inputs) or "none"
        return f"process() of class {name} does not take its inputs ({taken}): {error}"
    return None
