"""The flows of ``flows/patterns/`` do, directly and in Dagster, what ``docs/patterns.md`` says."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import run_job
from docs_blocks import DOCS, ROOT
from running import execute, outcomes

from rayflow_dagster import build_definitions
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

PROJECT = Project.at(ROOT, ["tests.flow_nodes"])
PATTERNS = ROOT / "flows" / "patterns"
FILES = sorted(PATTERNS.glob("*.json"))
PAGE = (DOCS / "patterns.md").read_text(encoding="utf-8")
NAMES = [
    "Sequence",
    "Parallel split",
    "Synchronization",
    "Exclusive choice",
    "Simple merge",
    "Multi-choice",
    "Synchronizing merge",
    "Multi-merge",
    "Discriminator",
    "Arbitrary cycles",
    "Implicit termination",
    "Multiple instances without synchronization",
    "Multiple instances with a priori design-time knowledge",
    "Multiple instances with a priori runtime knowledge",
    "Multiple instances without a priori runtime knowledge",
    "Deferred choice",
    "Interleaved parallel routing",
    "Milestone",
    "Cancel activity",
    "Cancel case",
]
"""As van der Aalst, ter Hofstede, Kiepuszewski and Barros number them (2003)."""
WARNED = {"cancel_case": ["several_returns"]}
"""What ``validate`` warns of: that two RETURNs race is what this pattern is about."""


@dataclass(frozen=True)
class Ran:
    """What became of a run."""

    success: bool
    result: dict[str, Any]
    statuses: dict[str, str]
    log: list[tuple[str, str]]
    """("began" or "ended", node id), in the order of time; a direct run tells of the ends only."""

    @property
    def skipped(self) -> set[str]:
        return {node for node, status in self.statuses.items() if status == "skipped"}

    def times(self, node: str) -> int:
        """How often a node ran to its end."""
        return self.log.count(("ended", node))

    def follows(self, later: str, earlier: str) -> bool:
        """Whether a node ended after, and where that is known began after, another had ended."""
        at = self.log.index(("ended", earlier))
        return all(self.log.index(each) > at for each in self.log if each[1] == later)


Run = Callable[..., Ran]


@pytest.fixture(params=["direct", "dagster"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a flow in a folder of its own, without Ray: by the orchestrator, and as a job."""
    monkeypatch.chdir(tmp_path)
    return run_directly if request.param == "direct" else run_as_job


def run_directly(flow: dict[str, Any], **inputs: Any) -> Ran:
    log: list[tuple[str, str]] = []

    def note(settled: Any) -> None:
        if settled["status"] == "success":
            log.append(("ended", settled["node_id"]))

    orchestrator = FlowOrchestrator(PROJECT, connect=in_process, on_settled=note)
    outcome = execute(orchestrator, flow, **inputs)
    return Ran(outcome["success"], outcome["result"], outcomes(orchestrator), log)


def run_as_job(flow: dict[str, Any], **inputs: Any) -> Ran:
    job = build_job(flow, "test", project=PROJECT, connect=in_process)
    compiled = compile_flow(flow, "test", PROJECT)
    with DagsterInstance.ephemeral() as instance:
        found = run_job(job, compiled, inputs, instance)
    words = {"STEP_START": "began", "STEP_SUCCESS": "ended"}
    log = [
        (words[event.event_type_value], compiled.nodes[event.step_key])
        for event in found.events
        if event.step_key and event.event_type_value in words
    ]
    return Ran(found.success, found.result, found.statuses, log)


# Drawing on: a test changes a flow where the pattern is about what happens at one time.


def pattern(name: str) -> dict[str, Any]:
    """The flow ``flows/patterns/<name>.json``; its loops look again at once."""
    flow: dict[str, Any] = json.loads((PATTERNS / f"{name}.json").read_text(encoding="utf-8"))
    for each in flow["nodes"]:
        if "interval" in each["data"]:
            each["data"]["interval"] = 0.01
    return flow


def data_of(flow: dict[str, Any], node_id: str) -> dict[str, Any]:
    (found,) = [each for each in flow["nodes"] if each["id"] == node_id]
    data: dict[str, Any] = found["data"]
    return data


