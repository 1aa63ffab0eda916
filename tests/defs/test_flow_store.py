"""Saved flows stay for as long as a process may read them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayflow_dagster.defs import flow_store
from rayflow_dagster.defs.flow_store import (
    digest_of,
    remove_unused_flows,
    save_flows,
    saved_flows,
    unused_flows,
)
from rayflow_dagster.errors import RayflowError

ONE, TWO = b'{"one": 1}', b'{"two": 2}'


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    held: dict[Path, int] = {}
    monkeypatch.setattr(flow_store, "_held", held)
    yield flow_store.flow_store()
    for handle in held.values():
        os.close(handle)


def in_another_process(source: str) -> subprocess.Popen[str]:
    """A process that has loaded flows, prints a line, and lives until its stdin is closed."""
    module = "from rayflow_dagster.defs.flow_store import *"
    code = f"{module}\n{source}\nprint('loaded', flush=True)\nimport sys; sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "loaded\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("")
    assert process.returncode == 0


def make_old(store: Path) -> None:
    for file in store.glob("*.json"):
        os.utime(file, (0, 0))


def names(files: list[Path]) -> set[str]:
    return {file.stem for file in files}


def test_saved_bytes_are_found_under_their_hash(store):
    digests = save_flows([ONE, TWO, ONE])
    assert digests == [digest_of(ONE), digest_of(TWO)]
    assert saved_flows(digests) == [ONE, TWO]


def test_what_a_living_process_has_loaded_is_used_until_it_ends(store):
    process = in_another_process(f"save_flows([{ONE!r}, {TWO!r}])")
    reader = in_another_process(f"saved_flows([{digest_of(TWO)!r}])")
    make_old(store)
    assert unused_flows([]) == []
    end(process)
    assert names(unused_flows([])) == {digest_of(ONE)}
    end(reader)
    make_old(store)
    assert names(unused_flows([])) == {digest_of(ONE), digest_of(TWO)}


def test_a_killed_process_uses_nothing_any_more(store):
    process = in_another_process(f"save_flows([{ONE!r}])")
    process.kill()
    process.communicate()
    make_old(store)
    assert names(remove_unused_flows([])) == {digest_of(ONE)}
    assert list((store / "loaded").iterdir()) == []


def test_this_process_uses_what_it_has_loaded_in_several_goes(store):
    save_flows([ONE])
    save_flows([TWO])
    make_old(store)
    assert remove_unused_flows([]) == []
    assert saved_flows([digest_of(ONE)]) == [ONE]
    assert len(list((store / "loaded").iterdir())) == 1


def test_a_current_flow_and_one_that_was_loaded_lately_stay(store):
    end(in_another_process(f"save_flows([{ONE!r}])"))
    assert unused_flows([]) == []
    make_old(store)
    assert unused_flows([digest_of(ONE)]) == []
    end(in_another_process(f"save_flows([{ONE!r}])"))  # touches what is there already
    assert unused_flows([]) == []


def test_without_any_list_nothing_counts_as_unused(store):
    store.mkdir(parents=True)
    (store / f"{digest_of(ONE)}.json").write_bytes(ONE)
    make_old(store)
    assert unused_flows([]) == remove_unused_flows([]) == []


def test_bytes_that_are_gone_are_said(store):
    with pytest.raises(RayflowError, match=r"no longer in .*; reload the code location"):
        saved_flows([digest_of(ONE)])
