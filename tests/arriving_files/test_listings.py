"""Passes over folders: what they find, that sensors share them, and how they fail."""

import os
import threading
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rayflow_dagster.arriving_files import Listings, Pattern, new_files
from rayflow_dagster.errors import TriggerError

TREE = ["a.csv", "b.txt", "A.CSV", ".hid.csv", "x[1].csv", "s/c.csv", "s/t/d.csv", ".h/e.csv"]
CASES = [
    ("*.csv", ["a.csv", "x[1].csv"]),
    ("a*", ["a.csv"]),
    ("?.csv", ["a.csv"]),
    ("[ab].*", ["a.csv", "b.txt"]),
    ("[!a].txt", ["b.txt"]),
    ("a.csv", ["a.csv"]),
    ("nothing.csv", []),
    ("*/*.csv", ["s/c.csv"]),
    ("**/*.csv", ["a.csv", "s/c.csv", "s/t/d.csv", "x[1].csv"]),
    ("s/**", ["s/c.csv", "s/t/d.csv"]),
    ("s/**/d.csv", ["s/t/d.csv"]),
    (".*.csv", [".hid.csv"]),
    (".h/*.csv", [".h/e.csv"]),
]


@pytest.fixture
def memory_folder():
    system = fsspec.filesystem("memory")
    system.pipe({f"/looks/{name}": b"1" for name in TREE})
    yield "memory://looks/"
    system.rm("/looks", recursive=True)


def below(files, folder):
    return sorted(each.path.removeprefix(folder) for each in files)


@pytest.mark.parametrize(("pattern", "found"), CASES)
def test_a_pattern_matches_the_same_in_a_folder_and_at_a_url(
    pattern, found, tmp_path, memory_folder
):
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    local, _ = Listings().files(Pattern.of(pattern, tmp_path), 0)
    remote, _ = Listings().files(Pattern.of(memory_folder + pattern, tmp_path), 0)
    assert below(local, f"{tmp_path}/") == found
    assert below(remote, "memory:///looks/") == found


@pytest.mark.parametrize(
    ("path", "folder", "rest"),
    [
        ("in/*.csv", "/p[1]/in", ("*.csv",)),
        ("*.csv", "/p[1]", ("*.csv",)),
        ("../in/a.csv", "/in", ("a.csv",)),
        ("/abs/**", "/abs", ("**", "*")),
        ("/*.csv", "/", ("*.csv",)),
        ("file:///abs/*", "/abs", ("*",)),
        ("s3://bucket/in/*.csv", "s3://bucket/in", ("*.csv",)),
        ("s3://bucket/*", "s3://bucket", ("*",)),
    ],
)
def test_a_pattern_begins_where_its_literal_part_ends(path, folder, rest):
    assert Pattern.of(path, Path("/p[1]")) == Pattern(folder, rest)


def test_a_file_has_what_its_file_system_tells_and_a_rewritten_one_another_key(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("one")
    os.utime(path, (10, 10))
    (first,), _ = Listings().files(Pattern.of("*", tmp_path), 0)
    assert (first.path, first.name, first.size, first.mtime) == (str(path), "a.csv", 3, 10.0)
    (again,), _ = Listings().files(Pattern.of("a.csv", tmp_path), 0)
    assert again.key == first.key
    os.utime(path, (11, 11))
    (rewritten,), _ = Listings().files(Pattern.of("*", tmp_path), 0)
    assert rewritten.key != first.key


def test_links_in_a_circle_end_and_links_to_nothing_are_no_files(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "up").symlink_to(tmp_path)
    (tmp_path / "dead").symlink_to(tmp_path / "nothing")
    (tmp_path / "a").write_text("1")
    files, _ = Listings().files(Pattern.of("**", tmp_path), 0)
    assert [each.name for each in files] == ["a"]


def test_two_hundred_sensors_in_many_threads_cost_one_pass(tmp_path):
    for number in range(200):
        (tmp_path / f"f{number}_x.csv").write_text("1")
    listings, found = Listings(), {}
    start = threading.Barrier(200)

    def tick(number):
        start.wait()
        found[number] = listings.files(Pattern.of(f"f{number}_*.csv", tmp_path), 1e6)[0]

    threads = [threading.Thread(target=tick, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert listings.passes == 1
    assert {n: [each.name for each in files] for n, files in found.items()} == {
        n: [f"f{n}_x.csv"] for n in range(200)
    }


class CountingFileSystem(MemoryFileSystem):
    protocol = ("counting",)
    store = {}
    pseudo_dirs = [""]
    listed = 0
    broken = False

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("counting://"))

    def ls(self, path, detail=True, **options):
        type(self).listed += 1
        if self.broken:
            raise ConnectionError("the line is down")
        return super().ls(path, detail=detail, **options)


@pytest.fixture
def counting():
    fsspec.register_implementation("counting", CountingFileSystem, clobber=True)
    CountingFileSystem.listed, CountingFileSystem.broken = 0, False
    system = fsspec.filesystem("counting")
    system.pipe({f"/in/f{number}.csv": b"1" for number in range(20)})
    yield CountingFileSystem
    system.rm("/in", recursive=True)


def test_patterns_on_one_url_ask_the_file_system_once(counting):
    listings = Listings()
    for number in range(200):
        pattern = Pattern.of(f"counting://in/f{number}.*", Path("/"))
        assert len(listings.files(pattern, 1e6)[0]) == (1 if number < 20 else 0)
    assert (counting.listed, listings.passes) == (1, 1)


def test_a_listing_that_is_too_old_is_made_anew(tmp_path):
    listings, pattern = Listings(), Pattern.of("*", tmp_path)
    assert list(listings.files(pattern, 1e6)[0]) == []
    (tmp_path / "a").write_text("1")
    assert list(listings.files(pattern, 1e6)[0]) == []
    assert [each.name for each in listings.files(pattern, 0)[0]] == ["a"]


def test_a_lost_network_is_an_error_and_nothing_is_found_twice_or_missed_after_it(counting):
    pattern = Pattern.of("counting://in/*", Path("/"))
    listings = Listings()
    files, began = listings.files(pattern, 0)
    found, cursor = new_files(files, None, settle=0, now=began, most=15)
    counting.broken = True
    with pytest.raises(TriggerError, match="the line is down"):
        listings.files(pattern, 0)
    counting.broken = False
    files, began = listings.files(pattern, 0)
    rest, _ = new_files(files, cursor, settle=0, now=began)
    assert (len(found), len(rest), len({each.key for each in [*found, *rest]})) == (15, 5, 20)


def test_a_failed_pass_is_shared_too(counting):
    counting.broken = True
    listings = Listings()
    for _ in range(5):
        with pytest.raises(TriggerError):
            listings.files(Pattern.of("counting://in/*", Path("/")), 1e6)
    assert counting.listed == 1


def test_a_folder_that_is_not_there_is_an_error_and_an_empty_url_is_not(tmp_path):
    with pytest.raises(TriggerError, match=r"inbox is not there: create it"):
        Listings().files(Pattern.of("inbox/*", tmp_path), 0)
    assert list(Listings().files(Pattern.of("memory://nothing/*", tmp_path), 0)[0]) == []


def test_a_part_that_cannot_be_read_fails_the_whole_pass(tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    (tmp_path / "a").write_text("1")
    scandir = os.scandir

    def refuse(path):
        if str(path).rstrip("/").endswith("/s"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(TriggerError, match="Permission denied"):
        Listings().files(Pattern.of("**", tmp_path), 0)
