"""The project that flows and author's nodes belong to: its folder, node roots and settings.

Settings stand in ``[tool.rayflow_dagster]`` of the project's ``pyproject.toml``::

    [tool.rayflow_dagster]
    nodes = ["my_package.nodes"]     # packages beside pyproject.toml, besides "nodes"
    allow_runtime_env = false        # whether a flow may set Ray's runtime_env
    num_cpus = 4                     # CPU slots of the embedded Ray; by default all
    data = ["data", "out", "inbox"]  # the folders whose files a flow may read and write
    storages = ["s3://flows"]        # where flows may have values stored, by settings.storage
    local_requests = false           # whether a flow may send requests to this machine itself

    [tool.rayflow_dagster.settings]  # where a flow's own ``settings`` do not say
    durable = false
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic import ValidationError as PydanticError

from .compiler.callees import FlowFolder
from .compiler.findings import place_of
from .compiler.loader import NodeLoader, import_under
from .compiler.registry import NodeRegistry, NodeRoot
from .compiler.rules.options import settings_problems
from .compiler.validator import FlowValidator
from .encodable import encodable
from .errors import ProjectError
from .reach import DATA

DEFAULT_PACKAGE = "nodes"


class ProjectSettings(BaseModel):
    """``[tool.rayflow_dagster]``. Unknown keys are refused, so that a typo is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    nodes: list[str] = []
    allow_runtime_env: bool = False
    settings: dict[str, Any] = {}
    """Defaults for the ``settings`` of every flow."""
    runtime_env: dict[str, Any] = {}
    """What the workers of an existing cluster need besides the project, as Ray takes it."""
    num_cpus: int | None = Field(default=None, ge=1)
    """CPU slots of an embedded Ray that has to be started; None is all of the machine's."""
    data: list[str] = list(DATA)
    """The folders, in the project's where they are relative, whose files its flows may use."""
    storages: list[str] = []
    """The folders and URLs where its flows may have their values stored (``settings.storage``)."""
    local_requests: bool = False
    """Whether its flows may send requests to this machine and its link."""

    @field_validator("settings")
    @classmethod
    def _known_settings(cls, given: dict[str, Any]) -> dict[str, Any]:
        problems = settings_problems(given)
        if problems:
            raise ValueError("; ".join(problems))
        return given


@dataclass(frozen=True)
class Project:
    """A project folder. ``extra_packages`` are node packages named in code; ``called`` has the
    flows that its flows can call, by default those in its folder ``flows``.
    """

    root: Path
    extra_packages: Sequence[str] = ()
    settings: ProjectSettings = field(default_factory=ProjectSettings)
    called: FlowFolder | None = None

    @classmethod
    def at(cls, folder: Path, extra_packages: Sequence[str] = ()) -> "Project":
        """The project in ``folder``.

        Raises:
            ProjectError: ``pyproject.toml`` is not readable or its settings are wrong.
        """
        root = folder.resolve()
        return cls(root, tuple(extra_packages), _read_settings(root / "pyproject.toml"))

    @classmethod
    def around(cls, path: Path, extra_packages: Sequence[str] = ()) -> "Project":
        """The project that ``path`` (a flow file or a folder of them) lies in. Its flows call those
        that lie beside them.

        Raises:
            ProjectError: ``pyproject.toml`` is not readable or its settings are wrong.
        """
        project = cls.at(cls.root_around(path), extra_packages)
        folder = path.resolve() if path.is_dir() else path.resolve().parent
        if path.is_dir() and folder == project.root:
            return project
        return replace(project, called=FlowFolder(folder))

    @staticmethod
    def root_around(path: Path) -> Path:
        """The folder of that project: the nearest one upwards with a ``definitions.py``,
        ``pyproject.toml`` or ``nodes`` package; without any, ``path``'s own folder.
        """
        start = path.resolve()
        start = start if start.is_dir() else start.parent
        marks = ("definitions.py", "pyproject.toml", f"{DEFAULT_PACKAGE}/__init__.py")
        marked = (
            folder
            for folder in (start, *start.parents)
            if any((folder / mark).is_file() for mark in marks)
        )
        return next(marked, start)

    @property
    def tag(self) -> str:
        """What tells this project from others that share a ``DAGSTER_HOME``: its folder, as a
        run's tag can have it.
        """
        return encodable(str(self.root))

    @cached_property
    def registry(self) -> NodeRegistry:
        """The node classes that this project's flows may use."""
        packages = [DEFAULT_PACKAGE, *self.settings.nodes, *self.extra_packages]
        roots = [NodeRoot(name, self.root.joinpath(*name.split("."))) for name in packages]
        return NodeRegistry.of([root for root in roots if root.path.is_dir()])

    @cached_property
    def loader(self) -> NodeLoader:
        """Loads those classes; each is read once for all flows."""
        return NodeLoader(self.registry)

    def import_module(self, name: str) -> ModuleType:
        """Import a module from the project's folder.

        Raises:
            ImportError: there is none, or importing it fails.
        """
        package = name.partition(".")[0]
        return import_under(NodeRoot(package, self.root / package), name)

    def validator(self) -> FlowValidator:
        """A validator that knows this project's nodes and what it allows."""
        return FlowValidator(
            self.loader,
            settings=self.settings.settings,
            allow_runtime_env=self.settings.allow_runtime_env,
            storages=self.settings.storages,
            folder=self.root,
            flows=self.called or FlowFolder(self.root / "flows"),
        )


def _read_settings(file: Path) -> ProjectSettings:
    if not file.is_file():
        return ProjectSettings()
    try:
        document: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        tools = document.get("tool")
        table = tools.get("rayflow_dagster", {}) if isinstance(tools, dict) else {}
        return ProjectSettings.model_validate(table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{file} is not readable as TOML: {error}") from None
    except PydanticError as error:
        problems = "; ".join(f"{place_of(item['loc'])}: {item['msg']}" for item in error.errors())
        raise ProjectError(f"{file}, [tool.rayflow_dagster]: {problems}") from None