def put(flow: dict[str, Any], node_id: str, kind: str, **values: Any) -> None:
    """Put a node of another kind in the place of one, with its wires and its constants."""
    (found,) = [each for each in flow["nodes"] if each["id"] == node_id]
    found["type"] = kind
    found["data"].setdefault("constantValues", {}).update(values)


def slow(flow: dict[str, Any], node_id: str, seconds: float = 0.2) -> None:
    put(flow, node_id, "tests.flow_nodes.sleep.SleepNode", SECONDS=seconds)


def failing(flow: dict[str, Any], node_id: str) -> None:
    data_of(flow, node_id)["constantValues"] = {}
    put(flow, node_id, "tests.flow_nodes.boom.BoomNode", value=0)


def waiting(flow: dict[str, Any], node_id: str, other: str, patience: float = 30) -> None:
    """The node ends only once ``other`` has begun, which waits for some node as well, be it
    itself: both leave a file."""
    put(
        flow, node_id, "tests.flow_nodes.meet.MeetNode",
        MINE=f"{node_id}.begun", THEIRS=f"{other}.begun", PATIENCE=patience,
    )  # fmt: skip


def wire(flow: dict[str, Any], source: str, target: str) -> None:
    """An exec wire more."""
    edge = {"id": f"{source}-{target}", "source": source, "target": target, "type": "exec"}
    flow["edges"].append({**edge, "sourceHandle": "exec_out", "targetHandle": "exec_in"})


def add(
    flow: dict[str, Any], node_id: str, behind: str, kind: str = "debug.log", **values: Any
) -> None:
    """A node more, behind another one."""
    flow["nodes"].append({"id": node_id, "type": kind, "data": {"constantValues": values}})
    wire(flow, behind, node_id)


# The folder and the page


