"""Dagster's private API as the event-log storage uses it: a test for each thing that may change."""

import ast
import inspect
import sqlite3
import textwrap
from contextlib import closing
from pathlib import Path

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sql import check_alembic_revision, get_alembic_config
from event_logs import SHARDS, open_instance
from sqlalchemy import create_engine

from rayflow_dagster.instance import _dagster
from rayflow_dagster.instance.event_log import _ENDS_STEP, _MAY_WAIT, FastSqliteEventLogStorage
from rayflow_dagster.instance.shard_files import ShardFiles


def _attributes_of_self(function: object) -> set[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def test_a_shard_is_initialised_without_anything_of_a_storage() -> None:
    assert _attributes_of_self(SqliteEventLogStorage._initdb) == set()


def test_a_new_shard_is_at_the_newest_revision_and_in_wal_mode(tmp_path: Path) -> None:
    ShardFiles(str(tmp_path)).open("run").close()
    engine = create_engine(f"sqlite:///{tmp_path}/run.db")
    config = get_alembic_config(inspect.getfile(SqliteEventLogStorage))
    with engine.connect() as connection:
        current, newest = check_alembic_revision(config, connection)
    engine.dispose()
    assert current == newest is not None
    with closing(sqlite3.connect(tmp_path / "run.db")) as raw, raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()
    assert any(str(newest) in script.name for script in _dagster.MIGRATIONS.glob("*.py"))


def test_all_connections_of_dagsters_class_are_made_where_we_make_ours() -> None:
    """``create_engine`` elsewhere would be a connection that nobody keeps or flushes for."""
    makers = {
        name
        for name, function in inspect.getmembers(SqliteEventLogStorage, inspect.isfunction)
        if "create_engine(" in inspect.getsource(function)
    }
    assert makers == {"__init__", "has_table", "_connect"}
    ours = set(vars(FastSqliteEventLogStorage))
    assert {"has_table", "_connect", "run_connection", "index_connection"} <= ours


def test_storing_an_event_of_a_step_does_no_more_than_insert_it() -> None:
    """Events that wait, or end a step, skip Dagster's ``store_event``: it does more for events of
    these three kinds only.
    """
    source = inspect.getsource(SqliteEventLogStorage.store_event)
    conditions = [
        ast.unparse(node.test)
        for node in ast.walk(ast.parse(textwrap.dedent(source)))
        if isinstance(node, ast.If)
    ]
    more = ("ASSET_EVENTS", "ASSET_CHECK_EVENTS", "EVENT_TYPE_TO_PIPELINE_RUN_STATUS")
    in_kinds = "event.is_dagster_event and event.dagster_event_type in "
    assert sorted(conditions) == sorted(["event_id is None", *(in_kinds + name for name in more)])
    module = inspect.getmodule(SqliteEventLogStorage)
    mirrored = {kind.value for name in more for kind in getattr(module, name)}
    assert not mirrored & (_MAY_WAIT | _ENDS_STEP)


def test_the_default_folder_is_the_one_that_dagster_uses(tmp_path: Path) -> None:
    with open_instance(tmp_path, "stock") as instance:
        folder = Path(_dagster.default_event_log_folder(instance))
        assert folder == tmp_path / SHARDS
        assert (folder / "index.db").exists()


def test_the_version_of_the_schema_names_dagsters_version() -> None:
    import dagster

    assert _dagster.schema_version().startswith(f"{dagster.__version__}-")
    assert _dagster.schema_version() == _dagster.schema_version()
