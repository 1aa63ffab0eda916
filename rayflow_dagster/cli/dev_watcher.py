"""The process beside ``dagster dev`` that has the code location reloaded after each save.

It is a child of ``dagster dev`` and ends with it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

from rayflow_dagster.optional import optional

from .orphans import Children
from .space import much_stored
from .terminal import one_line
from .watched import Changes, ProjectFiles, told
from .workspace import Loaded, UnreachableError, Workspace

LOOK_SECONDS = 0.5
"""Between two looks. A change is loaded by the first look at which nothing has changed any more."""
SHOWN = 5
"""So many broken flows are named."""


def main() -> None:
    """The process. It is told the process that it ends with, where its webserver is asked, the
    project's folder, the one where runs store values, and what else to watch.
    """
    parent, url, root, stored, *more = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, and needs no traceback
    files = ProjectFiles(Path(root), [Path(path) for path in more])
    watcher = Watcher(files, Workspace(url))
    services = Children(int(parent))
    Thread(target=_tell_of_much, args=(Path(stored),), daemon=True).start()
    while os.getppid() == int(parent):
        services.remember()
        time.sleep(LOOK_SECONDS)
        with optional("looking for saved files"):
            for line in watcher.look():
                _tell(line)
    services.end()  # a dagster dev that was killed leaves its webserver and daemon running


def _tell_of_much(stored: Path) -> None:
    with optional("looking how much space stored values take"):
        if told := much_stored(stored):
            _tell(told)


def _tell(line: str) -> None:
    sys.stdout.write(f"rayflow-dagster: {line}\n")
    sys.stdout.flush()


class Watcher:
    """Has a workspace reloaded when one of a project's files was saved since this was made."""

    def __init__(self, files: ProjectFiles, workspace: Workspace) -> None:
        self._files = files
        self._workspace = workspace
        self._changes = Changes(files.snapshot())
        self._loaded: Loaded | None = None
        self._changed: list[Path] = []
        self._refused: dict[str, str] = {}

    def look(self) -> list[str]:
        """Look at the files once; gives lines that tell what was reloaded and how that went.

        A webserver that does not answer is asked again at the next look: it is not up yet, or on
        its way down.
        """
        try:
            if self._loaded is None:
                return self._first_look(self._workspace.loaded())
            self._reload(self._loaded)
            return self._report(self._loaded) if self._changed else []
        except UnreachableError:
            return []

    def _first_look(self, loaded: Loaded | None) -> list[str]:
        self._loaded = loaded
        if loaded is None:
            return []
        errors = [f"{name} cannot be loaded: {error}" for name, error in loaded.errors.items()]
        root = self._files.root
        return [
            f"flows, nodes and *.py in {root} are loaded again whenever one is saved",
            *errors,
            *self._broken(loaded),
        ]

    def _reload(self, before: Loaded) -> None:
        seen = self._files.snapshot()
        changed = self._changes.look(seen)
        if changed:
            loaded = before if before.names else self._workspace.loaded()
            self._refused = self._workspace.reload(loaded.names if loaded else ())
            self._changes.loaded(seen)
            self._changed = sorted({*self._changed, *changed})

    def _report(self, before: Loaded) -> list[str]:
        after = self._workspace.loaded()
        if after is None:
            return []  # told by a later look
        after = replace(after, errors={**after.errors, **self._refused})
        lines = list(self._told(self._changed, before, after))
        if after.errors:  # of flows nothing is known meanwhile
            after = replace(after, broken={**before.broken, **after.broken})
        self._changed, self._loaded = [], after
        return lines

    def _told(self, changed: Iterable[Path], before: Loaded, after: Loaded) -> Iterator[str]:
        what = told([self._files.name_of(file) for file in changed])
        names = ", ".join(name for name in after.names if name not in after.errors)
        if names:
            yield f"reloaded {names} after a change of {what}"
        for name, error in after.errors.items():
            yield f"{name} cannot be loaded after a change of {what}: {error}"
        yield from self._broken(after)
        for file in before.broken:
            if not after.errors and file not in after.broken and Path(file).is_file():
                yield f"{self._files.name_of(Path(file))} can run again"

    def _broken(self, loaded: Loaded) -> Iterator[str]:
        for file, findings in list(loaded.broken.items())[:SHOWN]:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            yield f"{self._files.name_of(Path(file))} cannot run: {one_line(findings[0])}{more}"
        if len(loaded.broken) > SHOWN:
            more = f"{len(loaded.broken) - SHOWN} more flows cannot run"
            yield f"{more}; see: rayflow-dagster validate flows"


if __name__ == "__main__":
    main()
