"""The vocabulary of the project, on one page.

A **flow** is what a person draws: nodes joined by *exec* edges (when) and *data* edges (what).
The five shapes that modules exchange are plain dicts, described here as ``TypedDict``:

- ``FlowData``: the flow as JSON, in its canonical spelling (see ``compiler/flow.py``);
- ``NodeMetadata``: what is known of a node class without running it;
- ``ExecutionGraph``: the compiled flow;
- ``NodeResult``: what became of one node;
- ``ExecutionState``: what became of all of them.

Their documented keys are public API; keys marked ``NotRequired`` are additions of this project.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

from .errors import NodeExecutionError

NodeId = NewType("NodeId", str)
EdgeId = NewType("EdgeId", str)

EdgeKind = Literal["exec", "data", "order"]
NodeStatus = Literal["pending", "ready", "running", "completed", "failed"]
ResultStatus = Literal["success", "error", "skipped"]
Severity = Literal["error", "warning"]
OnError = Literal["stop", "continue"]
Ends = Literal["first_return", "all_settled"]
RegionKind = Literal["for_each", "while", "group", "flow"]
OnItemError = Literal["fail", "skip", "collect"]
ExecFires = Literal["one", "any", "all", "some_or_last"]
"""Which of a node's exec outputs fire in a run: one of them; any; all; or some of those before the
last, else the last."""

EXEC_IN = "exec_in"
"""Canonical name of the one exec input of a node."""
EXEC_OUT = "exec_out"
"""Canonical name of the exec output of a node that does not name its own."""
EXEC_NEXT = "exec_next"
"""Reserved key in what ``process`` returns: the exec output (or outputs) that fire."""
ERROR_PORT = "error"
"""The exec output that handles a node's failure, and the data output that describes it."""
ALWAYS = "always"
"""The exec output of a group that fires when its body has ended, whatever came of it."""
DISABLED = "disabled"
"""The key of ``data`` that switches a node off, and the exec output of START that never fires and
alone leads to such a node in the compiled flow."""
START_CLASS = "rayflow_dagster.nodes.base.start.StartNode"
FLOW_CLASS = "rayflow_dagster.nodes.base.flow.CallNode"
RETURN_CLASS = "rayflow_dagster.nodes.base.return_.ReturnNode"
BREAK_CLASS = "rayflow_dagster.nodes.control.break_.BreakNode"
CONTINUE_CLASS = "rayflow_dagster.nodes.control.continue_.ContinueNode"
GET_VARIABLE_CLASS = "rayflow_dagster.nodes.variables.get_variable.GetVariableNode"
SEQUENCE_CLASS = "rayflow_dagster.nodes.control.sequence.SequenceNode"
SET_VARIABLE_CLASS = "rayflow_dagster.nodes.variables.set_variable.SetVariableNode"
SWITCH_CLASS = "rayflow_dagster.nodes.logic.switch.SwitchNode"
WAIT_CLASS = "rayflow_dagster.nodes.control.wait.WaitNode"

IDLE_OPTION = "max_concurrency"
"""An option of Ray's that a node may name and nothing follows."""

ExecutionInputs = dict[str, Any]
"""Values for the inputs that START declares: ``{input name: value}``."""


class FlowNode(TypedDict):
    """One drawn node of a canonical flow. ``type`` is a class path."""

    id: str
    type: str
    data: dict[str, Any]
    position: NotRequired[dict[str, float]]


class FlowEdge(TypedDict):
    """One drawn edge of a canonical flow. ``type`` is ``"exec"`` or a data type."""

    id: str
    source: str
    target: str
    sourceHandle: str
    targetHandle: str
    type: str


class FlowData(TypedDict):
    """A flow in its canonical spelling. Unknown keys are kept."""

    nodes: list[FlowNode]
    edges: list[FlowEdge]
    name: NotRequired[str]
    description: NotRequired[str]
    tags: NotRequired[dict[str, str]]
    variables: NotRequired[dict[str, dict[str, Any]]]
    schedules: NotRequired[list[dict[str, Any]]]
    sensors: NotRequired[list[dict[str, Any]]]
    on_error: NotRequired[OnError]
    on_failure: NotRequired[str]
    settings: NotRequired[dict[str, Any]]


