"""What crosses between nodes: the same in this process and on Ray."""

from collections import OrderedDict
from typing import Any

import pytest
from drawing import draw, node
from running import PROJECT, execute

from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

OWN = "odd_nodes.crossing."
READ_ONLY = "Node change failed: ValueError: assignment destination is read-only"
NOT_SENT = "Node make failed: RuntimeError: an output (value) could not be sent"
NOT_READ = (
    "Node change failed: RuntimeError: an input (value) could not be read from another process"
)

BESIDE: dict[str, tuple[str, str]] = {
    "list": ("[1]", "[1, 2]"),
    "dict": ("{'a': 1}", "{'a': 1, 'b': 2}"),
    "set": ("{1}", "{1, 2}"),
    "bag": ("[1]", "[1, 2]"),
    "ordered": (repr(OrderedDict(a=1)), repr(OrderedDict(a=1, b=2))),
    "long list": (repr([1] * 5000)[:40],) * 2,
    "array of objects": ("array([None, 1], dtype=object)", "array([7, 1], dtype=object)"),
    "function": ("a function", "a function"),
    "huge number": (repr(2**100),) * 2,
}
"""What a node made -> what a node beside sees of it, and what is behind the one that changes it."""

REFUSED = {
    "array": READ_ONLY,
    "large array": READ_ONLY,
    "array in a dict": READ_ONLY,
    "array in a tuple": READ_ONLY,
    "generator": NOT_SENT,
    "lock": NOT_SENT,
    "coroutine": NOT_SENT,
    "file": NOT_SENT,
    "loop": NOT_SENT,
    "bomb": NOT_READ,
}


@pytest.fixture(params=["in process", pytest.param("ray", marks=pytest.mark.ray)])
def orchestrator(request: pytest.FixtureRequest) -> FlowOrchestrator:
    if request.param == "in process":
        return FlowOrchestrator(PROJECT, connect=in_process)
    request.getfixturevalue("ray_session")
    return FlowOrchestrator(PROJECT)


def changing(*whats: str) -> dict[str, Any]:
    """For each: ``make_i`` makes it, ``change_i`` changes it, and two others tell of it:
    ``beside_i`` of what was made, ``behind_i`` of what was changed.
    """
    nodes = {"start": node("start"), "return": node("return")}
    wires = []
    for at, what in enumerate(whats):
        nodes |= {
            f"make_{at}": node(f"{OWN}MakeNode", values={"WHAT": what}),
            f"change_{at}": node(f"{OWN}ChangeNode"),
            f"beside_{at}": node(f"{OWN}TellNode"),
            f"behind_{at}": node(f"{OWN}TellNode"),
        }
        wires.append(
            f"start > make_{at}, make_{at} > change_{at}, change_{at} > beside_{at},"
            f"beside_{at} > behind_{at}, behind_{at} > return,"
            f"make_{at}.value - change_{at}.value, make_{at}.value - beside_{at}.value,"
            f"change_{at}.value - behind_{at}.value, change_{at}.constant - return.constant_{at},"
            f"beside_{at}.text - return.beside_{at}, behind_{at}.text - return.behind_{at}"
        )
    return draw(nodes, ",".join(wires)) | {"on_error": "continue"}


def test_a_node_changes_its_own_copy(orchestrator):
    outcome = execute(orchestrator, changing(*BESIDE))
    for at, told in enumerate(BESIDE.values()):
        expected = {f"beside_{at}": told[0], f"behind_{at}": told[1], f"constant_{at}": [1]}
        assert outcome["result"] | expected == outcome["result"], outcome["error"]


def test_what_cannot_cross_is_refused(orchestrator):
    outcome = execute(orchestrator, changing(*REFUSED))
    assert not outcome["success"]
    for at, text in enumerate(REFUSED.values()):
        assert text.replace(" failed", f"_{at} failed", 1) in outcome["error"], outcome["error"]
