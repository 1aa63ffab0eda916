"""What became of a run and of its nodes, whichever way it ran."""

import logging
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import dropwhile
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, Protocol

import rayflow_dagster
from rayflow_dagster.compiler.flat import flat
from rayflow_dagster.timing import WORDS
from rayflow_dagster.types import ExecutionGraph, is_open, nodes_behind

_OURS = str(Path(rayflow_dagster.__file__).parent)
_DAGSTER = find_spec("dagster")  # which a direct run does not import
_INNER = (_OURS, *(_DAGSTER.submodule_search_locations or () if _DAGSTER else ()))
_NODES = f"{_OURS}/nodes/"
_INSTALLED = (_OURS, *(sysconfig.get_paths()[each] for each in ("stdlib", "purelib", "platlib")))
_FRAMES = re.compile(r'^(?=\s*File ")', re.MULTILINE)

Status = Literal["completed", "skipped", "failed", "stopped", "pending"]
"""``stopped``: it ran when the run was stopped."""

RAN: tuple[Status, ...] = ("completed", "failed", "stopped")
STOPPED_TEXT = "the run was stopped"


@dataclass(slots=True)
class Fault:
    """Why a node failed. ``text`` is the node's own exception, type first; of one that stands in a
    body, with its place before it.
    """

    text: str
    inputs: Mapping[str, str] | str = ""
    """Previews of the node's inputs: by name, or as lines."""
    traceback: str = ""

    def input_lines(self) -> str:
        """The previews, one input a line."""
        if isinstance(self.inputs, str):
            return self.inputs
        return "\n".join(f"{name} = {shown}" for name, shown in self.inputs.items())

    def as_dict(self) -> dict[str, str]:
        """Its JSON form."""
        return {"error": self.text, "traceback": self.traceback}


@dataclass(slots=True)
class NodeReport:
    """One node. ``seconds`` is the time in its own code where that is known, else the step's.

    ``duration`` is that of its last attempt, and ``times`` are the parts that are known of it.
    """

    id: str
    label: str
    status: Status = "pending"
    seconds: float | None = None
    fired: list[str] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    """(level name, message) of each record of ``self.log``."""
    printed: str = ""
    fault: Fault | None = None
    handled: Fault | None = None
    """Why it failed, where its ``error`` output has taken that; or of a loop, a group or a call the
    last failure that was handled in its body.
    """
    is_return: bool = False
    behind: list[str] = field(default_factory=list)
    """Of a node that has failed: the labels of those behind it that did not run."""
    attempts: int = 0
    duration: float | None = None
    times: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "id": self.id,
            "label": self.label,
            "status": self.status,
            "attempts": self.attempts,
            "seconds": self.seconds,
            "duration": self.duration,
            "times": {name: self.times.get(name, 0.0) for name in WORDS} if self.times else None,
            "handled": self.handled and self.handled.as_dict(),
        }


@dataclass(slots=True)
class RunReport:
    """A run that is over. ``nodes`` are in the flow's order."""

    nodes: list[NodeReport] = field(default_factory=list)
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    findings: list[str] = field(default_factory=list)
    """What is wrong with the flow or its inputs, where that keeps it from running."""
    execution_time: float = 0.0
    run_id: str | None = None
    stopped: bool = False
    home: str = ""
    """DAGSTER_HOME of a recorded run."""

    @property
    def success(self) -> bool:
        return self.error is None and not self.stopped

    @property
    def returned(self) -> str | None:
        """The id of the RETURN that was reached."""
        reached = (node.id for node in self.of("completed") if node.is_return)
        return next(reached, None)

    def of(self, *statuses: Status) -> list[NodeReport]:
        """The nodes that came to one of ``statuses``."""
        return [node for node in self.nodes if node.status in statuses]

    def as_dict(self) -> dict[str, Any]:
        """The command's JSON form."""
        return {
            "success": self.success,
            "result": dict(self.result),
            "return": self.returned,
            "error": self.error,
            "findings": self.findings,
            "execution_time": round(self.execution_time, 6),
            "nodes_executed": len(self.of(*RAN)),
            "run_id": self.run_id,
            "nodes": [node.as_dict() for node in self.nodes],
        }


def note_behind(nodes: Mapping[str, NodeReport], graph: ExecutionGraph) -> None:
    """Note at each node that has failed what did not run behind it."""
    known = flat(graph)
    for node in nodes.values():
        if node.status == "failed":
            behind = (nodes[each] for each in nodes_behind(known, node.id) if each in nodes)
            node.behind = [each.label for each in behind if each.status not in RAN]


def own_frames(frames: Iterable[str]) -> str:
    """A traceback from the author's first frame on; "" where there is none."""
    return "".join(dropwhile(_is_inner, frames))


def last_frame(traceback: str) -> str:
    """The last frame of a traceback that is in a file of the project; "" where none is."""
    frames = (frame for frame in _FRAMES.split(traceback) if frame.strip())
    own = [frame for frame in frames if not any(each in frame for each in _INSTALLED)]
    return dedent(own[-1]) if own else ""


def _is_inner(frame: str) -> bool:
    return any(f'File "{folder}' in frame for folder in _INNER) and _NODES not in frame


class Watcher(Protocol):
    """Is told what happens while a flow runs."""

    def started(self, node: NodeReport) -> None:
        """A node starts."""

    def retrying(self, node: NodeReport, reason: str) -> None:
        """A node failed and is going to run again."""

    def settled(self, node: NodeReport) -> None:
        """A node completed, failed or was skipped."""

    def logged(self, node: NodeReport) -> None:
        """A node that runs on has more log records."""

    def progressed(self, node: NodeReport, text: str, share: float | None) -> None:
        """A node tells how far it has come; ``share`` is from 0 to 1, where it is known."""

    def printed(self, node: NodeReport, text: str) -> None:
        """What a node printed became known, while it runs on or after it had settled."""


class Runner(Protocol):
    """A loaded flow, and one way to run it."""

    graph: ExecutionGraph

    def run(self, inputs: Mapping[str, Any], watcher: Watcher) -> RunReport:
        """Run the flow to its end."""


def node_reports(graph: ExecutionGraph) -> dict[str, NodeReport]:
    """A report per node, in the flow's order, before anything ran. The nodes of a flow that is
    called openly are nodes of the run, and come before the call.
    """
    returns = set(graph["return_nodes"])
    labels = dict(_labels(graph))
    return {
        node_id: NodeReport(node_id, labels[node_id], is_return=node_id in returns)
        for node_id in flat(graph)["execution_order"]
    }


def _labels(graph: ExecutionGraph, call: str = "", around: str = "") -> Iterator[tuple[str, str]]:
    """Node id -> label, behind those of the calls that the node is in."""
    for node_id, node in graph["nodes"].items():
        label = around + (node.get("label") or node_id.removeprefix(call))
        yield node_id, label
        if is_open(node):
            yield from _labels(node["body"], f"{node_id}.", f"{label}.")


def level_name(level: int) -> str:
    """The name of a log level; INFO for a level without one."""
    name = logging.getLevelName(level)
    return name if name.isupper() else "INFO"
