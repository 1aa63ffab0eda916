"""What Dagster last knew of each flow of a folder, in a file of ``DAGSTER_HOME``.

A flow that cannot run at the moment keeps its job's name, partitions, triggers and assets from
here: Dagster ends the backfill of a job that has no partitions any more, and forgets in time
whether a trigger that is gone was switched on.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dagster import PartitionsDefinition
from pydantic import TypeAdapter

from rayflow_dagster.compiler.starts.assets import DeclaredAsset
from rayflow_dagster.compiler.starts.triggers import Triggers
from rayflow_dagster.values.stored import our_folder_at, write_whole

from .compiled import CompiledFlow
from .names import flow_name
from .partitions import partitions_definition

_log = logging.getLogger("rayflow_dagster")


@dataclass(frozen=True)
class LastForm:
    """A flow as Dagster last knew it. ``job``: its job's name."""

    job: str
    triggers: Triggers = field(default_factory=Triggers)
    assets: tuple[DeclaredAsset, ...] = ()

    @classmethod
    def of(cls, flow: CompiledFlow) -> "LastForm":
        """The form of a flow that can run."""
        return cls(flow_name(flow.name), flow.triggers, flow.assets)

    @property
    def name(self) -> str:
        """The flow's name, as its job has it."""
        return self.job

    @cached_property
    def partitions(self) -> PartitionsDefinition[str] | None:
        """Dagster's definition of the parts."""
        declared = self.triggers.partitions
        return None if declared is None else partitions_definition(declared, self.job)


_FORMS = TypeAdapter(dict[str, LastForm])


def last_forms(folder: Path) -> dict[str, LastForm]:
    """The forms of the flows in ``folder``, by file name; those that can be read."""
    with contextlib.suppress(OSError, ValueError):
        return _FORMS.validate_json(_file(folder).read_bytes())
    return {}


def save_forms(folder: Path, forms: Mapping[str, LastForm], files: Iterable[str]) -> None:
    """Keep the forms of those ``files`` that are there. They are a help: where they cannot be
    written, that is logged.
    """
    kept = {name: forms[name] for name in files if name in forms}
    content = _FORMS.dump_json(kept)
    file = _file(folder)
    try:
        if not file.is_file() or file.read_bytes() != content:
            write_whole(file, content)
    except OSError as error:
        _log.warning("%s cannot be written: %s", file, error)


def _file(folder: Path) -> Path:
    digest = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()
    home = os.environ.get("DAGSTER_HOME")
    place = our_folder_at(Path(home)) if home else _without_home()
    return place / "forms" / f"{digest}.json"


def _without_home() -> Path:
    return Path(tempfile.gettempdir()) / f"rayflow-{os.getuid()}"
