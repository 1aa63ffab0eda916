"""What the fork server has when it forks: everything that a run imports, and nothing else."""

import json
import subprocess
import sys

import pytest

from rayflow_dagster.instance.preload import OTHERS, own_modules

LOOK = """
import json, os, ray, sys
from rayflow_dagster.instance.preload import preload
preload()

def drawn():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, ray.ObjectRef.from_random().hex().encode())
        os._exit(0)
    os.wait()
    return os.read(reader, 100).decode()

print(json.dumps({
    "threads": len(os.listdir("/proc/self/task")),
    "open": [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
             if os.path.islink(f"/proc/self/fd/{fd}")],
    "modules": sorted(sys.modules),
    "connected": ray.is_initialized(),
    "drawn": [drawn(), drawn()],
}))
"""


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Such a process, started in the folder of an author."""
    folder = tmp_path_factory.mktemp("author")
    for name in ("nodes", "definitions", "dagster_shared"):
        (folder / f"{name}.py").write_text("raise AssertionError('the author was imported')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", LOOK],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_it_has_one_thread_and_no_connection(preloaded: dict[str, object]) -> None:
    assert preloaded["threads"] == 1
    assert preloaded["connected"] is False
    assert isinstance(preloaded["open"], list)
    assert not [name for name in preloaded["open"] if name.startswith("socket:")]
    assert not [name for name in preloaded["open"] if name.endswith(".db")]


def test_what_it_forks_draws_random_ids_of_its_own(preloaded: dict[str, object]) -> None:
    """Ray ends a process that draws an id which another draws at the same time."""
    assert isinstance(preloaded["drawn"], list)
    assert len({*preloaded["drawn"]} - {""}) == 2


def test_it_has_imported_all_that_it_names(preloaded: dict[str, object]) -> None:
    assert isinstance(preloaded["modules"], list)
    assert {*OTHERS, *own_modules()} <= set(preloaded["modules"])


def test_it_has_imported_nothing_of_the_author(preloaded: dict[str, object]) -> None:
    assert isinstance(preloaded["modules"], list)
    assert not {"nodes", "definitions"} & set(preloaded["modules"])