class ConstantSpec(TypedDict):
    """A node class's constant: its type (a port type's name) and its value."""

    type: str
    value: Any


class NodeMetadata(TypedDict):
    """What is known of a node class. Types are port types by name, for example ``list[int]``."""

    path: str
    name: str
    class_name: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    exec_input: bool
    exec_output: bool
    constants: dict[str, ConstantSpec]
    exec_outputs: NotRequired[tuple[str, ...]]
    """The exec outputs in order; empty for a node without any."""
    exec_exclusive: NotRequired[bool]
    """True when a run is known to fire at most one of ``exec_outputs``."""
    exec_fires: NotRequired[ExecFires]
    """Of a control node: which of ``exec_outputs`` fire, more exactly than ``exec_exclusive``."""
    defaults: NotRequired[dict[str, Any]]
    """Defaults of inputs that have one."""
    input_descriptions: NotRequired[dict[str, str]]
    description: NotRequired[str]
    icon: NotRequired[str]
    category: NotRequired[str]
    ray_options: NotRequired[dict[str, Any]]
    resident: NotRequired[bool]
    resident_ttl: NotRequired[float]
    """Seconds without work after which a resident node's actor ends; absent when the class does
    not say."""
    inner_inputs: NotRequired[dict[str, str]]
    """Of a region node: what its body hands it."""
    inner_outputs: NotRequired[dict[str, str]]
    """Of a region node: those of ``outputs`` that its body reads."""
    brings: NotRequired[dict[str, list[list[str]]]]
    """Of a node that calls a flow: exec output -> which of ``outputs`` each RETURN brings that
    fires it."""
    is_control: NotRequired[bool]
    """True for a built-in node that runs in the run's process; see ``control_nodes``."""
    is_async: NotRequired[bool]
    file: NotRequired[str]
    """The file that defines the class; absent when known only from a flow's snapshot."""


class RetrySpec(TypedDict):
    """``data.retry``: ``max`` extra attempts, ``delay`` and ``max_delay`` in seconds."""

    max: int
    delay: float
    backoff: NotRequired[Literal["linear", "exponential"] | None]
    max_delay: NotRequired[float | None]
    jitter: NotRequired[bool]
    retry_on: NotRequired[list[str] | None]
    """Names of classes of errors, or words for some; absent means every error."""


class GraphNode(TypedDict):
    """One node of the compiled flow.

    ``metadata`` has the ports of *this* node, START's and RETURN's included. ``dependencies`` are
    the nodes that edges of any kind lead from, ``dependents`` those that they lead to.
    """

    id: str
    class_path: str
    metadata: NodeMetadata
    constants: dict[str, Any]
    dependencies: list[str]
    dependents: list[str]
    label: NotRequired[str]
    values: NotRequired[dict[str, Any]]
    """Values given to unwired inputs in the flow (``data.constantValues``)."""
    retry: NotRequired[RetrySpec]
    ray_options: NotRequired[dict[str, Any]]
    timeout: NotRequired[float]
    """Seconds that an attempt may take."""
    pool: NotRequired[str]
    priority: NotRequired[int]
    tags: NotRequired[dict[str, str]]
    description: NotRequired[str]
    handles_error: NotRequired[bool]
    """True when the node's ``error`` exec output is wired."""
    join: NotRequired[int]
    """How many of its exec edges have to fire, and that it waits for no more; absent where it waits
    for all of them and runs if one fired."""
    resident: NotRequired[bool]
    """True when the node's actor outlives the run: what ``data.resident`` says, else the class."""
    resident_ttl: NotRequired[float]
    """Seconds without work after which the actor of a resident node ends; absent when neither the
    flow nor the class says."""
    body: NotRequired["ExecutionGraph"]
    """Of a region node: the nodes that it runs, as a graph whose START is the region itself. Of a
    node that calls a flow: that flow, the ids of its nodes behind that of the node and a dot."""
    region: NotRequired["RegionSpec"]
    """Of such nodes: how the body runs."""


