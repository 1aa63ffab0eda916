"""Flow names and Dagster names."""

import pytest
from dagster import OpDefinition
from dagster_runs import compile_test_flow
from drawing import draw, node
from hypothesis import given
from hypothesis import strategies as st

from rayflow_dagster.cli.report import node_reports
from rayflow_dagster.defs._dagster import DISALLOWED_NAMES
from rayflow_dagster.defs.names import StepNames, exec_output_name, flow_name, legal_name
from rayflow_dagster.errors import NameCollisionError


def _graph(labels: dict[str, str]) -> dict:  # type: ignore[type-arg]
    return {"nodes": {node_id: {"label": label} for node_id, label in labels.items()}}


@given(st.text())
def test_a_legal_name_is_empty_or_one_that_dagster_takes(text: str) -> None:
    name = legal_name(text)
    if name:
        OpDefinition(compute_fn=lambda _context, _inputs: None, name=name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Read orders", "Read_orders"),
        ("a-b.c", "a_b_c"),
        ("Café au lait", "Cafe_au_lait"),
        ("return", "return_"),
        ("input", "input_"),
        ("日本", ""),
        ("", ""),
        ("a\n", "a"),
    ],
)
def test_labels_become_legal(text: str, name: str) -> None:
    assert legal_name(text) == name


@pytest.mark.parametrize("names", [["数据清洗", "отчёт", "!", "?"], ["отчёт_7", "данные_7", "7"],
                                   ["straße", "strasse", "strae"]])  # fmt: skip
def test_flows_in_any_script_have_names_of_their_own(names: list[str]) -> None:
    found = [flow_name(name) for name in names]

    assert len({name.lower() for name in found}) == len(names)
    for name in found:
        OpDefinition(compute_fn=lambda _context, _inputs: None, name=name)
        assert flow_name(name) == name


def test_an_accent_may_be_composed_in_two_ways() -> None:
    assert flow_name("отче\u0308т") == flow_name("отчёт")
    assert flow_name("Cafe\u0301") == flow_name("Café") == "Cafe"


def test_the_names_of_flows_that_ascii_can_spell_stay() -> None:
    assert [flow_name(text) for text in ("order-check", "", "return")] == [
        "order_check", "flow", "return_",
    ]  # fmt: skip


def test_clashing_labels_all_get_their_ids() -> None:
    keys = StepNames.of(_graph({"n1": "Add", "n2": "add", "n3": "Other"})).keys  # type: ignore[arg-type]

    assert keys == {"n1": "Add_n1", "n2": "add_n2", "n3": "Other"}


def test_a_label_without_legal_letters_falls_back_to_the_id() -> None:
    keys = StepNames.of(_graph({"n1": "日本", "n2": ""})).keys  # type: ignore[arg-type]
    assert keys == {"n1": "n1", "n2": "n2"}


@pytest.mark.parametrize("word", sorted(DISALLOWED_NAMES - {"True", "False", "None"}))
def test_a_node_without_a_label_has_one_name_where_its_id_can_be_no_step(word: str) -> None:
    flow = draw(
        {"start": node("start", label="Start"), word: "identity", "end": "return"},
        f"start > {word}, {word} > end, {word}.value - end.value",
    )
    flow["nodes"][1]["data"] = {"constantValues": {"value": 1}}
    graph = compile_test_flow(flow).graph

    (shown,) = [report.label for report in node_reports(graph).values() if report.id == word]
    assert StepNames.of(graph).keys[word] == shown == word.capitalize()


def test_ids_that_become_alike_stay_apart() -> None:
    keys = StepNames.of(_graph({"a-b": "", "a_b": "", "日": "", "本": ""})).keys  # type: ignore[arg-type]

    assert keys["a_b"] == "a_b"
    assert len(set(keys.values())) == 4


def test_a_label_that_takes_anothers_fallback_gets_its_id() -> None:
    keys = StepNames.of(_graph({"n1": "", "n2": "n1"})).keys  # type: ignore[arg-type]
    assert keys == {"n1": "n1", "n2": "n1_n2"}


def test_names_that_still_clash_are_refused() -> None:
    labels = {"b": "a", "c": "a", "d": "a_b"}

    with pytest.raises(NameCollisionError, match="'a_b' is claimed by 'b', 'd'"):
        StepNames.of(_graph(labels))  # type: ignore[arg-type]


def test_error_can_be_both_an_exec_and_a_data_output() -> None:
    assert exec_output_name("error") == "exec_error"
    assert exec_output_name("exec_out") == "exec_out"
