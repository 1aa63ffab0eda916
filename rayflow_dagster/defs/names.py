"""Flow names <-> Dagster names, both ways, collisions refused.

Dagster takes letters, digits and ``_``, and refuses Python's keywords and a few words of its own.
Flows know any id, label and port name.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rayflow_dagster.errors import NameCollisionError
from rayflow_dagster.types import ERROR_PORT, EXEC_OUT, ExecutionGraph, GraphNode, is_open

from ._dagster import DISALLOWED_NAMES

EXEC_INPUT = "exec_in"
AFTER_INPUT = "exec_after"
"""What a step waits for without a wire."""
ABSENT = "absent"
RESULT = "result"
SESSION = "rayflow"
"""The resource key that ops find their run's session under."""
MAX_LENGTH = 100
PROJECT_TAG = "rayflow/project"
"""The folder of the project whose flow a run is of: flows of several may have one name."""
ENDS_TAG = "rayflow/ends"
"""The runs, by id, that are ended when the run that has the tag is submitted."""


@lru_cache(maxsize=4096)
def legal_name(text: str) -> str:
    """``text`` made a legal Dagster name; empty when nothing legal is left of it.

    Accents are dropped, every other run of illegal characters becomes one ``_``, and a reserved
    word gets a trailing ``_``.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")
    if len(name) > MAX_LENGTH:
        name = f"{name[:MAX_LENGTH]}_{_digest(text)}"
    return f"{name}_" if name in DISALLOWED_NAMES else name


def flow_name(text: str) -> str:
    """The name of the job of a flow called ``text``; ``flow`` for one that is called nothing.

    Where letters or digits have no likeness in ASCII, the name carries a digest of the whole, the
    same for every way to compose its accents: ``отчёт 7`` is ``7_`` and six digits, ``数据`` is
    ``flow_`` and six digits.
    """
    whole = unicodedata.normalize("NFC", text)
    legal = legal_name(whole)
    plain = unicodedata.normalize("NFKD", whole)
    if whole and (not legal or any(c.isalnum() and not c.isascii() for c in plain)):
        return f"{legal or 'flow'}_{_digest(whole)}"
    return legal or "flow"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:6]


def _name_of_id(node_id: str) -> str:
    legal = legal_name(node_id)
    if legal in (node_id, f"{node_id}_"):  # legal as it is, or but for being a reserved word
        return legal
    # Two ids may become one name ("a-b", "a_b"), so an id that had to change carries its digest.
    return f"{legal or 'node'}_{_digest(node_id)}"


@dataclass(frozen=True)
class StepNames:
    """What the steps of a flow are called.

    ``aliases``: node id -> its name among the nodes of its flow; that of an open call is of the
    nested graph. ``keys``: node id -> step key, which has the names of the nested graphs that the
    step is in before its own; that of an open call is of its last step.
    """

    aliases: Mapping[str, str]
    keys: Mapping[str, str]

    @classmethod
    def of(cls, graph: ExecutionGraph, prefix: str = "", path: str = "") -> "StepNames":
        """The names; ``prefix`` begins the ids of the flow's nodes, and ``path`` their keys.

        Raises:
            NameCollisionError: two nodes claim one name after all.
        """
        aliases = _aliases(graph, prefix)
        keys = {node_id: f"{path}{alias}" for node_id, alias in aliases.items()}
        found = cls(dict(aliases), dict(keys))
        for node_id, node in graph["nodes"].items():
            if is_open(node):
                inner = cls.of(node["body"], f"{node_id}.", f"{keys[node_id]}.")
                found = cls({**found.aliases, **inner.aliases}, {**found.keys, **inner.keys})
                last = f"{keys[node_id]}.{last_name(inner.aliases.values())}"
                found = cls(found.aliases, {**found.keys, node_id: last})
        return found


def last_name(taken: Iterable[str]) -> str:
    """What the last step of an open call is called, beside those of the flow."""
    used = {name.casefold() for name in taken}
    name = "Returned"
    while name.casefold() in used:
        name += "_"
    return name


def _aliases(graph: ExecutionGraph, prefix: str) -> dict[str, str]:
    """Node id -> name: the label made legal, else the id; clashing labels get their ids."""
    own = {node_id: node_id.removeprefix(prefix) for node_id in graph["nodes"]}
    labels = {id_: legal_name(node.get("label", "")) for id_, node in graph["nodes"].items()}
    # What a node without a label falls back to is taken as well.
    wanted = {id_: label or _name_of_id(own[id_]) for id_, label in labels.items()}
    uses = Counter(name.casefold() for name in wanted.values())
    aliases: dict[str, str] = {}
    for node_id, label in labels.items():
        clashes = label and uses[label.casefold()] > 1
        aliases[node_id] = f"{label}_{_name_of_id(own[node_id])}" if clashes else wanted[node_id]
    _refuse_collisions(aliases)
    return aliases


def _refuse_collisions(names: Mapping[str, str]) -> None:
    claims: dict[str, list[str]] = {}
    for claimant, name in names.items():
        claims.setdefault(name, []).append(f"'{claimant}'")
    clashing = {name: who for name, who in claims.items() if len(who) > 1}
    if clashing:
        raise NameCollisionError(clashing)


@dataclass(frozen=True, slots=True)
class PortNames:
    """The Dagster names of one node's ports."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    exec_outputs: Mapping[str, str]


def port_names(node: GraphNode) -> PortNames:
    """Dagster names of a node's ports.

    Raises:
        NameCollisionError: two ports claim one name.
    """
    metadata = node["metadata"]
    error = (ERROR_PORT,) if node.get("handles_error") else ()
    return _port_names(
        tuple(metadata["inputs"]),
        (*metadata["outputs"], *error),
        (*metadata.get("exec_outputs", ()), *error),
    )


@lru_cache(maxsize=1024)
def _port_names(
    data_inputs: tuple[str, ...], data_ports: tuple[str, ...], exec_ports: tuple[str, ...]
) -> PortNames:
    exec_names = _exec_names(exec_ports)
    taken = {*exec_names.values(), ABSENT}
    outputs = _port_table(data_ports, taken)
    inputs = _port_table(data_inputs, {EXEC_INPUT, AFTER_INPUT})
    _refuse_collisions({**{f"output {k}": v for k, v in outputs.items()},
                        **{f"exec {k}": v for k, v in exec_names.items()}})  # fmt: skip
    _refuse_collisions(inputs)
    return PortNames(inputs, outputs, exec_names)


def _exec_names(ports: Iterable[str]) -> dict[str, str]:
    """The names of exec outputs; those of which several would be one carry their digests."""
    names = {port: exec_output_name(port) for port in ports}
    uses = Counter(names.values())
    return {
        port: name if uses[name] == 1 or name == f"exec_{port}" else f"{name}_{_digest(port)}"
        for port, name in names.items()
    }


def exec_output_name(port: str) -> str:
    """``exec_out`` stays; every other exec output gets the prefix, so that ``error`` can be both
    an exec and a data output.
    """
    return EXEC_OUT if port == EXEC_OUT else f"exec_{re.sub(r'[^A-Za-z0-9_]', '_', port)}"


def _port_table(ports: Iterable[str], taken: set[str]) -> dict[str, str]:
    wanted = {port: legal_name(port) or _name_of_id(port) for port in ports}
    uses = Counter(wanted.values())
    table = {}
    for port, name in wanted.items():
        own = _name_of_id(port) if uses[name] > 1 else name
        table[port] = f"{own}_" if own in taken else own
    return table