class RegionSpec(TypedDict):
    """How a region node runs its body, and what passes between the two."""

    kind: RegionKind
    carry: list[str]
    """The names of the values that an iteration hands to the next."""
    inner: dict[str, list[tuple[str, str]]]
    """Inner input (``again``, ``next.<name>``) -> the (node, output)s of the body wired into it."""
    leaves: dict[str, tuple[str, str]]
    """Output of the region -> the (node, output) of the body whose values it has."""
    fused: bool
    """Whether one worker runs the body whole, and not each node of it a worker of its own."""
    exhausted: bool
    """Whether the exec output of that name is wired."""
    seen: list[str]
    """The inputs that only the body reads: ``<node>.<output>`` of nodes outside of it."""
    parallel: int | None
    batch: int | None
    on_item_error: OnItemError
    aligned: bool
    max_iterations: int | None
    interval: float
    time_limit: float | None
    call: NotRequired["CallSpec"]
    """Of a node that calls a flow."""


class CallSpec(TypedDict):
    """A call of another flow."""

    flow: str
    """The name of the flow."""
    exits: dict[str, str]
    """RETURN of the flow -> the exec output that fires when it is reached."""
    own: dict[str, dict[str, Any]]
    """The declarations of the variables that each call has for itself."""
    shares: bool
    """Whether the flow uses the variables of its caller besides."""
    is_open: NotRequired[bool]
    """Whether each node of the flow is one of the run's own, as those around the call."""


class GraphEdge(TypedDict):
    """An edge. One of kind ``order`` is not drawn and has no handles: its target only waits until
    its source is settled, whatever became of it.
    """

    source: str
    target: str
    source_handle: str
    target_handle: str
    edge_type: EdgeKind


class ExecutionGraph(TypedDict):
    """The compiled flow. ``execution_order`` is topological over ``dependencies``."""

    nodes: dict[str, GraphNode]
    edges: dict[str, GraphEdge]
    start_node: str
    return_nodes: list[str]
    execution_order: list[str]
    on_error: NotRequired[OnError]
    variables: NotRequired[dict[str, dict[str, Any]]]
    ends: NotRequired[Ends]
    """What ends a run; absent means ``"first_return"``."""
    timeout: NotRequired[float]
    """Seconds that a run may take."""
    durable: NotRequired[bool]
    """Whether outputs are written where a re-execution finds them; absent means True."""
    storage: NotRequired[str]
    """The folder or fsspec URL that durable outputs are written under; absent means the default
    place."""
    kept: NotRequired[list[tuple[str, str]]]
    """Of a body: the (node, output)s that are read when the iteration has ended."""
    raced: NotRequired[tuple[str, str]]
    """Of a body: a node, and one that ends the body without waiting for it."""


def every_node(graph: ExecutionGraph) -> dict[str, GraphNode]:
    """The nodes of a graph and of all bodies in it, by id; a region's own node, not its START."""
    found: dict[str, GraphNode] = {}
    for node in graph["nodes"].values():
        if "body" in node:
            found |= every_node(node["body"])
    return found | graph["nodes"]


def nodes_behind(graph: ExecutionGraph, node_id: str) -> list[str]:
    """The nodes that edges lead to from a node, through others too, in the order of the drawing."""
    found = {node_id}
    todo = [node_id]
    while todo:
        new = set(graph["nodes"][todo.pop()]["dependents"]) - found
        found |= new
        todo += new
    return [each for each in graph["nodes"] if each in found and each != node_id]


def variables_of_calls(graph: ExecutionGraph) -> dict[str, dict[str, dict[str, Any]]]:
    """Node that calls a flow -> the declarations of the variables that each call has for itself."""
    return {
        node_id: node["region"]["call"]["own"]
        for node_id, node in every_node(graph).items()
        if "call" in node.get("region", {}) and node["region"]["call"]["own"]
    }


def is_open(node: GraphNode) -> bool:
    """Whether a node calls a flow whose nodes are among those of the run."""
    return "call" in node.get("region", {}) and node["region"]["call"].get("is_open", False)


def open_calls_around(graph: ExecutionGraph) -> dict[str, str]:
    """Node of a flow that is called openly, however indirectly -> the node of the graph whose call
    it is in.
    """
    return {
        inner: node_id
        for node_id, node in graph["nodes"].items()
        if is_open(node)
        for inner in every_node(node["body"])
    }


class ErrorValue(TypedDict):
    """The data output ``error`` of a node whose failure is handled. Of a region node, ``node_id``
    is the node of its body that failed.
    """

    type: str
    message: str
    node_id: str


