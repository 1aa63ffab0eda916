"""Starting a run's actors before the run: they come up while its plan is built.

Whoever is about to run a job in this process says ``start_early``, or ``expect`` while its job is
not loaded yet; the run's session then takes over the orchestrator that is connected, or nearly so.
It is a help only: where nobody said it, the session connects by itself.
"""

import threading
from concurrent.futures import Future

from dagster import JobDefinition

from rayflow_dagster.optional import optional
from rayflow_dagster.orchestrator import FlowOrchestrator

from .compiled import CompiledFlow
from .names import SESSION

Connecting = Future[FlowOrchestrator | None]
"""Done when it is connected; None if it could not."""

_started: dict[int, tuple[CompiledFlow, Connecting]] = {}
"""By the identity of the compiled flow."""

_expected: set[str] = set()
"""Names of jobs that this process is going to run."""


def expect(job_name: str) -> None:
    """Say that this process will run a job of this name, when its code location is loaded."""
    _expected.add(job_name)


def start_if_expected(job: JobDefinition) -> None:
    """``start_early``, if this process was told that it will run ``job``."""
    if job.name in _expected:
        _expected.discard(job.name)
        start_early(job)


def flow_of(job: JobDefinition) -> CompiledFlow | None:
    """The flow that a job was built from; None for a job of another kind."""
    resource = job.resource_defs.get(SESSION)
    flow = getattr(getattr(resource, "resource_fn", None), "flow", None)
    return flow if isinstance(flow, CompiledFlow) else None


def start_early(job: JobDefinition) -> None:
    """Connect to Ray for the next run of ``job`` in this process, on a thread. Returns at once.

    A flow that keeps variables between runs is left alone: what they are is known only when the
    run has begun.
    """
    flow = flow_of(job)
    if flow is None or flow.kept_variables or id(flow) in _started:
        return
    future: Connecting = Future()
    thread = threading.Thread(
        target=_connect, args=(flow, future), name="rayflow-early", daemon=True
    )
    with optional("starting a run's actors early"):
        thread.start()
        _started[id(flow)] = flow, future


def connected_for(flow: CompiledFlow) -> FlowOrchestrator | None:
    """The orchestrator that was started early for ``flow``, connected; None without one, or where
    it could not connect. Waits until it is connected.
    """
    _, future = _started.pop(id(flow), (flow, None))
    return None if future is None else future.result()


def end_unused(job: JobDefinition) -> None:
    """End what was started early for a run of ``job`` that did not come to use it."""
    flow = flow_of(job)
    if flow is None:
        return
    orchestrator = connected_for(flow)
    if orchestrator is not None:
        orchestrator.close()


def new_orchestrator(flow: CompiledFlow) -> FlowOrchestrator:
    """An orchestrator of ``flow`` that is not connected yet."""
    orchestrator = FlowOrchestrator(flow.project, flow.ray_settings, flow.connect)
    orchestrator.flow_name = flow.name
    orchestrator.use_graph(flow.graph)
    return orchestrator


def _connect(flow: CompiledFlow, future: "Connecting") -> None:
    orchestrator = None
    try:
        with optional("starting a run's actors early"):
            orchestrator = _connected(flow)
    finally:
        future.set_result(orchestrator)


def _connected(flow: CompiledFlow) -> FlowOrchestrator:
    orchestrator = new_orchestrator(flow)
    try:
        orchestrator.connect()
    except BaseException:
        orchestrator.close()
        raise
    return orchestrator
