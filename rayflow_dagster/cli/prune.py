"""``rayflow-dagster prune``: give back the space of stored outputs.

First the folders are listed and then the runs, so that a run that begins meanwhile has no folder
in the list. Values that a run in progress may read are never removed: its own, and those of the
runs that it re-executes.
"""

import datetime
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from dagster import DagsterInstance

from rayflow_dagster.compiler.flow import parse_flow
from rayflow_dagster.compiler.resolved import merged_settings
from rayflow_dagster.defs.storage import VARIABLES, values_root
from rayflow_dagster.errors import FlowFormatError
from rayflow_dagster.project import Project
from rayflow_dagster.values.stored import file_system
from rayflow_dagster.values.storing import PARTS

from .flows import FLOWS
from .group import Refused
from .home import FOLDER, VARIABLE, use_home
from .recordings import open_instance
from .space import RUN_ID, size_text
from .terminal import say

_AGE = re.compile(r"(?P<count>\d{1,9})(?P<unit>[hdw])")
_UNITS = {"h": 3600.0, "d": 24 * 3600.0, "w": 7 * 24 * 3600.0}
_FOLDERS = {"steps", PARTS}
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PastRun:
    """What counts of a run. ``ended`` is None while it is in progress; else seconds since 1970."""

    ended: float | None
    parent: str | None


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or URL that has a folder per run. ``is_own``: no other instance stores there."""

    path: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The values of a run."""

    run_id: str
    path: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Which runs' values may go. ``before``: values of runs that ended before this time."""

    runs: Mapping[str, PastRun]
    before: float | None

    def reason(self, run_id: str, kept: "Kept", *, is_own: bool) -> str | None:
        """Why the values of a run may go; None if they stay."""
        if run_id in kept.in_progress:
            return None
        run = self.runs.get(run_id)
        if run is None:
            return "its run is gone from Dagster" if is_own else None
        if run_id in kept.recent or run.ended is None:
            return None
        return f"its run ended {_date(run.ended)}"

    def kept(self) -> "Kept":
        """The runs whose values may be read still."""
        going = [run_id for run_id, run in self.runs.items() if run.ended is None]
        recent = [run_id for run_id, run in self.runs.items() if not self._is_old(run)]
        return Kept(self._with_parents(going), self._with_parents(recent))

    def _is_old(self, run: PastRun) -> bool:
        return run.ended is not None and self.before is not None and run.ended < self.before

    def _with_parents(self, run_ids: Iterable[str]) -> frozenset[str]:
        """These runs and all that they re-execute, whose values theirs continue."""
        found: set[str] = set()
        for run_id in run_ids:
            following: str | None = run_id
            while following is not None and following not in found:
                found.add(following)
                run = self.runs.get(following)
                following = run.parent if run else None
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Kept:
    """Runs whose values stay, each set with the runs that they re-execute."""

    in_progress: frozenset[str]
    recent: frozenset[str]


def prune(older_than: str | None, storages: Collection[str], *, dry: bool) -> bool:
    """Remove what nobody needs any more and print it; with ``dry``, only print it.

    Args:
        older_than: an age such as ``30d``; runs that ended before lose their values, too.
        storages: folders or URLs where only this instance's runs store values, besides its own.
        dry: whether nothing is to be removed.

    Returns:
        False if a place could not be read or emptied.

    Raises:
        Refused: there is no ``DAGSTER_HOME``, or Dagster cannot use it.
        BadParameter: ``older_than`` is no age.
    """
    project = Project.around(Path.cwd())
    before = None if older_than is None else time.time() - _seconds(older_than)
    _require_home(project.root)
    flows = sorted((project.root / FLOWS).glob("*.json"))
    report = _Report(dry)
    with open_instance(use_home(project.root)) as instance:
        for root in _roots(instance, project, flows, storages):
            try:
                _prune_root(instance, root, before, report)
            except (OSError, ImportError, ValueError) as error:  # as fsspec says it
                report.problem(root.path, error)
    report.end()
    return not report.has_problems


