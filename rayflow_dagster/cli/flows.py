"""Which flow files a command means: paths, folders, and names of flows in ``flows/``."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayflow_dagster.compiler.flow import read_flow
from rayflow_dagster.errors import FlowFormatError
from rayflow_dagster.project import Project
from rayflow_dagster.suggest import did_you_mean

from .group import Refused

FLOWS = "flows"
LOCATION = "definitions.py"
"""The file of a project's code location, which is called so in the UI."""


@dataclass(frozen=True, slots=True)
class FlowFile:
    """A flow file, the project it lies in, and what it says."""

    path: Path
    project: Project
    raw: dict[str, Any]

    @property
    def name(self) -> str:
        """What the flow is called, as its job is: by its own name, else by its file."""
        name = self.raw.get("name")
        return name if isinstance(name, str) and name.strip() else self.path.stem


def open_flow(named: str) -> FlowFile:
    """The flow that the user named.

    Raises:
        Refused: there is no such flow.
        FlowFormatError: the file is not readable as a flow.
    """
    path = find_flow(named)
    raw = read_flow(path)
    flow = FlowFile(path, Project.around(path), raw)
    _refuse_namesakes(flow)
    return flow


def _refuse_namesakes(flow: FlowFile) -> None:
    """A flow whose name another flow of the project's ``flows/`` has too does not run."""
    path, name = flow.path, flow.name
    if path.parent.name != FLOWS:
        return
    others = [
        file
        for file in sorted(path.parent.glob("*.json"))
        if file.resolve() != path.resolve() and (_own_name(file) or file.stem) == name
    ]
    if others:
        names = ", ".join(shown(file) for file in others)
        raise Refused(
            f"two flows are called '{name}': {shown(path)} and {names}; "
            "give each flow a name of its own"
        )


def find_flow(named: str) -> Path:
    """The file of a flow named by its path, or by its name in the project's ``flows/``.

    Raises:
        Refused: there is no such file, or it is a folder.
    """
    path = Path(named)
    if path.is_file():
        return path
    found = _flow_named(named)
    if found is None and path.is_dir():
        raise Refused(f"{named} is a folder; name one flow file in it{_choices(path)}")
    if found is None:
        raise Refused(_not_found(named))
    return found


def find_flows(named: Iterable[str]) -> list[Path]:
    """The files of all flows that the user named; a folder stands for every ``*.json`` in it.

    Raises:
        Refused: one of them is not there, or a folder has no flow.
    """
    found: dict[Path, Path] = {}
    for name in named:
        path = Path(name)
        files = sorted(path.glob("*.json")) if path.is_dir() else [find_flow(name)]
        if not files:
            raise Refused(f"the folder {name} has no flow: no file in it ends in .json")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def project_flows() -> list[Path]:
    """The files in the ``flows/`` of the project around the working folder."""
    return sorted((Project.root_around(Path.cwd()) / FLOWS).glob("*.json"))


def shown(path: Path) -> str:
    """``path`` as short as it can be written from the working folder."""
    here = Path.cwd()
    for written in (Path(os.path.abspath(path)), path.resolve()):
        if written.is_relative_to(here):
            return str(written.relative_to(here))
    return str(path)


def _flow_named(name: str) -> Path | None:
    """The flow whose file in ``flows/`` is called ``name``, or whose own name that is."""
    if os.sep in name or not name:
        return None
    files = project_flows()
    by_file = [file for file in files if name in (file.stem, file.name)]
    return next(iter(by_file or [file for file in files if _own_name(file) == name]), None)


def _own_name(file: Path) -> str | None:
    try:
        name = read_flow(file).get("name")
    except FlowFormatError:
        return None
    return name if isinstance(name, str) else None


def _choices(folder: Path) -> str:
    names = [file.name for file in sorted(folder.glob("*.json"))]
    return f" (it has {_listed(names)})" if names else ""


def _not_found(named: str) -> str:
    files = project_flows()
    if named.endswith(".json") or os.sep in named:
        near = did_you_mean(named, [shown(file) for file in files])
        return f"there is no flow file {named}{near}"
    names = [file.stem for file in files]
    known = f"it has {_listed(names)}" if names else "it has no flow"
    root = Project.root_around(Path.cwd())
    return (
        f"there is no flow '{named}': no file of that path, and no flow of that name in "
        f"{shown(root / FLOWS)} ({known}){did_you_mean(named, names)}"
    )


def _listed(names: list[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
