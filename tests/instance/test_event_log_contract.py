"""What Dagster expects of an event log, asked of its own storage and of ours."""

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    EventLogEntry,
    EventRecordsFilter,
    RunStatusChangeRecordsFilter,
    materialize,
)
from dagster._core.errors import DagsterEventLogInvalidForRun
from dagster._core.storage.event_log.base import EventLogCursor
from event_logs import (
    KINDS,
    SHARDS,
    Kind,
    bad,
    event,
    good,
    log,
    messages,
    open_instance,
    parts,
)

RUN = "11111111-1111-1111-1111-111111111111"
OTHER = "22222222-2222-2222-2222-222222222222"


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new instance: to make one takes long."""
    home = tmp_path_factory.mktemp("home")
    open_instance(home, "stock").dispose()
    return home


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def instance(kind: Kind, empty_home: Path, tmp_path: Path) -> Iterator[DagsterInstance]:
    home = shutil.copytree(empty_home, tmp_path / "home")
    with open_instance(home, kind) as instance:
        yield instance


@pytest.fixture
def storage(instance: DagsterInstance) -> Any:
    return instance.event_log_storage


@pytest.fixture(scope="module")
def recorded() -> list[EventLogEntry]:
    """All that runs with retries, hooks, failures, assets and asset checks store."""
    entries: list[EventLogEntry] = []
    with DagsterInstance.ephemeral() as memory, pytest.MonkeyPatch.context() as patch:
        storage: Any = memory.event_log_storage
        store = storage.store_event
        patch.setattr(storage, "store_event", lambda entry: (entries.append(entry), store(entry)))
        good.execute_in_process(instance=memory)
        bad.execute_in_process(instance=memory, raise_on_error=False)
        assert materialize([parts], partition_key="a", instance=memory).success
    return entries


def _rows(file: Path) -> dict[str, list[Any]]:
    """Every table of a shard, save for the times at which SQLite made a row."""
    made = ("create_timestamp", "create_time", "migration_completed", "updated_at", "created_at")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.row_factory = sqlite3.Row
        tables = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        found = {}
        for table in tables:
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            found[table] = [{k: row[k] for k in row.keys() if k not in made} for row in rows]  # noqa: SIM118
    connection.close()
    return found


def _schema(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection, connection:
        found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    connection.close()
    return sorted(str(row) for row in found)


def test_both_write_the_same_files_row_for_row(
    recorded: list[EventLogEntry], empty_home: Path, tmp_path: Path
) -> None:
    for kind in KINDS:
        with open_instance(shutil.copytree(empty_home, tmp_path / kind), kind) as instance:
            for entry in recorded:
                instance.event_log_storage.store_event(entry)
    stock, ours = (tmp_path / kind / SHARDS for kind in ("stock", "ours"))
    files = sorted(file.name for file in stock.glob("*.db"))
    assert len(files) == 4
    assert sorted(file.name for file in ours.glob("*.db")) == files
    for file in files:
        assert _rows(ours / file) == _rows(stock / file), file
        assert _schema(ours / file) == _schema(stock / file), file
    kinds = {row["dagster_event_type"] for row in _rows(ours / "index.db")["event_logs"]}
    assert {"PIPELINE_FAILURE", "ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION"} <= kinds


def test_events_come_back_in_the_order_in_which_they_were_stored(storage: Any) -> None:
    for number in range(5):
        storage.store_event(event(RUN, "STEP_START", str(number)))
        storage.store_event(log(RUN, f"log {number}"))
        storage.store_event(event(RUN, "STEP_SUCCESS", f"end {number}"))
    assert messages(storage, RUN) == [
        text for number in range(5) for text in (str(number), f"log {number}", f"end {number}")
    ]
    records = storage.get_records_for_run(RUN).records
    assert [record.storage_id for record in records] == list(range(1, 16))


def test_pages_and_filters_of_a_run(storage: Any) -> None:
    for number in range(6):
        storage.store_event(event(RUN, "STEP_START", str(number)))
    storage.store_event(event(RUN, "STEP_SUCCESS", "end"))
    first = storage.get_records_for_run(RUN, limit=4)
    assert first.has_more
    rest = storage.get_records_for_run(RUN, cursor=first.cursor, limit=4)
    assert not rest.has_more
    texts = [record.event_log_entry.user_message for record in [*first.records, *rest.records]]
    assert texts == ["0", "1", "2", "3", "4", "5", "end"]
    backwards = storage.get_logs_for_run(RUN, limit=2, ascending=False)
    assert [entry.user_message for entry in backwards] == ["end", "5"]
    ends = storage.get_logs_for_run(RUN, of_type=DagsterEventType.STEP_SUCCESS)
    assert [entry.user_message for entry in ends] == ["end"]
    offset = EventLogCursor.from_offset(5).to_string()
    assert len(storage.get_records_for_run(RUN, cursor=offset, limit=10).records) == 2
    assert storage.get_records_for_run(RUN, cursor=rest.cursor).records == []


def test_a_run_without_events_is_empty(storage: Any) -> None:
    assert storage.get_logs_for_run(RUN) == []
    assert storage.get_stats_for_run(RUN).steps_succeeded == 0


def test_statistics_of_a_run_and_its_steps(storage: Any, recorded: list[EventLogEntry]) -> None:
    for entry in recorded:
        storage.store_event(entry)
    good_run, bad_run = list(dict.fromkeys(entry.run_id for entry in recorded))[:2]
    assert storage.get_stats_for_run(good_run).steps_succeeded == 2
    assert storage.get_stats_for_run(good_run).materializations == 1
    assert storage.get_stats_for_run(bad_run).steps_failed == 1
    steps = {stats.step_key: stats for stats in storage.get_step_stats_for_run(bad_run)}
    assert steps["flaky"].attempts == 2
    assert steps["fail"].status.value == "FAILURE"
    assert storage.get_asset_keys_for_run(good_run) == {AssetKey("from_op")}


def test_an_event_may_be_rewritten(storage: Any) -> None:
    storage.store_event(event(RUN, "STEP_START", "old"))
    storage.update_event_log_record(1, event(RUN, "STEP_START", "new"))
    assert messages(storage, RUN) == ["new"]


def test_an_event_that_cannot_be_read_is_reported(storage: Any) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS"))
    with storage.run_connection(RUN) as connection:
        connection.exec_driver_sql("UPDATE event_logs SET event = '{bar}'")
    with pytest.raises(DagsterEventLogInvalidForRun):
        storage.get_logs_for_run(RUN)
    storage.store_event(event(OTHER, "STEP_SUCCESS", "fine"))
    assert messages(storage, OTHER) == ["fine"]


def test_what_fails_in_a_transaction_is_rolled_back(storage: Any) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS", "kept"))
    with contextlib.suppress(ZeroDivisionError), storage.run_connection(RUN) as connection:
        connection.exec_driver_sql("DELETE FROM event_logs")
        raise ZeroDivisionError
    assert messages(storage, RUN) == ["kept"]


def test_deleting_a_run_empties_its_shard_and_the_index(
    storage: Any, recorded: list[EventLogEntry]
) -> None:
    for entry in recorded:
        storage.store_event(entry)
    gone, kept = list(dict.fromkeys(entry.run_id for entry in recorded))[:2]
    storage.delete_events(gone)
    assert storage.get_logs_for_run(gone) == []
    with storage.index_connection() as connection:
        runs = set(connection.exec_driver_sql("SELECT run_id FROM event_logs").scalars())
    assert gone not in runs
    assert kept in runs
    assert storage.get_logs_for_run(kept)


def test_wiping_deletes_all_runs_and_leaves_a_working_storage(storage: Any) -> None:
    storage.store_event(event(RUN, "PIPELINE_START"))
    storage.store_event(event(OTHER, "STEP_START"))
    storage.store_event(event(OTHER, "STEP_SUCCESS"))
    storage.wipe()
    assert storage.get_all_run_ids() == []
    assert storage.get_maximum_record_id() is None
    storage.store_event(event(RUN, "STEP_START", "anew"))
    assert messages(storage, RUN) == ["anew"]
    assert storage.get_all_run_ids() == [RUN]


def test_run_status_changes_are_found_across_runs(storage: Any) -> None:
    for run in (RUN, OTHER):
        storage.store_event(event(run, "STEP_START"))
        storage.store_event(event(run, "PIPELINE_START"))
        storage.store_event(event(run, "PIPELINE_SUCCESS"))
    kind = RunStatusChangeRecordsFilter(DagsterEventType.RUN_SUCCESS)
    page = storage.fetch_run_status_changes(kind, limit=1, ascending=True)
    assert [record.run_id for record in page.records] == [RUN]
    assert page.has_more
    rest = storage.fetch_run_status_changes(kind, limit=5, cursor=page.cursor, ascending=True)
    assert [record.run_id for record in rest.records] == [OTHER]
    assert storage.get_maximum_record_id() == 4
    by_id = storage.get_logs_for_all_runs_by_log_id(dagster_event_type=DagsterEventType.RUN_SUCCESS)
    assert [entry.run_id for entry in by_id.values()] == [RUN, OTHER]


def test_events_of_any_type_are_found_across_runs(instance: DagsterInstance) -> None:
    runs = [good.execute_in_process(instance=instance).run_id for _ in range(2)]
    found = instance.event_log_storage.get_event_records(
        EventRecordsFilter(DagsterEventType.STEP_SUCCESS)
    )
    assert {(record.run_id, record.event_log_entry.step_key) for record in found} == {
        (run, step) for run in runs for step in ("flaky", "assets")
    }


def test_assets_of_runs_and_of_no_run(instance: DagsterInstance) -> None:
    good.execute_in_process(instance=instance)
    assert materialize([parts], partition_key="b", instance=instance).success
    instance.report_runless_asset_event(AssetMaterialization("by_hand", tags={"a": "b"}))
    from_op, by_part, by_hand = AssetKey("from_op"), AssetKey("parts"), AssetKey("by_hand")
    assert set(instance.get_asset_keys()) == {from_op, by_part, by_hand}
    latest = instance.get_latest_materialization_event(from_op)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.tags["color"] == "red"
    assert instance.get_materialized_partitions(by_part) == {"b"}
    observed = instance.fetch_observations(AssetRecordsFilter(asset_key=from_op), limit=5)
    assert len(observed.records) == 1
    check = AssetCheckKey(by_part, "positive")
    storage = instance.event_log_storage
    history = storage.get_asset_check_execution_history(check, limit=5)
    assert [record.status.value for record in history] == ["SUCCEEDED"]
    assert check in storage.get_latest_asset_check_execution_by_key([check])
    instance.wipe_assets([by_part])
    assert set(instance.get_asset_keys()) == {from_op, by_hand}
    assert not storage.get_materialized_partitions(by_part)


def test_dynamic_partitions(storage: Any) -> None:
    storage.add_dynamic_partitions("colors", ["red", "green"])
    storage.add_dynamic_partitions("colors", ["green", "blue"])
    assert set(storage.get_dynamic_partitions("colors")) == {"red", "green", "blue"}
    page = storage.get_paginated_dynamic_partitions("colors", limit=2, ascending=True)
    assert page.results == ["red", "green"]
    assert page.has_more
    storage.delete_dynamic_partition("colors", "red")
    assert not storage.has_dynamic_partition("colors", "red")
    assert storage.has_dynamic_partition("colors", "blue")
    assert storage.get_dynamic_partitions("shapes") == []


def test_pools_hand_out_their_slots(storage: Any) -> None:
    assert storage.supports_global_concurrency_limits
    storage.set_concurrency_slots("pool", 1)
    assert storage.claim_concurrency_slot("pool", RUN, "one").is_claimed
    assert not storage.claim_concurrency_slot("pool", OTHER, "two").is_claimed
    info = storage.get_concurrency_info("pool")
    assert (info.slot_count, info.active_slot_count, info.pending_step_count) == (1, 1, 1)
    storage.free_concurrency_slots_for_run(RUN)
    assert storage.claim_concurrency_slot("pool", OTHER, "two").is_claimed
    storage.free_concurrency_slot_for_step(OTHER, "two")
    assert storage.get_concurrency_run_ids() == set()
    storage.delete_concurrency_limit("pool")
    assert storage.get_concurrency_keys() == set()


def test_the_schema_can_be_upgraded_and_indexed_again(
    storage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS", "before"))
    storage.upgrade()
    storage.reindex_events(force=True)
    storage.reindex_assets(force=True)
    current, newest = storage.alembic_version()
    assert current == newest is not None
    assert messages(storage, RUN) == ["before"]


def test_a_watcher_is_told_each_event_once_until_it_ends(storage: Any) -> None:
    told: list[str] = []
    is_told = threading.Event()

    def handle(entry: EventLogEntry, _cursor: str) -> None:
        told.append(entry.user_message)
        if told[-1].startswith("end"):
            is_told.set()

    storage.store_event(event(RUN, "STEP_SUCCESS", "before the watch"))
    cursor = storage.get_records_for_run(RUN).cursor
    storage.watch(RUN, cursor, handle)
    storage.store_event(event(RUN, "STEP_START", "one"))
    storage.store_event(event(OTHER, "STEP_SUCCESS", "of another run"))
    storage.store_event(event(RUN, "STEP_SUCCESS", "end one"))
    assert is_told.wait(20)
    storage.end_watch(RUN, handle)
    assert told == ["one", "end one"]


def test_readers_and_writers_of_many_threads_agree(storage: Any) -> None:
    is_written = threading.Event()

    def write(writer: int) -> None:
        for number in range(15):
            storage.store_event(log(RUN, f"{writer} {number}"))
            storage.store_event(event(RUN, "STEP_SUCCESS", f"{writer} {number} end"))

    def read() -> list[int]:
        seen: list[int] = []
        while not is_written.is_set():
            seen.append(len(storage.get_logs_for_run(RUN)))
            storage.get_maximum_record_id()
        return seen

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            writers = [pool.submit(write, number) for number in range(3)]
            for done in writers:
                done.result()
        finally:
            is_written.set()
        for reader in readers:
            seen = reader.result()
            assert seen == sorted(seen)
    texts = messages(storage, RUN)
    for writer in range(3):
        mine = [text for text in texts if text.startswith(f"{writer} ")]
        assert mine == [text for n in range(15) for text in (f"{writer} {n}", f"{writer} {n} end")]