def test_the_page_names_every_pattern_and_links_each_flow_once():
    titles = re.findall(r"^### (\d+)\. (.+)$", PAGE, re.MULTILINE)
    linked = re.findall(r"\(\.\./flows/patterns/(\w+\.json)\)", PAGE)

    assert titles == [(str(number), name) for number, name in enumerate(NAMES, start=1)]
    assert sorted(linked) == [file.name for file in FILES]
    assert len(linked) == len(NAMES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_flow_of_a_pattern_is_valid_and_called_as_its_file(file: Path):
    validator = PROJECT.validator()
    flow = json.loads(file.read_text(encoding="utf-8"))

    assert validator.validate(flow) == (True, [])
    assert [finding.rule for finding in validator.findings] == WARNED.get(file.stem, [])
    assert flow["name"] == file.stem
    assert all(word in PAGE for word in (f"[{file.stem}](", f"patterns/{file.name})"))


def test_only_who_asks_for_the_patterns_loads_them():
    of_project = {job.name for job in build_definitions(ROOT / "flows").jobs or []}
    of_patterns = {job.name for job in build_definitions(PATTERNS).jobs or []}

    assert of_patterns == {file.stem for file in FILES}
    assert not of_patterns & of_project


# 1 to 5: basic control flow


def test_the_sequence_pattern_runs_one_after_another(run: Run):
    ran = run(pattern("sequence"))

    assert ran.result == {"order": "sent"}
    assert [node for what, node in ran.log if what == "ended"] == [
        "start", "pick", "pack", "send", "return"
    ]  # fmt: skip
    assert all(ran.follows(*two) for two in [("pack", "pick"), ("send", "pack")])


def test_the_sequence_pattern_goes_no_further_than_a_step_that_failed(run: Run):
    flow = pattern("sequence")
    failing(flow, "pack")
    ran = run(flow)

    assert not ran.success
    assert ran.statuses == {
        "start": "completed", "pick": "completed", "pack": "failed", "send": "pending",
        "return": "pending",
    }  # fmt: skip


def test_the_parallel_split_pattern_runs_both_at_the_same_time(run: Run):
    flow = pattern("parallel_split")
    waiting(flow, "pick", "bill")
    waiting(flow, "bill", "pick")
    ran = run(flow)

    assert ran.result == {"goods": "picked", "bill": "billed"}
    assert (ran.times("pick"), ran.times("bill"), ran.skipped) == (1, 1, set())


@pytest.mark.parametrize(("slow_one", "other"), [("pick", "bill"), ("bill", "pick")])
def test_the_parallel_split_pattern_lets_each_branch_go_its_own_way(
    run: Run, slow_one: str, other: str
):
    flow = pattern("parallel_split")
    add(flow, "next", other)
    waiting(flow, "next", "next")
    waiting(flow, slow_one, "next")
    ran = run(flow)

    assert ran.result == {"goods": "picked", "bill": "billed"}
    assert ran.log.index(("ended", other)) < ran.log.index(("ended", slow_one))


@pytest.mark.parametrize("slow_one", ["pick", "bill"])
def test_the_synchronization_pattern_waits_for_both(run: Run, slow_one: str):
    flow = pattern("synchronization")
    slow(flow, slow_one)
    ran = run(flow)

    assert ran.result == {"order": "sent"}
    assert ran.follows("send", "pick")
    assert ran.follows("send", "bill")
    assert ran.times("send") == 1


def test_the_synchronization_pattern_goes_not_on_where_one_has_failed(run: Run):
    flow = pattern("synchronization") | {"on_error": "continue"}
    failing(flow, "bill")
    ran = run(flow)

    assert not ran.success
    assert ran.statuses == {
        "start": "completed", "pick": "completed", "bill": "failed", "send": "pending",
        "return": "pending",
    }  # fmt: skip


def test_the_exclusive_choice_pattern_takes_the_case_that_holds(run: Run):
    ran = run(pattern("exclusive_choice"), total=150.0)

    assert ran.result == {"order": "approved"}
    assert ran.skipped == {"accept", "accepted"}


def test_the_exclusive_choice_pattern_takes_the_default_where_no_case_holds(run: Run):
    ran = run(pattern("exclusive_choice"), total=100.0)

    assert ran.result == {"order": "accepted"}
    assert ran.skipped == {"approve", "approved"}


@pytest.mark.parametrize(
    ("card", "receipt", "other"), [(True, "charged", "await"), (False, "transferred", "charge")]
)
def test_the_simple_merge_pattern_goes_on_behind_the_branch_that_was_taken(
    run: Run, card: bool, receipt: str, other: str
):
    ran = run(pattern("simple_merge"), card=card)

    assert ran.result == {"receipt": receipt}
    assert ran.skipped == {other}
    assert ran.times("receipt") == 1


@pytest.mark.parametrize(("card", "other"), [(True, "await"), (False, "charge")])
def test_the_simple_merge_pattern_asks_nothing_of_the_other_branch(
    run: Run, card: bool, other: str
):
    flow = pattern("simple_merge")
    failing(flow, other)
    ran = run(flow, card=card)

    assert ran.success
    assert ran.skipped == {other}


# 6 to 9: advanced branching and synchronization


def test_the_multi_choice_pattern_takes_all_that_hold(run: Run):
    flow = pattern("multi_choice")
    waiting(flow, "wrap", "declare")
    waiting(flow, "declare", "wrap")
    ran = run(flow, fragile=True, country="is")

    assert ran.result == {"wrap": "wrapped", "declare": "declared", "plain": None}
    assert ran.skipped == {"plain"}


@pytest.mark.parametrize(
    ("fragile", "country", "taken"),
    [(True, "es", "wrap"), (False, "is", "declare"), (False, "es", "plain")],
)
def test_the_multi_choice_pattern_takes_one_where_one_holds_and_else_the_default(
    run: Run, fragile: bool, country: str, taken: str
):
    ran = run(pattern("multi_choice"), fragile=fragile, country=country)

    assert {name for name, value in ran.result.items() if value is not None} == {taken}
    assert ran.skipped == {"wrap", "declare", "plain"} - {taken}


@pytest.mark.parametrize("slow_one", ["wrap", "declare"])
def test_the_synchronizing_merge_pattern_waits_for_all_that_was_chosen(run: Run, slow_one: str):
    flow = pattern("synchronizing_merge")
    slow(flow, slow_one)
    ran = run(flow, fragile=True, country="is")

    assert ran.result == {"label": "printed"}
    assert ran.follows("label", "wrap")
    assert ran.follows("label", "declare")
    assert ran.times("label") == 1


@pytest.mark.parametrize(
    ("fragile", "country", "skipped"),
    [(True, "es", {"declare"}), (False, "is", {"wrap"}), (False, "es", {"wrap", "declare"})],
)
def test_the_synchronizing_merge_pattern_does_not_wait_for_what_was_not_chosen(
    run: Run, fragile: bool, country: str, skipped: set[str]
):
    ran = run(pattern("synchronizing_merge"), fragile=fragile, country=country)

    assert ran.result == {"label": "printed"}
    assert ran.skipped == skipped
    assert all(ran.follows("label", each) for each in {"wrap", "declare"} - skipped)


def test_the_multi_merge_pattern_runs_what_follows_once_for_each_branch(run: Run):
    ran = run(pattern("multi_merge"))

    assert ran.result == {"audits": ["picked", "billed"]}


def test_the_multi_merge_pattern_lets_no_branch_wait_for_another(run: Run):
    flow = pattern("multi_merge")
    waiting(flow, "bill", "audit")  # that of 'pick'
    waiting(flow, "audit", "audit")
    ran = run(flow)

    assert ran.result == {"audits": ["picked", "billed"]}


def test_the_discriminator_pattern_goes_on_with_the_first_and_ignores_the_rest(run: Run):
    flow = pattern("discriminator")
    waiting(flow, "south", "order")
    waiting(flow, "west", "order")
    waiting(flow, "order", "south")
    ran = run(flow)

    assert ran.result == {"order": "ordered"}
    assert ran.follows("order", "north")
    assert ran.times("order") == 1
    assert set(ran.statuses.values()) == {"completed"}


def test_the_discriminator_pattern_can_wait_for_some_of_several(run: Run):
    flow = pattern("discriminator")
    data_of(flow, "order")["join"] = {"at_least": 2}
    slow(flow, "south")
    waiting(flow, "west", "order")
    waiting(flow, "order", "west")
    ran = run(flow)

    assert ran.result == {"order": "ordered"}
    assert ran.follows("order", "north")
    assert ran.follows("order", "south")
    assert ran.times("order") == 1


# 10 and 11: structural patterns


@pytest.mark.parametrize(
    "plan",
    [
        ["review", "print", "end"],
        ["review", "write", "review", "print", "review", "print", "write", "write", "end"],
    ],
    ids=len,
)
def test_in_place_of_the_arbitrary_cycles_pattern_a_loop_goes_from_any_step_to_any(
    run: Run, plan: list[str]
):
    ran = run(pattern("arbitrary_cycles"), plan=plan)

    assert ran.result == {"path": ["write", *plan[:-1]]}


@pytest.mark.parametrize("first", ["write", "review", "print"])
def test_in_place_of_the_arbitrary_cycles_pattern_a_loop_begins_at_any_step(run: Run, first: str):
    ran = run(pattern("arbitrary_cycles"), first=first, plan=["review", "write", "end"])

    assert ran.result == {"path": [first, "review", "write"]}


def test_the_arbitrary_cycles_pattern_drawn_as_such_is_refused():
    flow = pattern("sequence")
    wire(flow, "send", "pick")
    validator = PROJECT.validator()

    assert not validator.validate(flow)[0]
    assert [finding.rule for finding in validator.findings] == ["no_cycles"]


def test_the_implicit_termination_pattern_runs_all_branches_to_their_ends(run: Run):
    flow = pattern("implicit_termination")
    slow(flow, "pick")
    ran = run(flow)

    assert ran.result == {"answer": "accepted"}
    assert set(ran.statuses.values()) == {"completed"}
    assert ran.follows("send", "pick")


def test_the_implicit_termination_pattern_is_what_a_setting_asks_for(run: Run):
    flow = pattern("implicit_termination")
    del flow["settings"]
    slow(flow, "pick", 0.5)
    ran = run(flow)

    assert ran.result == {"answer": "accepted"}
    assert ran.skipped == {"send"}


# 12 to 15: multiple instances


def test_the_multiple_instances_without_synchronization_pattern_lets_nothing_wait(run: Run):
    flow = pattern("multiple_instances_without_synchronization")
    waiting(flow, "mail", "answer")
    waiting(flow, "answer", "mail")
    ran = run(flow)

    assert ran.result == {"answer": "mails are on their way"}
    assert ran.statuses["customers"] == "completed"


def test_the_multiple_instances_without_synchronization_pattern_runs_all_of_them(
    run: Run, tmp_path: Path
):
    flow = pattern("multiple_instances_without_synchronization")
    add(flow, "late", "start", "tests.flow_nodes.sleep.SleepNode", SECONDS=0.3)
    wire(flow, "late", "customers")
    put(flow, "mail", "io.write_file", content="Dear customer")
    (edge,) = [edge for edge in flow["edges"] if edge["target"] == "mail" and "type" not in edge]
    edge["targetHandle"] = "path"
    ran = run(flow, customers=["out/Ada.txt", "out/Ben.txt"])

    assert ran.result == {"answer": "mails are on their way"}
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["Ada.txt", "Ben.txt"]


def test_the_multiple_instances_design_time_pattern_decides_when_all_have_reviewed(run: Run):
    flow = pattern("multiple_instances_design_time")
    slow(flow, "review", 0.05)
    ran = run(flow)

    assert ran.result == {"reviews": ["Ada", "Ben", "Cleo"], "decision": "decided"}
    assert ran.follows("decide", "reviewers")


def test_the_multiple_instances_design_time_pattern_decides_nothing_where_one_has_failed(run: Run):
    flow = pattern("multiple_instances_design_time")
    put(flow, "review", "data.json_parse")
    data_of(flow, "reviewers")["constantValues"]["items"] = ["1", "no JSON", "3"]
    (edge,) = [edge for edge in flow["edges"] if edge["target"] == "review" and "type" not in edge]
    edge["targetHandle"] = "text"
    ran = run(flow)

    assert not ran.success
    assert ran.statuses == {
        "start": "completed", "reviewers": "failed", "decide": "pending", "return": "pending"
    }  # fmt: skip


@pytest.mark.parametrize("names", ["Ada", "Ada Ben Cleo Dan Eva"])
def test_the_multiple_instances_runtime_pattern_runs_as_many_as_are_named(run: Run, names: str):
    ran = run(pattern("multiple_instances_runtime"), names=names)

    assert ran.result == {"reviews": names.split(), "decision": "decided"}
    assert ran.follows("decide", "reviewers")


def test_the_multiple_instances_runtime_pattern_goes_on_where_there_is_none(run: Run):
    ran = run(pattern("multiple_instances_runtime"), names="")

    assert ran.result == {"reviews": [], "decision": "decided"}
    assert ran.skipped == set()


def orders(count: int) -> str:
    return "order_id\n" + "".join(f"{number}\n" for number in range(count))


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (10, 2), (25, 4)])
def test_the_multiple_instances_unknown_pattern_runs_all_that_turn_up(
    run: Run, tmp_path: Path, count: int, pages: int
):
    (tmp_path / "orders.csv").write_text(orders(count))
    ran = run(pattern("multiple_instances_unknown"), path="orders.csv")

    assert ran.result == {"packed": count, "pages": pages}
    assert ran.follows("packed", "pages")


