"""What the workers of an existing cluster get of the project; `project_here.py` finds it there.

The embedded Ray runs where the project lies. A cluster's machines have neither the author's nodes
nor, maybe, this package: both travel in the ``runtime_env`` of the connection.
"""

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayflow_dagster.compiler.registry import BUILTIN_ROOT
from rayflow_dagster.errors import ClusterError

from . import _ray
from .project_here import SHIPPED_MARK

if TYPE_CHECKING:
    from rayflow_dagster.project import Project

LARGEST_SHIPMENT = 100 * 2**20  # bytes before packing; the head keeps every shipment in memory
MOST_FILES = 10_000

# The worker runs on the driver's own version of these, whatever its image has; all are pure
# Python. fsspec stays away: file systems of the image (s3fs, gcsfs) go with the image's version.
_PACKAGES = ("rayflow_dagster", "cloudpickle", "tblib")

# Hidden files may hold secrets (.env), and what .gitignore names is not the project's.
_NOT_SHIPPED = (".?*", "__pycache__/", "*.pyc", "venv/", "node_modules/", "*.egg-info/")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive, which Ray then has already


@dataclass(frozen=True, slots=True)
class Shipment:
    """What to give a cluster's workers.

    ``folder`` is the project's, None where it has nothing that nodes need; ``runtime_env`` is
    what the project asks for, as Ray takes it.
    """

    folder: Path | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, project: "Project") -> "Shipment":
        """What the nodes of this project need: its own classes, and what it lets others reach."""
        has_nodes = any(root != BUILTIN_ROOT for root in project.registry.roots)
        has_reach = bool({"data", "local_requests"} & project.settings.model_fields_set)
        folder = project.root if has_nodes or has_reach else None
        return cls(folder, project.settings.runtime_env)

    def packed(self, archive: Path) -> dict[str, Any] | None:
        """The ``runtime_env`` of a connection; the project is packed into ``archive`` (.zip).

        None where this process is a job submitted to the cluster: it has its shipment already.

        Raises:
            ClusterError: there is too much to ship.
        """
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
            return None
        environment = dict(self.runtime_env)
        left_out = environment.pop("excludes", [])
        if self.folder is not None and "working_dir" not in environment:
            _pack(self.folder, (*_NOT_SHIPPED, *left_out), archive)
            environment["working_dir"] = str(archive)
        environment["py_modules"] = [*environment.get("py_modules", ()), *_packages()]
        environment["excludes"] = ["__pycache__/"]
        return environment


def _packages() -> list[str]:
    """The folders of the packages that travel."""
    return [
        place
        for name in _PACKAGES
        if (spec := find_spec(name)) is not None
        for place in spec.submodule_search_locations or ()
    ]


def _pack(folder: Path, left_out: Sequence[str], archive: Path) -> None:
    files: dict[Path, int] = {}
    for file in _ray.files_to_ship(folder, left_out):
        files[file] = file.stat().st_size
        if len(files) > MOST_FILES or sum(files.values()) > LARGEST_SHIPMENT:
            raise ClusterError(_too_much(folder, files))
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr(zipfile.ZipInfo(SHIPPED_MARK, _EPOCH), "")
        for file in sorted(files):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr = (file.stat().st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, file.read_bytes())


def _too_much(folder: Path, files: Mapping[Path, int]) -> str:
    largest = sorted(files, key=lambda file: -files[file])[:3]
    named = ", ".join(
        f"{file.relative_to(folder)} ({files[file] / 2**20:.1f} MB)" for file in largest
    )
    return (
        f"the project {folder} is too large to ship to the cluster's workers: more than "
        f"{LARGEST_SHIPMENT // 2**20} MB or {MOST_FILES} files. The largest seen: {named}. Name "
        "what nodes do not need in a file .rayignore there (written like .gitignore)"
    )
