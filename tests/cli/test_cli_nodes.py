"""``rayflow-dagster nodes``."""

import json
from pathlib import Path
from typing import Any


def nodes_of(typed) -> dict[str, Any]:
    return {node["type"]: node for node in json.loads(typed("nodes", "--json").stdout)["nodes"]}


def package_with(folder: Path, source: str) -> None:
    (folder / "nodes").mkdir()
    (folder / "nodes" / "__init__.py").touch()
    (folder / "nodes" / "bad.py").write_text(source)


def test_every_node_is_listed_with_ports_constants_and_file(typed, project: Path):
    nodes = nodes_of(typed)

    add = nodes["math.add"]
    assert add["class_path"] == "rayflow_dagster.nodes.math.add.AddNode"
    assert set(add["inputs"]) == {"x", "y"}
    assert add["origin"] == "built-in"
    assert add["file"].endswith("rayflow_dagster/nodes/math/add.py")
    assert nodes["logic.branch"]["exec_outputs"] == ["true", "false"]
    boom = nodes["flow_nodes.boom.BoomNode"]
    assert boom["origin"] == "project"
    assert set(boom["constants"]["MESSAGE"]) == {"type", "value"}


def test_defaults_stand_with_their_inputs(typed, project: Path):
    sleep = nodes_of(typed)["flow_nodes.sleep.SleepNode"]

    assert sleep["inputs"]["value"] == {"type": "any", "default": None}


def test_the_list_names_each_node_its_ports_and_its_file(typed, project: Path):
    result = typed("nodes")
    lines = result.output.splitlines()
    assert result.exit_code == 0
    boom = lines[lines.index("flow_nodes.boom.BoomNode") :][:6]

    assert "math.add" in lines
    assert any(line.startswith("  inputs    value: any") for line in boom)
    assert any(line.startswith("  constants MESSAGE = ") for line in boom)
    assert "  file      flow_nodes/boom.py" in boom


def test_a_region_is_listed_with_its_settings_and_what_its_body_reads_and_wires(
    typed, project: Path
):
    nodes = nodes_of(typed)
    loop, again = nodes["control.for_each"], nodes["control.while"]

    assert loop["inner_outputs"] == ["item", "index"]
    assert {"carry", "parallel", "on_item_error"} <= loop["settings"].keys()
    assert loop["settings"]["batch"]["description"] == "Gives the body lists of so many items."
    assert again["inner_inputs"] == {"again": {"type": "bool"}}
    assert (nodes["math.add"]["settings"], nodes["math.add"]["inner_inputs"]) == ({}, {})
    lines = typed("nodes").output.splitlines()
    shown = lines[lines.index("control.while") :][:7]
    assert "  body      again: bool" in shown
    assert "  settings  carry, interval, time_limit, max_iterations" in shown


def test_a_file_that_is_no_python_is_reported_and_the_others_are_listed(typed, empty_folder: Path):
    package_with(empty_folder, "class X(:\n")
    result = typed("nodes", "--json")
    document = json.loads(result.stdout)

    assert result.exit_code == 1
    assert any("nodes.bad" in problem for problem in document["problems"])
    assert any(node["type"] == "math.add" for node in document["nodes"])


def test_a_node_that_declares_its_ports_wrongly_is_reported(typed, empty_folder: Path):
    imported = "from rayflow_dagster import RayflowNode\n"
    package_with(empty_folder, f"{imported}class X(RayflowNode):\n    inputs = {{'a b': int}}\n")
    result = typed("nodes")
    output = result.output

    assert result.exit_code == 1
    assert "broken" in output
    assert "'a b'" in output
