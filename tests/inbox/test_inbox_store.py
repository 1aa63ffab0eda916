"""Requests on disk."""

import multiprocessing
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from rayflow_dagster.inbox.store import FILE, Added, RequestStore, has_store

PLENTY = 1_000_000


def ids(store: RequestStore, flow: str = "f", most: int = 100) -> list[str]:
    return [request.id for request in store.waiting(flow, most, PLENTY)]


def add(store: RequestStore, number: int = 0, flow: str = "f") -> str:
    added = store.add(flow, {"n": number}, str(number))
    assert added.id is not None
    return added.id


def test_a_request_waits_with_its_inputs_until_it_is_taken(store: RequestStore) -> None:
    request = add(store, 7)

    (waiting,) = store.waiting("f", 10, PLENTY)
    assert (waiting.id, waiting.inputs, waiting.offers) == (request, {"n": 7}, 0)
    store.mark_taken({request: "run"})
    found = store.find(request)
    assert ids(store) == []
    assert found is not None
    assert (found.state, found.run_id) == ("taken", "run")


def test_closing_waits_for_a_thread_that_is_at_work(tmp_path: Path) -> None:
    """SQLite crashes a process that closes a connection in which a thread is."""
    store = RequestStore(tmp_path)
    request = add(store)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(2) as threads:
            finding = threads.submit(store.find, request)
            while not store._lock.locked():
                time.sleep(0.01)
            closed = threads.submit(store.close)
            assert not wait([closed], 0.2).done
            other.execute("ROLLBACK")
            found = finding.result()
    assert found is not None
    assert found.id == request
    with pytest.raises(sqlite3.Error, match="closed"):
        store.find(request)


def test_requests_wait_oldest_first_and_by_flow(store: RequestStore) -> None:
    first, other, second = add(store, 1), add(store, 2, "other"), add(store, 3)

    assert ids(store) == [first, second]
    assert ids(store, most=1) == [first]
    assert ids(store, "other") == [other]


def test_a_batch_is_bounded_by_the_size_of_its_inputs_but_never_empty(store: RequestStore) -> None:
    sizes = [300, 300, 1]
    added = [store.add("f", {"text": "x" * size}, str(at)).id for at, size in enumerate(sizes)]

    assert [each.id for each in store.waiting("f", 10, 400)] == added[:1]
    assert [each.id for each in store.waiting("f", 10, 10)] == added[:1]


def test_of_requests_that_were_offered_before_one_is_given_again_and_last(
    store: RequestStore,
) -> None:
    first, second = add(store, 1), add(store, 2)
    store.mark_offered([first, second])
    third = add(store, 3)

    assert ids(store) == [third, first]
    store.mark_offered([third, first])
    assert ids(store) == [second]
    assert store.offered("f") == [first, second, third]
    assert store.offered("other") == []
    assert store.offered() == [first, second, third]


def test_the_same_key_and_inputs_are_the_same_request(store: RequestStore) -> None:
    first = store.add("f", {"n": 1}, "one", "key")

    assert first.outcome == "new"
    assert store.add("f", {"n": 1}, "one", "key") == Added("repeated", first.id)
    assert store.add("f", {"n": 2}, "two", "key") == Added("key_reused")
    assert store.keyed("f", "one", "key") == Added("repeated", first.id)
    assert store.keyed("f", "one", "other") is None
    assert store.keyed("f", "one", None) is None
    assert store.add("g", {"n": 2}, "two", "key").outcome == "new"
    assert store.add("f", {"n": 1}, "one").outcome == "new"
    assert store.count_waiting("f") == 2


def test_a_key_is_known_after_its_request_was_taken(store: RequestStore) -> None:
    first = store.add("f", {"n": 1}, "one", "key")
    assert first.id is not None
    store.mark_taken({first.id: "run"})

    assert store.add("f", {"n": 1}, "one", "key") == Added("repeated", first.id)