class ItemError(ErrorValue):
    """One of the ``errors`` of a ``control.for_each``; ``index`` counts from 0."""

    index: int


class NodeResult(TypedDict):
    """What became of one node."""

    node_id: str
    status: ResultStatus
    outputs: dict[str, Any]
    """Output values or object refs."""
    error: str | None
    exec_next: str | None
    """The exec output that fired, when exactly one did."""
    exec_fired: NotRequired[list[str]]
    """Every exec output that fired; of a node that failed, ``always`` may have."""
    exception: NotRequired[BaseException]
    """The node's own exception, when ``status`` is ``"error"``."""
    handled: NotRequired[BaseException]
    """The node's own exception, when its wired ``error`` output has taken it."""
    details: NotRequired["RunDetails"]


class LogRecord(TypedDict):
    """One record of ``self.log``: the standard library's level number, the text, and when it was
    written, in seconds since 1970.
    """

    level: int
    message: str
    time: float


class HowFar(TypedDict):
    """How far a node has come: so much is done, of so much where that is known, and a text."""

    done: float
    total: float | None
    text: str


class Times(TypedDict, total=False):
    """Where the time of one execution went, in seconds: until a worker was there for it, until it
    had its inputs, in its ``process``, and until its outputs were stored and told of.
    """

    waiting: float
    loading: float
    process: float
    storing: float


class Moments(NamedTuple):
    """When the place of an execution was free for it, when it came, when ``process`` was called,
    and when the answer left; by ``time.monotonic`` there.
    """

    free: float
    arrived: float
    started: float
    ended: float


class IterationRow(NamedTuple):
    """What is told of one iteration of a region; ``error`` is "" for one that has not failed."""

    number: int
    status: Literal["success", "failed"]
    seconds: float
    error: str


class NodeTotals(TypedDict):
    """What one node of a body came to over all iterations: how often it ran and failed, and the
    seconds in its ``process``.
    """

    ran: int
    failed: int
    seconds: float


class HandledFailure(NamedTuple):
    """A failure in the body of a region that was handled there; ``how`` says by what. ``error`` has
    its place in the body.
    """

    error: NodeExecutionError
    how: str


class RunDetails(TypedDict, total=False):
    """Where and how a node ran. ``seconds`` is the time inside ``process``, ``started`` when it
    began, ``attempts`` how often the node has run by now.
    """

    pid: int
    host: str
    seconds: float
    started: float
    moments: Moments
    times: Times
    attempts: int
    previews: dict[str, str]
    has_secrets: bool
    """True where the node was given a secret, so that what it gave may tell of it."""
    measures: dict[str, dict[str, str | int]]
    """Output name -> what ``measures`` says of a value that does not travel inline."""
    input_previews: dict[str, str]
    stdout: str
    stderr: str
    logs: list[LogRecord]
    """With ``stdout`` and ``stderr`` what was not told while the node ran, see ``Hear``."""
    how_far: HowFar
    """What the node told last of how far it has come."""
    logs_left_out: int
    """How many log records there were beside these."""
    variables: bytes
    """A pickled snapshot of the variable store, when this node wrote to it."""
    stored: dict[str, str]
    """Output name -> file that the actor wrote the value to."""
    iterations: list[IterationRow]
    """Of a region: its iterations, failed ones first, a bounded number of them."""
    totals: dict[str, NodeTotals]
    """Of a region: the nodes of its body, and of the bodies in it."""
    handled: list[HandledFailure]
    """Of a region: what failed in its body and was handled there, the first hundred of it."""


Hear = Callable[[RunDetails], None]
"""Is told what a node has logged and printed since it was told last, while the node runs, and how
far it has come: as ``logs``, ``stdout``, ``stderr`` and ``how_far``. It is called on any thread and
must not wait.
"""
Tell = Callable[[str, NodeExecutionError], None]
"""Takes a line about a failure in a region that was handled, and its error."""


class OnTheWay(NamedTuple):
    """Who is told of a node while it runs."""

    tell: Tell | None = None
    hear: Hear | None = None


UNHEARD = OnTheWay()


class NodeState(TypedDict):
    status: NodeStatus
    result: NodeResult | None


class ExecutionState(TypedDict):
    """Everything known of a running flow."""

    node_states: dict[str, NodeState]
    data_cache: dict[tuple[str, str], Any]
    active_path: str
