"""Flow JSON in, canonical ``FlowData`` out: the only module that knows editors' spellings.

Two steps. ``read_flow`` turns bytes into a Python dict and refuses what is not JSON as RFC 8259
has it. ``canonicalize`` checks the form (nodes, edges, ids) and rewrites every spelling into
the canonical one; doing it twice changes nothing.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from rayflow_dagster.errors import FlowFormatError
from rayflow_dagster.types import FlowData, NodeMetadata

from .dialect import (
    canonical_edges,
    canonical_node,
    canonical_variables,
    lift_export,
    set_decoration_apart,
)
from .flow_form import check_form, check_json
from .json_values import MAX_DEPTH, parse_problem
from .registry import BUILTIN_ROOT, NodeRegistry

MAX_BYTES = 20 * 1024 * 1024
_BRACKETS = re.compile(r"[][{}]")

MetadataLookup = Callable[[str], NodeMetadata | None]


def read_flow(file: Path) -> dict[str, Any]:
    """The raw flow in ``file``.

    Raises:
        FlowFormatError: the file is missing, too large, or not a JSON object.
    """
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise FlowFormatError(_too_large(size), str(file))
        return parse_flow(file.read_bytes(), str(file))
    except OSError as error:
        raise FlowFormatError(f"cannot be read: {error.strerror}", str(file)) from None


def parse_flow(text: str | bytes, source: str | None = None) -> dict[str, Any]:
    """The raw flow in ``text`` (UTF-8 when bytes). ``source`` names it in messages.

    Raises:
        FlowFormatError: not UTF-8, not JSON, NaN or Infinity, a repeated key, nested deeper than
            100 levels, larger than 20 MiB, or not an object.
    """
    if len(text) > MAX_BYTES:
        raise FlowFormatError(_too_large(len(text)), source)
    decoded = _decode(text, source)
    if _depth(decoded) > MAX_DEPTH:
        reason = f"it is nested deeper than {MAX_DEPTH} levels; no drawn flow needs that"
        raise FlowFormatError(reason, source)
    try:
        flow = json.loads(
            decoded, object_pairs_hook=_refuse_repeated_keys, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        raise FlowFormatError(f"it is not JSON: {parse_problem(error)}", source) from None
    except ValueError as error:
        raise FlowFormatError(f"it is not JSON: {error}", source) from None
    if not isinstance(flow, dict):
        kind = type(flow).__name__
        reason = f'a flow is a JSON object with "nodes" and "edges", not a {kind}'
        raise FlowFormatError(reason, source)
    return flow


def canonicalize(
    flow: Mapping[str, Any],
    registry: NodeRegistry | None = None,
    lookup: MetadataLookup | None = None,
) -> FlowData:
    """The canonical form of a flow in any spelling; ``flow`` itself is not changed.

    Args:
        flow: a raw or canonical flow.
        registry: the node classes that spellings are resolved against; the built-ins by default.
        lookup: metadata by class path; ``registry`` by default.

    Raises:
        FlowFormatError: ``flow`` is not JSON, or its form is broken (``nodes`` is no list, an id
            is no text, ...).
    """
    registry = registry or NodeRegistry((BUILTIN_ROOT,))
    check_json(flow)
    lifted = lift_export(flow)
    check_form(lifted)
    drawn = set_decoration_apart(lifted)
    nodes = [canonical_node(node, registry) for node in drawn["nodes"]]
    canonical: dict[str, Any] = {**drawn, "nodes": nodes}
    variables = canonical_variables(lifted.get("variables"), nodes)
    if variables is not None:
        canonical["variables"] = variables
    canonical["edges"] = canonical_edges(
        lifted.get("edges") or [], nodes, lookup or registry.metadata
    )
    return cast(FlowData, canonical)


def canonical_bytes(flow: FlowData) -> bytes:
    """The flow as UTF-8 JSON with sorted keys: equal flows have equal bytes."""
    return json.dumps(flow, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def flow_hash(flow: FlowData) -> str:
    """SHA-256 of ``canonical_bytes``, in hex."""
    return hashlib.sha256(canonical_bytes(flow)).hexdigest()


def _too_large(size: int) -> str:
    return f"it has {size:,} bytes; a flow file may have {MAX_BYTES:,}. Keep data out of the flow"


def _decode(text: str | bytes, source: str | None) -> str:
    try:
        return text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x})"
        raise FlowFormatError(f"{reason}; save it as UTF-8", source) from None


def _depth(text: str) -> int:
    """The nesting of a JSON text, counted without recursion (the parser recurses)."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall("".join(_split_strings(text)[::2])):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _split_strings(text: str) -> list[str]:
    """``text`` cut at its quotes: every second piece is the inside of a string."""
    # Escaped backslashes first, so that an escaped quote is told from a closing one.
    return text.replace("\\\\", "").replace('\\"', "").split('"')


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {repeated[:80]!r} stands twice in one object")
    return found


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON value; use null or a number")
