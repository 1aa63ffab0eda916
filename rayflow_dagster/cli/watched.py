"""Which files a project's code location is made of, and which of them were saved."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rayflow_dagster.errors import ProjectError
from rayflow_dagster.project import DEFAULT_PACKAGE, Project

from .flows import FLOWS

SETTINGS = "pyproject.toml"
NAMED = 3
"""So many changed files are named."""
_CACHE = "__pycache__"

Stamp = tuple[int, int, int]
"""When a file was written (ns), its size in bytes, and its inode, which a renamed file brings."""
Snapshot = Mapping[Path, Stamp]


class ProjectFiles:
    """The flows, node packages, ``*.py`` and ``pyproject.toml`` of a project.

    Args:
        root: the project's folder.
        more: files, and folders of ``*.py`` and ``*.json``, to watch besides.
    """

    def __init__(self, root: Path, more: Sequence[Path] = ()) -> None:
        self.root = root
        self._more = more
        self._packages: tuple[str, ...] = ()
        self._settings: Stamp | None = None
        self._read_packages()

    def snapshot(self) -> Snapshot:
        """The files that are there now."""
        settings = _stamp(self.root / SETTINGS)
        if settings != self._settings:
            self._settings = settings
            self._read_packages()
        stamps = ((file, _stamp(file)) for file in self._files())
        return {file: stamp for file, stamp in stamps if stamp is not None}

    def name_of(self, file: Path) -> str:
        """A file as the project's author calls it."""
        return str(file.relative_to(self.root)) if file.is_relative_to(self.root) else str(file)

    def _files(self) -> Iterator[Path]:
        yield self.root / SETTINGS
        yield from _files_in(self.root, (".py",))
        yield from _files_in(self.root / FLOWS, (".json",))
        for package in {DEFAULT_PACKAGE, *self._packages}:
            yield from _files_below(self.root.joinpath(*package.split(".")), (".py",))
        for path in self._more:
            if path.is_dir():
                yield from _files_below(path, (".py", ".json"))
            else:
                yield path

    def _read_packages(self) -> None:
        try:
            self._packages = tuple(Project.at(self.root).settings.nodes)
        except ProjectError:
            return  # being edited: the code location tells what is wrong with it


class Changes:
    """What was saved since the last load, told once nothing is being written any more.

    A change is told by the first look that sees the same files as the look before.
    """

    def __init__(self, loaded: Snapshot) -> None:
        self._loaded = self._last = loaded

    def look(self, seen: Snapshot) -> list[Path]:
        """The files that have changed, in order of their names; none while files still change."""
        is_settled = seen == self._last
        self._last = seen
        if not is_settled or seen == self._loaded:
            return []
        files = {*seen, *self._loaded}
        return sorted(file for file in files if seen.get(file) != self._loaded.get(file))

    def loaded(self, seen: Snapshot) -> None:
        """The code location has been loaded since this look."""
        self._loaded = seen


def told(changed: Sequence[str]) -> str:
    """The names of changed files, the first few of many."""
    text = ", ".join(changed[:NAMED])
    more = len(changed) - NAMED
    return f"{text} and {more} more" if more > 0 else text


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    try:
        names = os.listdir(folder)
    except OSError:  # gone, or not there yet
        return
    yield from (folder / name for name in _chosen(names, suffixes))


def _files_below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != _CACHE and not name.startswith(".")]
        yield from (Path(parent, name) for name in _chosen(names, suffixes))


def _chosen(names: Iterable[str], suffixes: tuple[str, ...]) -> Iterator[str]:
    """Those of the names that end so; hidden files are what editors write beside a file."""
    return (name for name in names if name.endswith(suffixes) and not name.startswith("."))


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
