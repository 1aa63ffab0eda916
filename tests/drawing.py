"""Drawing small flows in a line or two, for tests about one rule."""

from typing import Any

CLASSES = {
    name: f"flow_nodes.{name}.{''.join(part.capitalize() for part in name.split('_'))}Node"
    for name in (
        "identity",
        "add",
        "append",
        "boom",
        "fragile",
        "flaky",
        "sleep",
        "choose",
        "switch",
        "collect",
        "count_up",
        "constant",
        "own_error",
        "raises",
    )
}


def node(kind: str, **data: Any) -> dict[str, Any]:
    """A node of ``kind``: a name of ``flow_nodes``, or any spelling. Capitals and names of inputs
    go to ``constantValues`` through ``values``."""
    values = data.pop("values", None)
    if values is not None:
        data["constantValues"] = values
    return {"type": CLASSES.get(kind, kind), "data": data}


def draw(nodes: dict[str, Any], wires: str, **keys: Any) -> dict[str, Any]:
    """A flow. ``nodes``: id -> kind or ``node(...)``. ``wires``, separated by commas: ``a > b`` and
    ``a.true > b`` are exec edges, ``a.value - b.x`` is a data edge; their ids are e1, e2, ..."""
    drawn = [
        {"id": node_id, **(node(spec) if isinstance(spec, str) else spec)}
        for node_id, spec in nodes.items()
    ]
    texts = [text.split() for text in wires.split(",") if text.strip()]
    edges = [_edge(f"e{number}", *text) for number, text in enumerate(texts, start=1)]
    return {"nodes": drawn, "edges": edges, **keys}


def _edge(edge_id: str, source: str, arrow: str, target: str) -> dict[str, Any]:
    is_exec = arrow == ">"
    source_id, _, source_port = source.partition(".")
    target_id, _, target_port = target.partition(".")
    return {
        "id": edge_id,
        "source": source_id,
        "target": target_id,
        "sourceHandle": source_port or ("exec_out" if is_exec else ""),
        "targetHandle": target_port or ("exec_in" if is_exec else ""),
        "type": "exec" if is_exec else "any",
    }
