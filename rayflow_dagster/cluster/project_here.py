"""Where a worker finds the project: at its own place, or where Ray unpacked what was shipped."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rayflow_dagster.compiler.registry import NodeRoot

SHIPPED_MARK = ".rayflow-project"
"""An empty file at the top of every shipped project."""


def found_here(
    folder: str | None, roots: Sequence[NodeRoot], host: str
) -> tuple[str | None, tuple[NodeRoot, ...]]:
    """The project's folder and node roots as this worker has them.

    Called in a worker before it changes its working folder. ``folder``, ``roots`` and ``host``
    are the driver's. On the driver's machine the project itself is used, so that what a node
    writes lands there; elsewhere what was shipped, which Ray unpacks into the working folder.
    """
    here = Path.cwd()
    if folder is None or (host == os.uname().nodename and Path(folder).is_dir()):
        return folder, tuple(roots)
    if not (here / SHIPPED_MARK).is_file() and Path(folder).is_dir():
        return folder, tuple(roots)  # nothing was shipped, as every machine has the project
    moved = tuple(
        replace(root, path=here / root.path.relative_to(folder))
        if root.path.is_relative_to(folder)
        else root
        for root in roots
    )
    return str(here), moved
