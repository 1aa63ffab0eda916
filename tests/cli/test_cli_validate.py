"""``rayflow-dagster validate``."""

import json
from pathlib import Path

from cli_flows import flow_with_inputs, write_flow


def test_a_valid_flow_is_ok(typed, project: Path):
    result = typed("validate", "flows/linear.json")

    assert result.exit_code == 0
    assert result.output == "flows/linear.json: ok\n"


def test_a_flow_may_be_named_without_its_path(typed, project: Path):
    assert typed("validate", "linear").output == "flows/linear.json: ok\n"


def test_every_finding_is_printed_and_the_exit_code_is_1(typed, empty_folder: Path):
    flow = flow_with_inputs({"a": "int"})
    flow["nodes"].append({"id": "x", "type": "rayflow_dagster.nodes.math.add.AdNode"})
    flow["nodes"].append({"id": "y", "type": "start"})
    write_flow(empty_folder / "bad.json", flow)
    result = typed("validate", "bad.json")

    assert result.exit_code == 1
    assert "[node_class]" in result.output
    assert "did you mean" in result.output
    assert "START" in result.output


def test_warnings_alone_give_exit_code_0(typed, project: Path):
    result = typed("validate", "no_return_reached", "--json")
    (file,) = json.loads(result.output)["files"]

    assert {finding["severity"] for finding in file["findings"]} == {"warning"}
    assert result.exit_code == 0


def test_warnings_count_as_errors_where_that_is_asked_for(typed, project: Path):
    result = typed("validate", "no_return_reached", "linear", "--strict")
    assert result.exit_code == 1
    assert result.output.endswith("2 flows, 1 with findings\n")

    result = typed("validate", "no_return_reached", "linear", "--strict", "--json")
    document = json.loads(result.output)
    assert result.exit_code == 1
    assert (document["valid"], [file["valid"] for file in document["files"]]) == (
        False, [False, True],
    )  # fmt: skip
    assert document["files"][0]["findings"][0]["severity"] == "warning"

    assert typed("validate", "linear", "--strict").exit_code == 0


def test_the_json_form_has_every_finding_per_file(typed, empty_folder: Path):
    write_flow(empty_folder / "flows" / "good.json", flow_with_inputs({"a": "int"}))
    flow = flow_with_inputs({"a": "int"})
    flow["edges"].append({"id": "e", "source": "start", "target": "gone", "type": "exec"})
    write_flow(empty_folder / "flows" / "bad.json", flow)
    result = typed("validate", "flows", "--json")
    document = json.loads(result.stdout)

    assert result.exit_code == 1
    assert document["valid"] is False
    assert [file["file"] for file in document["files"]] == ["flows/bad.json", "flows/good.json"]
    bad, good = document["files"]
    assert (good["valid"], good["findings"]) == (True, [])
    keys = {"rule", "severity", "message", "node", "port", "edge"}
    assert all(set(finding) == keys for finding in bad["findings"])
    assert any(finding["edge"] == "e" for finding in bad["findings"])


def test_a_file_that_is_not_json_is_a_finding(typed, empty_folder: Path):
    (empty_folder / "bad.json").write_text('{"nodes": [')
    result = typed("validate", "bad.json")

    assert result.exit_code == 1
    assert "not JSON" in result.output


def test_two_files_of_one_name_are_both_told_of_each_other(typed, empty_folder: Path):
    for file in ("a", "b", "c"):
        flow = flow_with_inputs({"a": "int"}) | {"name": file if file == "c" else "Same"}
        write_flow(empty_folder / "flows" / f"{file}.json", flow)
    result = typed("validate", "flows", "--json")
    found = {
        file["file"]: [finding["rule"] for finding in file["findings"]]
        for file in json.loads(result.output)["files"]
    }

    assert found == {
        "flows/a.json": ["flow_name"],
        "flows/b.json": ["flow_name"],
        "flows/c.json": [],
    }
    assert result.exit_code == 1


def test_one_file_named_twice_is_checked_once(typed, project: Path):
    result = typed("validate", "flows/linear.json", "linear", "./flows/../flows/linear.json")

    assert result.output == "flows/linear.json: ok\n"


def test_a_flow_that_is_not_there_is_one_message(typed, project: Path):
    result = typed("validate", "linaer")

    assert result.exit_code == 1
    assert "did you mean 'linear'?" in result.output
    assert "Traceback" not in result.output


def test_a_folder_without_flows_is_one_message(typed, empty_folder: Path):
    result = typed("validate", ".")

    assert result.exit_code == 1
    assert "has no flow" in result.output


def test_escape_sequences_in_a_flow_do_not_reach_the_terminal(typed, empty_folder: Path):
    flow = flow_with_inputs({"a": "int"})
    flow["nodes"].append({"id": "x\x1b[31m", "type": "math.ad", "data": {"label": "\x1b]0;t\x07"}})
    write_flow(empty_folder / "bad.json", flow)

    assert "\x1b" not in typed("validate", "bad.json").output


def test_the_fixtures_are_valid_together(typed, project: Path):
    assert typed("validate", "flows").exit_code == 0
