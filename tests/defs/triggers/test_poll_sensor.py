"""Sensors of an author's class."""

from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from defs.triggers.triggered import Ticks, flow_of, load, started

from rayflow_dagster.errors import TriggerError

CHECK = """
class Orders:
    def check(self, cursor):
        {body}
"""


def polling(**keys: Any) -> dict[str, Any]:
    sensor = {"type": "poll", "check": "shop.Orders", "every": 1, **keys}
    return flow_of({"n": "int", "shop": {"type": "str", "default": ""}}, sensors=[sensor])


def ticks_of(project: Path, memory: DagsterInstance, body: str, **keys: Any) -> Ticks:
    """Ticks of a project of its own, whose module ``shop`` has this check."""
    project.mkdir(exist_ok=True)
    (project / "shop.py").write_text(CHECK.format(body=body))
    return Ticks(load(project, {"sell": polling(**keys)}), "sell_poll", memory)


def test_each_item_starts_a_run_and_the_cursor_comes_back(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    body = "n = cursor or 0; return [{'n': n}, {'n': n + 1}], n + 2"
    ticks = ticks_of(tmp_path, memory, body, inputs={"shop": "north"})
    assert ticks.inputs() == [{"n": 0, "shop": "north"}, {"n": 1, "shop": "north"}]
    assert ticks.inputs() == [{"n": 2, "shop": "north"}, {"n": 3, "shop": "north"}]


def test_what_is_too_much_for_a_tick_waits_and_is_not_asked_for_again(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    body = "return ([{'n': n} for n in range(5)], 'done') if cursor is None else ([], cursor)"
    ticks = ticks_of(tmp_path, memory, body, max_per_tick=2)
    numbers = [[each["n"] for each in ticks.inputs()] for _ in range(4)]
    assert numbers == [[0, 1], [2, 3], [4], []]
    assert ticks.skipped == "shop.Orders found nothing to start"


def test_equal_items_start_a_run_each_and_a_repeated_tick_the_same_ones(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    ticks = ticks_of(tmp_path, memory, "return [{'n': 1}, {'n': 1}], None")
    first = [request.run_key for request in ticks.tick()]
    ticks.cursor = ticks.completed = None  # the daemon died before it had kept the tick
    assert [request.run_key for request in ticks.tick()] == first
    later = [request.run_key for request in ticks.tick()]
    assert len({*first, *later}) == 4


def test_after_the_cursor_was_cleared_each_item_starts_a_run_again(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    ticks = ticks_of(tmp_path, memory, "return [{'n': n} for n in range(3)], 1")
    assert len(started(ticks, ticks.tick())) == 3
    ticks.cursor = None
    assert len(started(ticks, ticks.tick())) == 3
    assert len(ticks.tick()) == 3


def test_an_item_that_a_run_was_started_for_is_told(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    ticks = ticks_of(tmp_path, memory, "return [{'n': 1}], None")
    (run,) = started(ticks, ticks.tick())
    ticks.cursor = ticks.completed = None  # the daemon died before it had kept the tick
    assert ticks.tick() == []
    assert run.run_id in (ticks.skipped or "")


@pytest.mark.parametrize(
    "cursor", ["1", "x", '"text"', "[]", "{}", '{"checks": 1, "cursor": 1, "waiting": [1]}']
)
def test_a_cursor_of_another_kind_is_told(
    tmp_path: Path, memory: DagsterInstance, cursor: str
) -> None:
    ticks = ticks_of(tmp_path, memory, "return [{'n': 1}], None")
    ticks.cursor = cursor
    with pytest.raises(TriggerError, match="clear it in the UI"):
        ticks.tick()


def test_a_check_may_be_async(tmp_path: Path, memory: DagsterInstance) -> None:
    project = tmp_path
    (project / "shop.py").write_text(
        "class Orders:\n    async def check(self, cursor):\n        return [{'n': 5}], None\n"
    )
    ticks = Ticks(load(project, {"sell": polling()}), "sell_poll", memory)
    assert [each["n"] for each in ticks.inputs()] == [5]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return None", "must return .list of inputs, cursor."),
        ("return [1], None", "must return .list of inputs, cursor."),
        ("return [{'n': 'one'}], None", "takes int, not 'one'"),
        ("return [{'m': 1}], None", "input 'm' is not declared"),
        ("return [{'n': {'$env': 'HOME'}}], None", "names a secret"),
        ("return [{'n': 1}], object()", "kept as JSON"),
        ("raise OSError('the shop is closed')", "the shop is closed"),
    ],
)
def test_a_wrong_answer_fails_the_tick_and_says_why(
    tmp_path: Path, memory: DagsterInstance, body: str, told: str
) -> None:
    with pytest.raises(Exception, match=told):
        ticks_of(tmp_path, memory, body).tick()


def test_a_class_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(CHECK.format(body="return [], None"))
    repository = load(tmp_path, {"sell": polling(check="shop.Order")})
    assert "shop has no class Order; did you mean 'Orders'" in (
        repository.get_job("sell").description or ""
    )


def test_a_class_that_has_gone_since_fails_the_tick(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    ticks = ticks_of(tmp_path, memory, "return [], None")
    (tmp_path / "shop.py").write_text("Orders = 1\n")
    with pytest.raises(Exception, match=r"shop\.Orders is no class") as raised:
        ticks.tick()
    frames = [each.name for each in raised.traceback]
    assert "load_check" not in frames  # the message tells; the way to it is nobody's help
