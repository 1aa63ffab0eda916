"""``build_definitions``: a folder of flows becomes a Dagster code location."""

import contextlib
import gc
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import Definitions, JobDefinition

from rayflow_dagster.compiler.callees import FlowFolder
from rayflow_dagster.compiler.flow import parse_flow
from rayflow_dagster.errors import (
    FlowFormatError,
    NameCollisionError,
    ProjectError,
    RayflowError,
    ValidationError,
    describe,
)
from rayflow_dagster.project import Project

from ._dagster import lazy_definitions
from .assets import LocationAssets
from .broken import BrokenFlow, build_broken_job, findings_of
from .compiled import CompiledFlow
from .executor import flow_executor
from .frozen import FrozenFlow, freeze_flows, frozen_flows
from .jobs import build_compiled_job, build_job, compile_flow, job_name
from .last_form import LastForm, last_forms, save_forms
from .names import flow_name
from .prestart import start_if_expected
from .side_by_side import warnings_side_by_side
from .triggers import LocationTriggers, Target, build_triggers

if TYPE_CHECKING:
    from rayflow_dagster.cluster.connection import RaySettings

__all__ = ["build_definitions", "build_job"]


_WARNINGS = 10
"""So many are logged when a code location loads."""
_log = logging.getLogger("rayflow_dagster")


@dataclass(frozen=True, slots=True)
class _Found:
    """What the flows have, gathered while they load. ``last``: file name -> what Dagster last knew
    of its flow.
    """

    last: dict[str, LastForm]
    jobs: list[JobDefinition] = field(default_factory=list)
    flows: list[CompiledFlow] = field(default_factory=list)
    broken: list[BrokenFlow] = field(default_factory=list)
    assets: LocationAssets = field(default_factory=LocationAssets)
    triggers: LocationTriggers = field(default_factory=LocationTriggers)

    def stop(self, file: Path, name: str, findings: list[str]) -> None:
        """Note a flow that cannot run. It goes on under ``name``, as it last was under it."""
        last = self.last.get(file.name)
        form = last if last is not None and last.job == name else LastForm(name)
        self.broken.append(BrokenFlow(form, findings, str(file)))

    def add_broken(self) -> None:
        """Add the jobs of the flows that cannot run, and what they last had beside them, when all
        that can run is there and has taken the names that it needs.
        """
        targets = {
            job.name: Target(flow, job) for flow, job in zip(self.flows, self.jobs, strict=True)
        }
        broken = {flow.form.job: (flow, build_broken_job(flow)) for flow in self.broken}
        for flow, job in broken.values():
            self.jobs.append(job)
            self.triggers.add_stopped(flow, job)
            with contextlib.suppress(ValidationError):  # another flow has them now
                self.assets.add(flow.form)
        self.triggers.add_failure_sensors(targets, broken)


def build_definitions(
    flows_dir: str | Path,
    *,
    nodes: Sequence[str] = (),
    ray_settings: "RaySettings | None" = None,
) -> Definitions:
    """One job for every ``*.json`` in ``flows_dir``.

    An invalid flow never takes the others down: it is listed as a job that carries its findings
    as description and fails with them when launched. Two flows of one name are both refused, each
    naming the other.

    A run worker that imports the definitions again gets the flows as they were when the code
    location loaded, whatever happened to the files since.

    Args:
        flows_dir: the folder of flow files.
        nodes: packages of node classes beside the project's own ``nodes``.
        ray_settings: which cluster to use; by default ``RAY_ADDRESS``, else the embedded Ray.

    Raises:
        ProjectError: there is no such folder, the project's settings are wrong, or the flows are
            too large to travel with each run.
    """
    folder = Path(flows_dir).resolve()
    frozen = frozen_flows(folder)
    if frozen is None and not folder.is_dir():
        raise ProjectError(f"there is no folder of flows at {folder}; make it, or name another")
    project = Project.around(folder, nodes)
    if frozen is None:
        return _definitions(folder, partial(_load, folder, project, ray_settings))
    contents = {flow.file.stem: flow.content for flow in frozen}
    project = replace(project, called=FlowFolder(folder, contents))
    flows = {flow.job: flow for flow in frozen}

    def one(name: str) -> JobDefinition | None:
        return _frozen_job(flows[name], project, ray_settings) if name in flows else None

    load_again = partial(_load_again, frozen, project, ray_settings)
    return lazy_definitions(one, partial(_definitions, folder, load_again))


def _definitions(folder: Path, load: Callable[[_Found], None]) -> Definitions:
    found = _Found(last=last_forms(folder))
    with _no_garbage_collection():
        load(found)
        found.add_broken()
    return Definitions(
        jobs=found.jobs,
        assets=found.assets.specs(),
        schedules=found.triggers.schedules(),
        sensors=found.triggers.sensors(),
    )