def test_the_multiple_instances_unknown_pattern_runs_those_that_another_one_makes(
    run: Run, tmp_path: Path
):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text(orders(10))
    flow = pattern("multiple_instances_unknown")
    add(flow, "more", "pack", "io.write_file", path="data/orders.csv", content=orders(15))
    ran = run(flow)

    assert ran.result == {"packed": 15, "pages": 3}


# 16 to 18: state-based patterns


@pytest.mark.parametrize(
    ("event", "order", "others"),
    [
        ("payment", "sent", {"cancel", "remind"}),
        ("withdrawal", "cancelled", {"send", "remind"}),
    ],
)
def test_the_deferred_choice_pattern_is_made_by_what_comes_while_it_waits(
    run: Run, event: str, order: str, others: set[str]
):
    flow = pattern("deferred_choice")
    data_of(flow, "wait")["max_iterations"] = 3000
    add(flow, "comes", "start", "io.write_file", path=f"inbox/{event}.txt", content="42")
    ran = run(flow)

    assert ran.result == {"order": order}
    assert ran.skipped == others


def test_the_deferred_choice_pattern_goes_on_otherwise_where_nothing_comes(run: Run):
    flow = pattern("deferred_choice")
    data_of(flow, "wait")["max_iterations"] = 3
    ran = run(flow)

    assert ran.result == {"order": "reminded"}
    assert ran.skipped == {"which", "send", "cancel"}


