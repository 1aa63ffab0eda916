"""The flows of a folder as they were loaded in, a text that travels with their runs out, and back.

Dagster stores the text with the plan of each run, so that a run's process, on whatever machine and
in whatever folder it is, has the flows that its code location had.
"""

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from rayflow_dagster.errors import ProjectError

from ._dagster import freeze, frozen_texts

MAX_BYTES = 8_000_000
"""How long the text of a folder may be: Dagster sends and stores it with every plan."""
_PREFIX = "rayflow/"
_BYTES = "surrogateescape"
"""A file that cannot be read as UTF-8 travels, too: what is wrong with it is told where it runs."""


@dataclass(frozen=True, slots=True)
class FrozenFlow:
    """A flow file as it was loaded. ``job``: the name that its job got; ``findings``: why it cannot
    run, or None.
    """

    job: str
    file: Path
    content: bytes
    findings: list[str] | None


def freeze_flows(folder: Path, flows: Iterable[FrozenFlow]) -> None:
    """Have ``frozen_flows`` give these wherever this load is reconstructed.

    Raises:
        ProjectError: they are too large to travel.
    """
    rows = [
        (flow.job, flow.file.name, flow.content.decode("utf-8", _BYTES), flow.findings)
        for flow in flows
    ]
    text = base64.b64encode(zlib.compress(json.dumps(rows).encode())).decode()
    if len(text) > MAX_BYTES:
        raise ProjectError(
            f"the {len(rows)} flows in {folder} take {len(text):,} bytes compressed, and at most "
            f"{MAX_BYTES:,} travel with each of their runs; keep data out of the flows, or move "
            "some to another folder with a code location of its own"
        )
    freeze(f"{_PREFIX}{folder}", text)


def frozen_flows(folder: Path) -> list[FrozenFlow] | None:
    """The flows of ``folder`` as its code location loaded them; None while it loads for the first
    time.

    On another machine the folder may be at another place: of those that were loaded, it is the one
    whose path ends as ``folder`` does, in as many parts as possible.
    """
    texts = {Path(key.removeprefix(_PREFIX)): text for key, text in frozen_texts(_PREFIX).items()}
    nearest = max(texts, key=lambda loaded: _common_end(loaded, folder), default=None)
    if nearest is None or not _common_end(nearest, folder):
        return None
    rows = json.loads(zlib.decompress(base64.b64decode(texts[nearest])))
    return [
        FrozenFlow(job, folder / file, content.encode("utf-8", _BYTES), findings)
        for job, file, content, findings in rows
    ]


def _common_end(one: Path, other: Path) -> int:
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
