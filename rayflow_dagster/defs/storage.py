"""Where the values of a run are stored, and how they are found again.

The ``HANDLED_OUTPUT`` event of an output says where its value is: a small plain value stands in
the event itself, as JSON, and costs no file; any other value is in a file that its actor wrote,
and the event has its path or URL. So a value is stored when its event is, and the run's process
never sees the bytes of a large one.
"""

import json
import os
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dagster import DagsterEventType, DagsterInstance, MetadataValue

from rayflow_dagster.timing import WORDS
from rayflow_dagster.values.stored import StoredValue, join, local_or_url, our_folder
from rayflow_dagster.values.storing import store_value

from ._dagster import run_database_url

if TYPE_CHECKING:
    from rayflow_dagster.variables.kept import KeptVariables

INLINE = "value"
"""Metadata of a small plain value: its JSON text."""
LOCATION = "stored at"
"""Metadata of any other value: the path or URL of its file."""
VARIABLES = "variables"
"""The folder with the variables of a run, as each step left them until a later one succeeded."""
KEPT_FILE = f"kept_{VARIABLES}.pkl"
"""What a run has read of the variables that are kept between runs."""


def values_root(instance: DagsterInstance, storage: str | None = None) -> str:
    """The folder or URL under which runs store their values; each has a folder of its id there.

    ``storage``: the flow's ``settings.storage``; without one, the instance's own storage folder.
    """
    if storage:
        return local_or_url(storage)
    return str(our_folder(instance.storage_directory()))


def kept_variables(instance: DagsterInstance, job: str, project: str) -> "KeptVariables":
    """The variables of a flow that are kept between runs: in an SQLite file beside the values, or
    in the database that the instance records its runs in.

    ``project``: its folder, since flows of several projects may have one name. Beside the SQLite
    file it is the way there, so that a project that has the file in it can be moved.

    Raises:
        StorageError: they cannot be kept in a database of that kind.
    """
    url = run_database_url(instance)
    if url is None:
        folder = our_folder(instance.storage_directory())
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'variables.db'}"
        project = os.path.relpath(project, folder.resolve())
    from rayflow_dagster.variables.kept import KeptVariables  # few flows have such

    return KeptVariables(url, job, project)


def step_folder(root: str, run_id: str, step_key: str) -> str:
    """Where the outputs of a step are stored."""
    return join(join(join(root, run_id), "steps"), step_key)


def inline_metadata(value: Any) -> dict[str, MetadataValue[Any]]:
    """How an event carries a value for which ``values.is_inline`` holds."""
    return {INLINE: MetadataValue.text(json.dumps(value))}


def location_metadata(location: str) -> dict[str, MetadataValue[Any]]:
    """How an event says where a value is."""
    return {LOCATION: MetadataValue.path(location)}


def stored(folder: str, name: str, value: Any) -> dict[str, MetadataValue[Any]]:
    """Store a value as ``name`` in a folder; how an event says where it is, and how long that took.

    Raises:
        OSError: the disk is full or not writable; no unfinished file is left behind.
    """
    asked = time.monotonic()
    location = store_value(folder, name, value)
    seconds = round(time.monotonic() - asked, 6)
    return {**location_metadata(location), WORDS["storing"]: MetadataValue.float(seconds)}


class StoredOutputs:
    """The outputs that a run has stored, as its events tell."""

    def __init__(self, instance: DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id

    def find(self, step_key: str, output: str) -> Any:
        """The value itself if it is a small plain one, else a ``StoredValue``.

        Raises:
            KeyError: the run stored no such output.
        """
        metadata = self._events[step_key, output]
        if INLINE in metadata:
            return json.loads(str(metadata[INLINE].value))
        return StoredValue(str(metadata[LOCATION].value))

    @cached_property
    def _events(self) -> Mapping[tuple[str, str], Mapping[str, MetadataValue[Any]]]:
        found: dict[tuple[str, str], Mapping[str, MetadataValue[Any]]] = {}
        for entry in self._instance.all_logs(self._run_id, of_type=DagsterEventType.HANDLED_OUTPUT):
            event = entry.dagster_event
            data: Any = event.event_specific_data if event else None
            if event and event.step_key and {INLINE, LOCATION} & data.metadata.keys():
                found[event.step_key, data.output_name] = data.metadata
        return found