@pytest.mark.parametrize("order", list(permutations(["pick", "bill", "label"])), ids=" ".join)
def test_the_interleaved_parallel_routing_pattern_takes_any_order(run: Run, order: tuple[str, ...]):
    ran = run(pattern("interleaved_parallel_routing"), order=list(order))

    done = {"pick": "picked", "bill": "billed", "label": "labelled"}
    assert ran.result == {"tasks": [done[task] for task in order]}


def test_the_interleaved_parallel_routing_pattern_never_does_two_at_once(run: Run, tmp_path: Path):
    flow = pattern("interleaved_parallel_routing")
    waiting(flow, "pick", "bill", patience=0.3)
    waiting(flow, "bill", "pick", patience=0.3)
    ran = run(flow, order=["pick", "bill", "label"])

    assert not ran.success
    assert ran.statuses["tasks"] == "failed"
    assert (tmp_path / "pick.begun").exists()
    assert not (tmp_path / "bill.begun").exists()


def test_the_milestone_pattern_waits_until_it_is_reached(run: Run):
    flow = pattern("milestone")
    data_of(flow, "wait")["max_iterations"] = 3000
    slow(flow, "accept")
    wire(flow, "change", "send")
    ran = run(flow)

    assert ran.result == {"change": "changed"}
    assert ran.skipped == {"refuse"}
    assert ran.follows("change", "open")
    assert ran.follows("closed", "change")


