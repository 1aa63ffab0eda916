"""What a run looks like on the terminal."""

import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from rayflow_dagster.cli.progress import Progress, duration, print_outcome
from rayflow_dagster.cli.report import Fault, NodeReport, RunReport
from rayflow_dagster.cli.terminal import value_text
from rayflow_dagster.values.jsonable import json_text, jsonable

Show = Callable[..., str]


def console_on(stream: io.StringIO) -> Console:
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)


@pytest.fixture
def show() -> Show:
    """``show(node, ...)`` is what is printed as these nodes settle."""

    def printed(*nodes: NodeReport, verbose: bool = False) -> str:
        stream = io.StringIO()
        labels = [node.label for node in nodes]
        with Progress(console_on(stream), labels, verbose=verbose) as progress:
            for node in nodes:
                progress.settled(node)
        return stream.getvalue()

    return printed


def outcome(report: RunReport, *, verbose: bool = False) -> str:
    stream = io.StringIO()
    print_outcome(console_on(stream), console_on(stream), report, verbose=verbose)
    return stream.getvalue()


def test_a_node_is_shown_with_outcome_label_time_and_branch(show: Show):
    lines = show(
        NodeReport("a", "Read", "completed", 0.012, ["exec_out"]),
        NodeReport("b", "Which?", "completed", 1.5, ["true"]),
        NodeReport("c", "Other", "skipped"),
        NodeReport("d", "Last", "failed", 61.0),
    ).splitlines()

    assert lines == [
        "  ok      Read    12 ms",
        "  ok      Which?  1.50 s  → true",
        "  skipped Other",
        "  failed  Last    1 min 1 s",
    ]


def test_log_records_and_prints_stand_under_their_node(show: Show):
    logs = [("INFO", "one"), ("WARNING", "two\nlines")]
    lines = show(NodeReport("a", "A", "completed", 0, [], logs, "printed\n")).splitlines()

    assert lines[1:] == [
        "          one",
        "          WARNING two",
        "          lines",
        "          printed",
    ]


def test_of_many_lines_a_few_are_shown_unless_all_are_wanted(show: Show):
    node = NodeReport("a", "A", "completed", 0, [], [("INFO", str(n)) for n in range(50)], "end")
    few, all_ = show(node).splitlines(), show(node, verbose=True).splitlines()

    assert few[-1].endswith("-v shows them all")
    assert len(few) == 12
    assert len(all_) == 52


def test_escape_sequences_do_not_reach_the_terminal(show: Show):
    shown = show(NodeReport("a", "A\x1b[2J", "completed", 0, [], [("INFO", "\x1b[2J")], "\x9b2J"))

    assert not set("\x1b\x9b") & set(shown)
    assert "\\x1b[2J" in shown


def test_markup_in_a_label_is_shown_as_it_is(show: Show):
    assert "[red]A[/red]" in show(NodeReport("a", "[red]A[/red]", "completed", 0))


def test_the_result_is_one_line_per_value():
    shown = outcome(RunReport(result={"a": 1, "b": "text", "c": {"d": [1, None]}, "e": {1, 2}}))

    assert shown.splitlines()[:5] == [
        "result",
        "  a: 1",
        "  b: text",
        '  c: {"d": [1, null]}',
        "  e: {1, 2}",
    ]


def test_the_verdict_counts_nodes():
    nodes = [
        NodeReport("a", "A", "completed", 0),
        NodeReport("b", "B", "skipped"),
        NodeReport("c", "C"),
    ]

    assert outcome(RunReport(nodes, execution_time=2)).splitlines()[-1] == (
        "succeeded in 2.00 s: 1 node ran, 1 skipped, 1 did not run"
    )


def test_a_failure_shows_the_nodes_own_error_then_its_inputs():
    files = ("a.py", "b.py", json.__file__)
    frames = "".join(f'  File "{file}", line {n}\n    it()\n' for n, file in enumerate(files))
    fault = Fault("ValueError: bang", {"x": "1"}, frames)
    node = NodeReport("b", "Boom", "failed", 0, fault=fault, attempts=3, behind=["C", "D"])
    report = RunReport([node], error="Node b failed: ValueError: bang")

    assert outcome(report).splitlines()[:8] == [
        "Error: node 'b' (Boom), attempt 3: ValueError: bang",
        "  with",
        "    x = 1",
        "  at",
        '    File "b.py", line 1',
        "      it()",
        "  not run for it",
        "    C, D",
    ]
    assert "a.py" not in outcome(report)
    assert "a.py" in outcome(report, verbose=True)


def test_an_error_of_no_node_is_shown_as_it_is():
    assert outcome(RunReport(error="no RETURN")).splitlines()[0] == "Error: no RETURN"


def test_a_stopped_run_is_not_called_failed():
    shown = outcome(RunReport(error="the run was stopped", stopped=True))

    assert shown == "stopped in 0 ms: 0 nodes ran\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (59.99, "59.99 s"),
        (59.999, "1 min 0 s"),
        (3725, "62 min 5 s"),
    ],
)
def test_durations_are_written_for_people(seconds, text):
    assert duration(seconds) == text


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def looped() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (b"\x00", "b'\\x00'"),
        ({1: "a"}, {"1": "a"}),
        ((1, 2), [1, 2]),
        (True, True),
        (10**40, 10**40),
    ],
)
def test_what_json_cannot_say_is_a_text_preview(value, shown):
    assert jsonable(value) == shown


@pytest.mark.parametrize("value", [nested(5000), looped(), object(), {"a": {2, 1}}])
def test_any_value_at_all_can_be_shown(value):
    assert len(json_text(value)) < 10_000
    assert value_text(value)


def test_a_number_of_numpys_is_a_number():
    numpy = pytest.importorskip("numpy", reason="numpy comes with the development install")

    assert jsonable({"a": numpy.float64(1.5), "b": numpy.int64(2)}) == {"a": 1.5, "b": 2}


def test_an_array_is_described_and_not_printed():
    numpy = pytest.importorskip("numpy", reason="numpy comes with the development install")

    assert jsonable(numpy.zeros((3, 4))) == "ndarray 3 x 4 of float64"