def _load(
    folder: Path, project: Project, ray_settings: "RaySettings | None", found: _Found
) -> None:
    """Load the flow files as they are, and freeze them for the runs to come."""
    contents = {file: file.read_bytes() for file in sorted(folder.glob("*.json"))}
    called = FlowFolder(folder, {file.stem: content for file, content in contents.items()})
    project = replace(project, called=called)
    parsed = {file: _parse(file, content) for file, content in contents.items()}
    names = {file: job_name(raw, file) for file, raw in parsed.items() if isinstance(raw, Mapping)}
    clashing = _clashes(names)
    names |= _unreadable_names(
        [file for file in parsed if file not in names], names.values(), found.last
    )
    for file, raw in parsed.items():
        if file in clashing:
            names[file] = _refuse(file, names, clashing[file], found)
        else:
            _add(file, raw, names[file], project, ray_settings, found)
    findings = {flow.file: list(flow.findings) for flow in found.broken}
    freeze_flows(
        folder,
        [
            FrozenFlow(names[file], file, content, findings.get(str(file)))
            for file, content in contents.items()
        ],
    )
    save_forms(folder, found.last, [file.name for file in parsed])
    _tell_warnings(found.flows)


def _load_again(
    frozen: Iterable[FrozenFlow],
    project: Project,
    ray_settings: "RaySettings | None",
    found: _Found,
) -> None:
    """Load flows as the code location did that froze them."""
    for flow in frozen:
        if flow.findings is None:
            raw = _parse(flow.file, flow.content)
            _add(flow.file, raw, flow.job, project, ray_settings, found)
        else:
            found.stop(flow.file, flow.job, flow.findings)


def _frozen_job(
    flow: FrozenFlow, project: Project, ray_settings: "RaySettings | None"
) -> JobDefinition:
    """The job of one flow, for a process that runs nothing else."""
    found = _Found(last={})
    _load_again([flow], project, ray_settings, found)
    found.add_broken()
    (job,) = found.jobs
    return job


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """All that is made here stays, and the collector would walk it over and over: without it 200
    flows load in two thirds of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _add(
    file: Path,
    raw: Mapping[str, Any] | RayflowError,
    name: str,
    project: Project,
    ray_settings: "RaySettings | None",
    found: _Found,
) -> None:
    if isinstance(raw, RayflowError):
        found.stop(file, name, findings_of(raw))
        return
    try:
        flow = compile_flow(raw, name, project, file=file, ray_settings=ray_settings)
        job = build_compiled_job(flow, raw, flow_executor)
        found.triggers.check(flow)
        built = build_triggers(flow, job)
        found.assets.add(flow)
    except RayflowError as error:
        found.stop(file, name, findings_of(error))
        return
    except Exception as error:  # a fault of ours, or what Dagster refuses: it is this flow's alone
        _log.exception("the job of %s cannot be made", file)
        found.stop(file, name, [f"no job can be made of it: {describe(error)}"])
        return
    found.triggers.add(flow, built)
    found.flows.append(flow)
    found.jobs.append(job)
    found.last[file.name] = LastForm.of(flow)
    start_if_expected(job)


def _clashes(names: Mapping[Path, str]) -> dict[Path, list[Path]]:
    """File -> the other files that claim its name (or one that differs only in case)."""
    by_name: dict[str, list[Path]] = {}
    for file, name in names.items():
        by_name.setdefault(name.casefold(), []).append(file)
    return {
        file: [other for other in files if other != file]
        for files in by_name.values()
        if len(files) > 1
        for file in files
    }


def _unreadable_names(
    files: Iterable[Path], taken: Iterable[str], last: Mapping[str, LastForm]
) -> dict[Path, str]:
    """Names for the jobs of files whose own names cannot be read: those that they last had. They
    take none from a flow, so that a file which is half saved touches no other.
    """
    used = {name.casefold() for name in taken}
    names = {}
    for file in files:
        form = last.get(file.name)
        name = form.job if form is not None else flow_name(file.stem)
        names[file] = name if name.casefold() not in used else _distinct(name, file)
        used.add(names[file].casefold())
    return names


def _distinct(name: str, file: Path) -> str:
    return f"{name}_{hashlib.sha256(file.name.encode()).hexdigest()[:6]}"


def _refuse(file: Path, names: Mapping[Path, str], others: list[Path], found: _Found) -> str:
    """Refuse a file whose name others claim. Who had it before they came keeps it. Returns the name
    that the file's job has.
    """
    claims = {names[file]: [f"'{path.name}'" for path in (file, *others)]}
    text = f"{NameCollisionError(claims)}; give each flow a name of its own"
    had = [path for path in (file, *others) if _had(path, names[path], found.last)]
    name = names[file] if had == [file] else _distinct(names[file], file)
    found.stop(file, name, [text])
    return name


def _had(file: Path, name: str, last: Mapping[str, LastForm]) -> bool:
    form = last.get(file.name)
    return form is not None and form.job == name


def _parse(file: Path, content: bytes) -> Mapping[str, Any] | RayflowError:
    try:
        return parse_flow(content, str(file))
    except FlowFormatError as error:
        return error


def _tell_warnings(flows: Sequence[CompiledFlow]) -> None:
    """Log what deserves a look, for whoever started or reloaded the code location."""
    warnings = warnings_side_by_side(flows)
    told = [
        f"{flow.file or flow.name}: {text}"
        for flow in flows
        for text in (*flow.warnings, *warnings.get(flow.name, ()))
    ]
    for text in told[:_WARNINGS]:
        _log.warning(text)
    if len(told) > _WARNINGS:
        more = len(told) - _WARNINGS
        _log.warning("%d more warnings; see: rayflow-dagster validate flows", more)
