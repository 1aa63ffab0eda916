"""``DAGSTER_HOME``: where the runs of a project are recorded."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .group import Refused

FOLDER = ".dagster"
SETTINGS = "dagster.yaml"
LOCK = ".rayflow.lock"
VARIABLE = "DAGSTER_HOME"


def use_home(project: Path) -> Path:
    """Set ``DAGSTER_HOME`` for this process and those it starts, and return it.

    What is set already stays. Else it is ``.dagster`` in the project's folder, which gets the
    project's ``dagster.yaml``. A folder that is made here is for the user alone.

    Raises:
        Refused: it is set to what Dagster cannot use.
    """
    named = os.environ.get(VARIABLE)
    if named:
        home = Path(named).expanduser()
        if not home.is_absolute():
            raise Refused(f"{VARIABLE} is '{named}'; Dagster wants an absolute path there")
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
        return home
    home = project / FOLDER
    _make(home, project / SETTINGS)
    os.environ[VARIABLE] = str(home)
    return home


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home's lock. Two processes that both make Dagster's databases at the same time
    leave them broken for good.
    """
    with (home / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the file
        yield


def _make(home: Path, settings: Path) -> None:
    """Make the folder, hidden from git, with the project's settings as they are now."""
    if not home.is_dir():
        home.mkdir(mode=0o700, exist_ok=True)  # runs have inputs, logs and values in it
        (home / ".gitignore").write_text("*\n", encoding="utf-8")
    target = home / SETTINGS
    if settings.is_file():
        if not target.is_file() or target.read_bytes() != settings.read_bytes():
            shutil.copyfile(settings, target)
    elif not target.exists():
        target.touch()  # without one, Dagster warns that it uses its defaults
