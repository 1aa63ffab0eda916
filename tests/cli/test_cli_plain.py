"""No text of a flow, of a node or of a file steers the terminal."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from drawing import draw, node

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ODD = "x\x1b[31m\u202e\x9b2Jy"


@pytest.fixture
def odd_flow(project: Path) -> str:
    """The name of a flow in which every text is odd, and that is valid."""
    (project / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    flow: dict[str, Any] = draw(
        {
            "start": node("start", inputs={"count": {"type": "int", "description": ODD}}),
            "add": node("math.add", values={"x": 1}),
            "return": node("return"),
        },
        "start > add, add > return, start.count - add.y, add.result - return.sum",
        variables={ODD: {"type": "str", "default": ODD, "scope": "flow"}},
    )
    flow |= {"name": f"odd {ODD}", "description": ODD}
    for each in flow["nodes"]:
        each["data"] = {**each.get("data", {}), "label": f"{each['id']} {ODD}"}
    (project / "flows" / "odd.json").write_text(json.dumps(flow))
    wrong = {"name": f"wrong {ODD}", "nodes": [ODD]}
    (project / "flows" / f"wrong{ODD}.json").write_text(json.dumps(wrong))
    (project / "nodes").mkdir(exist_ok=True)
    (project / "nodes" / f"wrong{ODD}.py").write_text("class (")
    return "odd"


@pytest.mark.parametrize(
    "command",
    [
        ("validate", "flows"),
        ("validate", "flows", "--json"),
        ("graph", "odd"),
        ("graph", "odd", "--svg"),
        ("explain", "odd"),
        ("explain", "odd", "--json"),
        ("explain", "odd", ODD),
        ("nodes",),
        ("nodes", "--json"),
        ("variables", "odd"),
        ("variables", "odd", "--json"),
        ("variables", "odd", "set", "none", "1"),
        ("run", "odd"),
        ("run", "odd", "-i", f"{ODD}=1"),
        ("run", ODD),
        ("validate", f"flows/wrong{ODD}.json"),
        ("graph", f"flows/wrong{ODD}.json"),
        (ODD,),
        ("run", f"--{ODD}"),
    ],
)
def test_what_steers_a_terminal_is_shown_and_does_nothing(odd_flow, typed, command):
    printed = typed(*command).output
    assert printed
    assert not STEERING.findall(printed)


def test_json_says_what_the_flow_says(odd_flow, typed):
    found = json.loads(typed("variables", "odd", "--json").stdout)["variables"]
    assert (found[0]["name"], found[0]["value"]) == (ODD, ODD)
