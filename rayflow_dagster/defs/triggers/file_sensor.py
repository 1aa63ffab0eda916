"""The sensor of files that arrive."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from dagster import SensorEvaluationContext

from rayflow_dagster.arriving_files import FoundFile, Listings, Pattern, begun_of, new_files
from rayflow_dagster.compiler.starts.triggers import FileSensor

from .sensors import Look, Looking, beginning
from .starts import Start, Target, filled

MAX_BATCH = 1000
"""Files of one run; more come in the next."""
MAX_AGE = 15.0
"""Seconds that a listing may be old: the sensors of many flows are looked at one after another."""

LISTINGS = Listings()
"""Shared by all sensors of this process."""


def file_look(target: Target, sensor: FileSensor) -> Looking:
    """How a sensor of files looks. Its first look takes what lies there already."""
    pattern = Pattern.of(sensor.path, target.root)
    max_age = min(MAX_AGE, sensor.interval / 2)
    most = MAX_BATCH if sensor.batch else sensor.max_per_tick

    def look(context: SensorEvaluationContext) -> Look:
        files, began = LISTINGS.files(pattern, max_age)
        settle, begun = sensor.settle, beginning(context)
        found, cursor = new_files(
            files, context.cursor, settle=settle, now=began, most=most, begun=begun
        )
        starts = _batch(sensor, found) if sensor.batch else [_one(sensor, file) for file in found]
        starts = [replace(start, key=f"{start.key}{begun_of(cursor)}") for start in starts]
        return Look(starts, cursor, f"no new files match {sensor.path}")

    return look


def _one(sensor: FileSensor, file: FoundFile) -> Start:
    what = f"file {file.path}"
    return Start(filled(sensor.inputs, {"file": _shown(file)}, what), file.key, what)


def _batch(sensor: FileSensor, files: Sequence[FoundFile]) -> list[Start]:
    if not files:
        return []
    what = f"{len(files)} files that match {sensor.path}"
    known = {"files": [_shown(file) for file in files], "paths": [file.path for file in files]}
    key = hashlib.sha256("\n".join(file.key for file in files).encode()).hexdigest()[:32]
    return [Start(filled(sensor.inputs, known, what), key, what)]


def _shown(file: FoundFile) -> dict[str, object]:
    return {"path": file.path, "name": file.name, "size": file.size, "mtime": file.mtime}
