"""``rayflow-dagster graph``."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from cli_flows import FIXTURE_FLOWS, flow_with_inputs, write_flow
from drawing import draw, node

from rayflow_dagster.cli.graph import escape
from rayflow_dagster.compiler.picture import Box, Picture, Wire
from rayflow_dagster.compiler.svg import ranks, to_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_exec_edges_are_solid_and_data_edges_dotted(typed, project: Path):
    lines = typed("graph", "linear").output.splitlines()

    assert lines[0] == "flowchart LR"
    assert "    n0 --> n1" in lines
    assert any(line.startswith('    n0 -.->|"') for line in lines)


def test_a_branch_names_its_exec_outputs(typed, project: Path):
    output = typed("graph", "branch_join").output

    assert '-->|"true"|' in output
    assert '-->|"false"|' in output


@pytest.mark.parametrize("name", FIXTURE_FLOWS)
def test_a_flow_is_drawn_both_ways(typed, project: Path, name):
    mermaid = typed("graph", name)
    svg = typed("graph", name, "--svg")

    assert (mermaid.exit_code, svg.exit_code) == (0, 0)
    boxes = ET.fromstring(svg.output).findall(f".//{SVG}g/{SVG}rect")
    assert len(boxes) == len(re.findall(r"^ +n\d+[(\[{]", mermaid.output, re.MULTILINE))


@pytest.mark.parametrize(
    "label",
    ['"]; click n0 "javascript:alert(1)"', "<script>alert(1)</script>", "a|b", "`x`", "%%{init}%%"],
)
def test_a_label_cannot_break_out_of_the_drawing(label):
    assert not set('"<>|`{}[];%') & set(re.sub(r"#\d+;", "", escape(label)))


@pytest.mark.parametrize("label", ["1. first", "- item", "+ more"])
def test_a_label_is_not_taken_for_a_list(label):
    assert re.match(r"\d*#\d+;", escape(label))


@pytest.mark.parametrize(
    "label", ["数える", "Δέλτα", "חישוב", "می‌خواهم", "نص", "🧮 sum", "a & b < c"]
)
def test_labels_of_any_script_are_kept(typed, empty_folder: Path, label):
    flow = flow_with_inputs({"a": "int"})
    flow["nodes"][0]["data"]["label"] = label
    write_flow(empty_folder / "f.json", flow)
    texts = [text.text for text in ET.fromstring(typed("graph", "f.json", "--svg").output).iter()]

    assert label in texts
    assert escape(label) in typed("graph", "f.json").output


def test_controls_and_half_characters_are_replaced(typed, empty_folder: Path):
    flow = flow_with_inputs({"a": "int"})
    flow["nodes"][0]["data"]["label"] = "a\x00b\x1b[1m\n\nc"
    write_flow(empty_folder / "f.json", flow)
    output = typed("graph", "f.json", "--svg").output

    ET.fromstring(output)
    assert "a\ufffdb\ufffd[1m c" in output


def test_a_flow_that_breaks_rules_is_drawn_all_the_same(typed, empty_folder: Path):
    flow = flow_with_inputs({"a": "int"})
    flow["nodes"].append({"id": "odd", "type": "no.such.Node"})
    flow["edges"].append({"source": "return", "target": "start", "type": "exec"})
    flow["edges"].append({"source": "odd", "target": "gone", "type": "exec"})
    write_flow(empty_folder / "f.json", flow)

    assert "missing" in typed("graph", "f.json").output
    ET.fromstring(typed("graph", "f.json", "--svg").output)


NESTED = draw(
    {
        "start": node("start", inputs={"xs": "list[list[int]]"}),
        "outer": node("control.for_each", label="Each row"),
        "inner": node(
            "control.for_each", label="Each cell", carry={"n": {"type": "int", "default": 0}}
        ),
        "one": "math.add",
        "after": "control.group",
        "last": node("debug.log", values={"value": 1}),
        "return": "return",
    },
    "start > outer, start.xs - outer.items, outer.body > inner, outer.item - inner.items,"
    "inner.body > one, inner.item - one.x, inner.n - one.y, one.result - inner.next.n,"
    "outer.done > after, after.body > last, after.done > return",
)


def test_a_body_is_a_subgraph_in_that_of_the_one_around_it(typed, empty_folder: Path):
    write_flow(empty_folder / "f.json", NESTED)
    lines = typed("graph", "f.json").output.splitlines()

    assert lines[1:15] == [
        '    n0(["Start<br/><small>start</small>"])',
        '    n1{"Each row<br/><small>for_each</small>"}',
        '    subgraph n1_body["Each row: body"]',
        '        n2{"Each cell<br/><small>for_each</small>"}',
        '        subgraph n2_body["Each cell: body"]',
        '            n3["Add<br/><small>add</small>"]',
        "        end",
        "    end",
        '    n4{"Group<br/><small>group</small>"}',
        '    subgraph n4_body["Group: body"]',
        '        n5["Log<br/><small>log</small>"]',
        "    end",
        '    n6(["Return<br/><small>return</small>"])',
        "    n0 --> n1",
    ]
    assert '    n3 -.->|"result \u2192 next.n"| n2' in lines


def test_a_body_has_a_frame_around_its_boxes_and_no_others(typed, empty_folder: Path):
    write_flow(empty_folder / "f.json", NESTED)
    drawn = ET.fromstring(typed("graph", "f.json", "--svg").output)
    boxes = {
        str(group[0].text): area(group[1])
        for group in drawn.findall(f"{SVG}g") if group[1].tag == f"{SVG}rect"
    }  # fmt: skip
    frames = [area(rect) for rect in drawn.findall(f"{SVG}rect[@class='body']")]
    names = [str(text.text) for text in drawn.findall(f"{SVG}text")]

    inside = {
        name: {box for box, place in boxes.items() if holds(frame, place)}
        for name, frame in zip(names, frames, strict=True)
    }
    assert inside == {
        "Each row: body": {"inner", "one"},
        "Each cell: body": {"one"},
        "Group: body": {"last"},
    }
    assert holds(frames[names.index("Each row: body")], frames[names.index("Each cell: body")])


def area(rect: ET.Element) -> tuple[float, ...]:
    """Left, top, right and bottom."""
    left, top, width, height = (float(rect.get(k, "")) for k in ("x", "y", "width", "height"))
    return left, top, left + width, top + height


def holds(outer: tuple[float, ...], inner: tuple[float, ...]) -> bool:
    starts = outer[0] <= inner[0] and outer[1] <= inner[1]
    return starts and inner[2] <= outer[2] and inner[3] <= outer[3]


def test_what_is_no_flow_at_all_is_one_message(typed, empty_folder: Path):
    (empty_folder / "f.json").write_text("[]")
    result = typed("graph", "f.json")

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


def test_nodes_without_positions_stand_right_of_what_leads_to_them():
    boxes = [Box(name, name, "", "step") for name in "abcd"]
    wires = [Wire("a", "b", "", True), Wire("b", "c", "", True), Wire("a", "c", "", False)]
    picture = Picture("t", boxes, wires)

    assert ranks(picture) == {"a": 0, "b": 1, "c": 2, "d": 0}


def test_nodes_of_a_cycle_share_a_column():
    boxes = [Box(name, name, "", "step") for name in "abc"]
    wires = [Wire("a", "b", "", True), Wire("b", "a", "", True), Wire("b", "c", "", True)]

    assert ranks(Picture("t", boxes, wires)) == {"a": 0, "b": 0, "c": 1}
    ET.fromstring(to_svg(Picture("t", boxes, wires)))


def test_positions_of_the_author_are_kept():
    boxes = [Box("a", "a", "", "end", (10, 20)), Box("b", "b", "", "end", (300, -40))]
    drawn = ET.fromstring(to_svg(Picture("t", boxes, [])))
    places = [(rect.get("x"), rect.get("y")) for rect in drawn.findall(f"{SVG}g/{SVG}rect")]

    assert places == [("10", "20"), ("300", "-40")]