def test_the_milestone_pattern_refuses_what_comes_once_it_is_past(run: Run):
    flow = pattern("milestone")
    wire(flow, "closed", "ask")
    ran = run(flow)

    assert ran.result == {"change": "refused"}
    assert ran.skipped == {"change"}


def test_the_milestone_pattern_refuses_where_it_is_never_reached(run: Run):
    flow = pattern("milestone")
    data_of(flow, "wait")["max_iterations"] = 3
    data_of(flow, "open")["disabled"] = True
    ran = run(flow)

    assert ran.result == {"change": "refused"}
    assert ran.skipped == {"open", "send", "closed", "which", "change"}


# 19 and 20: cancellation


def test_the_cancel_activity_pattern_leaves_off_and_goes_on_behind_it(run: Run):
    flow = pattern("cancel_activity")
    add(flow, "seen", "start")  # that a piece is being packed
    waiting(flow, "seen", "pack")
    wire(flow, "seen", "cancel")
    add(flow, "told", "cancel")
    waiting(flow, "told", "told")
    waiting(flow, "pack", "told")
    ran = run(flow, cancel=True)

    assert ran.result == {"packed": ["cup"], "bill": "billed"}
    assert ran.skipped == set()


def test_the_cancel_activity_pattern_begins_nothing_that_was_cancelled_before(run: Run):
    flow = pattern("cancel_activity")
    wire(flow, "cancel", "packing")
    ran = run(flow, cancel=True)

    assert ran.result == {"packed": [], "bill": "billed"}


def test_the_cancel_activity_pattern_runs_whole_where_nobody_cancels(run: Run):
    ran = run(pattern("cancel_activity"))

    assert ran.result == {"packed": ["cup", "pot", "tray"], "bill": "billed"}
    assert ran.skipped == {"cancel"}


def test_the_cancel_case_pattern_begins_nothing_more(run: Run):
    flow = pattern("cancel_case")
    slow(flow, "pick", 0.5)
    ran = run(flow, cancel=True)

    assert ran.result == {"order": "cancelled"}
    assert ran.statuses["pick"] == "completed"
    assert ran.skipped == {"pack", "send", "return"}


def test_the_cancel_case_pattern_runs_whole_where_nobody_cancels(run: Run):
    ran = run(pattern("cancel_case"))

    assert ran.result == {"order": "sent"}
    assert ran.skipped == {"cancelled"}