def test_only_so_many_requests_of_a_flow_wait(store: RequestStore) -> None:
    kept = store.add("f", {}, "", "key", most=1)

    assert store.add("f", {}, "", most=1) == Added("full")
    assert store.add("f", {}, "", "key", most=1) == Added("repeated", kept.id)
    assert store.add("g", {}, "", most=1).outcome == "new"
    assert kept.id is not None
    store.mark_taken({kept.id: "run"})
    assert store.add("f", {}, "", most=1).outcome == "new"


def test_a_request_that_ended_is_not_taken_for_waiting(store: RequestStore) -> None:
    request = add(store)
    store.end({request: "the reason"}, "refused")

    found = store.find(request)
    assert ids(store) == []
    assert found is not None
    assert (found.state, found.reason) == ("refused", "the reason")


def test_a_request_with_a_run_cannot_be_refused_any_more(store: RequestStore) -> None:
    request = add(store)
    store.mark_taken({request: "run"})
    store.end({request: "too late"}, "refused")

    found = store.find(request)
    assert found is not None
    assert found.state == "taken"


def test_what_waits_is_never_forgotten(store: RequestStore) -> None:
    waiting, taken = add(store, 1), add(store, 2)
    store.mark_taken({taken: "run"})

    assert store.prune(time.time() - 3600) == 0
    assert store.prune(time.time() + 3600) == 1
    assert store.find(taken) is None
    assert ids(store) == [waiting]


def test_inputs_are_forgotten_once_the_run_has_them(tmp_path: Path) -> None:
    with RequestStore(tmp_path) as store:
        request = store.add("f", {"text": "confidential" * 50}, "")
        assert request.id is not None
        store.mark_taken({request.id: "run"})

    with closing(sqlite3.connect(tmp_path / "requests.db")) as connection, connection:
        assert connection.execute("SELECT inputs FROM requests").fetchall() == [(None,)]
    connection.close()


def test_only_the_owner_can_read_the_files(store: RequestStore, tmp_path: Path) -> None:
    add(store)

    files = [file for file in (tmp_path / "inbox").iterdir() if file.name.startswith("requests")]
    assert len(files) > 1
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


def test_asking_whether_there_is_a_store_makes_none(tmp_path: Path) -> None:
    assert not has_store(tmp_path / "inbox")
    assert not (tmp_path / "inbox").exists()
    with RequestStore(tmp_path / "inbox"):
        assert has_store(tmp_path / "inbox")


ADD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from rayflow_dagster.inbox.store import RequestStore
store = RequestStore(Path(sys.argv[1]))
print(store.add("f", {"n": 1}, "one").id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_request_survives_the_death_of_the_process_that_stored_it(tmp_path: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", ADD_AND_DIE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert died.returncode == -signal.SIGKILL, died.stderr
    with RequestStore(tmp_path) as store:
        assert ids(store) == [died.stdout.strip()]


def _add_many(folder: Path, count: int) -> None:
    with RequestStore(folder) as store:
        for number in range(count):
            add(store, number)


def test_processes_that_store_and_take_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_many, args=(tmp_path, 20)) for _ in range(2)]
    for writer in writers:
        writer.start()
    taken: list[str] = []
    with RequestStore(tmp_path) as store:
        while any(writer.is_alive() for writer in writers) or ids(store):
            found = ids(store, most=3)
            store.mark_taken(dict.fromkeys(found, "run"))
            taken += found
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(taken) == len(set(taken)) == 40


FILL_UP = """
import resource, signal, sqlite3, sys
from pathlib import Path
from rayflow_dagster.inbox.store import RequestStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
accepted = 0
with RequestStore(Path(sys.argv[1])) as store:
    try:
        for _ in range(100):
            store.add("f", {"text": "x" * 10_000}, "")
            accepted += 1
    except sqlite3.Error as error:
        print(accepted, store.count_waiting("f"), type(error).__name__, flush=True)
"""


def test_a_full_disk_refuses_requests_and_keeps_those_before(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL_UP, str(tmp_path)], capture_output=True, text=True, check=False
    )

    accepted, counted, error = done.stdout.split()
    assert 0 < int(accepted) < 100
    assert counted == accepted
    assert "Error" in error
    with RequestStore(tmp_path) as store:
        assert len(ids(store)) == int(accepted)
