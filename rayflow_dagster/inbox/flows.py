"""The flows that take requests, read from the project's files and read again when these change."""

import logging
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import ValidationError as PydanticError

from rayflow_dagster.compiler.findings import place_of
from rayflow_dagster.compiler.flow import parse_flow
from rayflow_dagster.compiler.starts.triggers import InboxSensor, declared_triggers
from rayflow_dagster.errors import FlowFormatError, RayflowError
from rayflow_dagster.project import Project

from .inputs import RequestInputs

NameOf = Callable[[Any, Path], str]
"""A raw flow and its file -> the name of its job."""
_LOG = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class InboxFlow:
    """A flow that takes requests."""

    name: str
    description: str
    inputs: RequestInputs


@dataclass(frozen=True, slots=True)
class FlowTable:
    """All flows of a project, by the names of their jobs.

    ``broken``: why a flow cannot be read at the moment; ``others`` have no inbox sensor.
    """

    takes: Mapping[str, InboxFlow] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    others: frozenset[str] = frozenset()

    def only(self, names: Container[str]) -> "FlowTable":
        """As if there were no other flows than these."""
        return FlowTable(
            {name: flow for name, flow in self.takes.items() if name in names},
            {name: problem for name, problem in self.broken.items() if name in names},
            frozenset(name for name in self.others if name in names),
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """What one file says: ``flow``, or why it is ``broken``, or neither without an inbox sensor."""

    name: str
    flow: InboxFlow | None = None
    broken: str | None = None


class InboxFlows:
    """The flows in ``folder``; why one is broken goes to the log, once. Safe to share by threads.

    Only what START declares and what the sensor says is read, and no node class is imported: a
    flow whose nodes are broken takes requests, which wait until it is mended.
    """

    def __init__(self, folder: Path, name_of: NameOf) -> None:
        self._folder = folder
        self._name_of = name_of
        self._lock = Lock()
        self._stamps: dict[Path, Stamp] = {}
        self._read: dict[Path, _Read] = {}
        self._table = FlowTable()
        self._project = Project.around(folder)

    def current(self) -> FlowTable:
        """The flows as their files are now.

        Raises:
            ProjectError: the project's settings are wrong.
            OSError: the folder is gone.
        """
        with self._lock:
            settings = self._project.root / "pyproject.toml"
            stamps = {file: stamp_of(file) for file in (settings, *self._files())}
            if stamps != self._stamps:
                self._refresh(stamps, keep=stamps[settings] == self._stamps.get(settings))
            return self._table

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _refresh(self, stamps: dict[Path, Stamp], *, keep: bool) -> None:
        """Read what has changed; all of it where what a file means may have changed."""
        self._project = Project.around(self._folder)
        read = {
            file: self._read[file]
            if keep and file in self._read and self._stamps.get(file) == stamp
            else self._read_file(file)
            for file, stamp in stamps.items()
            if file.suffix == ".json"
        }
        before, self._table = self._table.broken, _table(read)
        for name, problem in sorted(self._table.broken.items() - before.items()):
            _LOG.warning("the flow '%s': %s", name, problem)
        self._read, self._stamps = read, stamps

    def _read_file(self, file: Path) -> _Read:
        try:
            raw = parse_flow(file.read_bytes(), file.name)
        except (OSError, FlowFormatError) as error:
            return _Read(self._name_of({}, file), broken=str(error))
        name = self._name_of(raw, file)
        if not _wants_requests(raw):
            return _Read(name)
        try:
            return _Read(name, self._inbox_flow(name, raw))
        except PydanticError as error:
            places = [place_of(item["loc"]) for item in error.errors()]
            return _Read(name, broken=f"{', '.join(places)}: not as it must be")
        except (RayflowError, ValueError) as error:
            return _Read(name, broken=str(error))

    def _inbox_flow(self, name: str, raw: Mapping[str, Any]) -> InboxFlow:
        """Raises ValueError, RayflowError, or pydantic's error: the flow is not as it must be."""
        flow = self._project.validator().resolve(raw)
        sensors = [
            each for each in declared_triggers(flow.data).sensors if isinstance(each, InboxSensor)
        ]
        if len(sensors) != 1:
            raise ValueError(f"it has {len(sensors)} inbox sensors; keep one")
        if len(flow.starts) != 1 or flow.starts[0].metadata is None:
            raise ValueError(f"it has {len(flow.starts)} START nodes; it needs one")
        sensor = sensors[0]
        inputs = RequestInputs.of(flow.starts[0].metadata, sensor.inputs, sensor.body)
        if inputs.body is not None and inputs.body not in inputs.open:
            raise ValueError(
                f"its inbox sensor's body '{inputs.body:.80}' is no open input of START"
            )
        return InboxFlow(name, str(raw.get("description") or ""), inputs)


def _wants_requests(raw: Mapping[str, Any]) -> bool:
    sensors = raw.get("sensors")
    return isinstance(sensors, list) and any(
        isinstance(sensor, dict) and sensor.get("type") == "inbox" for sensor in sensors
    )


def stamp_of(file: Path) -> Stamp:
    """What changes when a file is written; zeros where there is none to be seen."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def _table(read: Mapping[Path, _Read]) -> FlowTable:
    """Names that two files claim belong to neither."""
    files: dict[str, list[Path]] = {}
    for file, each in read.items():
        files.setdefault(each.name.casefold(), []).append(file)
    broken: dict[str, str] = {}
    takes: dict[str, InboxFlow] = {}
    others: set[str] = set()
    for file, each in read.items():
        claims = files[each.name.casefold()]
        if len(claims) > 1:
            broken[each.name] = f"several files claim this name: {_names(claims)}"
        elif each.broken is not None:
            broken[each.name] = f"its file {file.name} cannot be used: {each.broken}"
        elif each.flow is not None:
            takes[each.name] = each.flow
        else:
            others.add(each.name)
    return FlowTable(takes, broken, frozenset(others))


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files)