def _seconds(age: str) -> float:
    found = _AGE.fullmatch(age.strip())
    if found is None:
        raise click.BadParameter(
            f"'{age}' is no age; write for example 30d, 2w or 12h", param_hint="'--older-than'"
        )
    return float(found["count"]) * _UNITS[found["unit"]]


def _require_home(root: Path) -> None:
    if not (os.environ.get(VARIABLE) or (root / FOLDER).is_dir()):
        raise Refused(
            f"there is nothing to prune: {VARIABLE} is not set, and {root} has no {FOLDER} folder"
        )


def _prune_root(
    instance: DagsterInstance, root: Root, before: float | None, report: "_Report"
) -> None:
    filesystem, folder = file_system(root.path)
    folders = dict(_run_folders(filesystem, folder))
    rules = Rules(past_runs(instance), before)
    kept = rules.kept()
    for run_id, path in folders.items():
        reason = rules.reason(run_id, kept, is_own=root.is_own)
        if reason is None or not _is_ours(filesystem, path):
            continue
        sizes = [entry["size"] or 0 for entry in filesystem.find(path, detail=True).values()]
        if not report.dry:
            with suppress(FileNotFoundError):  # somebody else prunes at the same time
                filesystem.rm(path, recursive=True)
        report.add(Found(run_id, path, len(sizes), sum(sizes)), reason)


def _run_folders(filesystem: Any, root: str) -> Iterator[tuple[str, str]]:
    """(run id, path) of every folder in ``root`` that is called as runs are."""
    try:
        entries = filesystem.ls(root, detail=True)
    except FileNotFoundError:
        return
    for entry in entries:
        name = _name(entry["name"])
        if entry["type"] == "directory" and RUN_ID.fullmatch(name):
            yield name, entry["name"]


def _is_ours(filesystem: Any, path: str) -> bool:
    """Whether a folder holds what a run of ours stores, and nothing else."""
    names = {_name(entry) for entry in filesystem.ls(path, detail=False)}
    return all(name in _FOLDERS or VARIABLES in name for name in names)


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def past_runs(instance: DagsterInstance) -> dict[str, PastRun]:
    """Every run that the instance knows, by its id."""
    found: dict[str, PastRun] = {}
    cursor: str | None = None
    while True:
        records = instance.get_run_records(limit=_PAGE, cursor=cursor)
        for record in records:
            run = record.dagster_run
            ended = record.end_time or record.start_time or record.create_timestamp.timestamp()
            found[run.run_id] = PastRun(ended if run.is_finished else None, run.parent_run_id)
        if len(records) < _PAGE:
            return found
        cursor = records[-1].dagster_run.run_id


def _roots(
    instance: DagsterInstance, project: Project, flows: Iterable[Path], storages: Iterable[str]
) -> list[Root]:
    """Where values may be: the instance's own folder, places that were named, and flows' own."""
    own = [values_root(instance), *(values_root(instance, storage) for storage in storages)]
    found = {root.rstrip("/"): Root(root, is_own=True) for root in own}
    for file in flows:
        try:
            flow = parse_flow(file.read_bytes(), str(file))
        except FlowFormatError:
            continue
        storage = merged_settings(flow, project.settings.settings).get("storage")
        if isinstance(storage, str) and storage.strip():
            root = values_root(instance, storage)
            found.setdefault(root.rstrip("/"), Root(root, is_own=False))
    return list(found.values())


class _Report:
    """Prints what goes, and in the end how much it was."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.has_problems = False
        self._found: list[Found] = []

    def add(self, found: Found, reason: str) -> None:
        self._found.append(found)
        verb = "would remove" if self.dry else "removed"
        size = size_text(found.size)
        say(f"{verb} the values of run {found.run_id}, {size}: {reason} ({found.path})")

    def problem(self, root: str, error: Exception) -> None:
        self.has_problems = True
        say(f"Error: {root} could not be pruned: {type(error).__name__}: {error}", err=True)

    def end(self) -> None:
        if not self._found:
            say("nothing to remove")
            return
        files = sum(found.files for found in self._found)
        size = sum(found.size for found in self._found)
        would = "would be " if self.dry else ""
        say(f"{files} file{'' if files == 1 else 's'}, {size_text(size)} {would}removed")


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("on %Y-%m-%d at %H:%M")
