"""The embedded Ray and connections, with real Ray processes in folders of their own.

Whatever connects runs in a process of its own: this one may be connected to another Ray already.
"""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import (
    PATIENCE,
    driver,
    eventually,
    family,
    living,
    private_folder,
    process_named,
    said,
)

from rayflow_dagster.cli.embedded_ray import start_ray
from rayflow_dagster.cli.group import Refused
from rayflow_dagster.cluster import addresses, connection, embedded
from rayflow_dagster.cluster.connection import RaySettings
from rayflow_dagster.errors import ClusterError

pytestmark = pytest.mark.ray

SETTINGS = RaySettings(num_cpus=1, idle_seconds=120.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from private_folder()


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[embedded.EmbeddedRay]:
    """One embedded Ray, started by a run, for the tests that neither end nor damage it."""
    source = """
import json, tempfile
from pathlib import Path
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project

nodes = [{"id": name, "type": name, "data": {}} for name in ("start", "return")]
edge = {"id": "e", "source": "start", "target": "return", "sourceHandle": "exec_out",
        "targetHandle": "exec_in", "type": "exec"}
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "pyproject.toml").write_text("[tool.rayflow_dagster]\\nnum_cpus = 1\\n")
    orchestrator = FlowOrchestrator(Project.at(Path(folder)))
    orchestrator.load({"nodes": nodes, "edges": [edge]})
    orchestrator.connect()
    orchestrator.close()
"""
    with pytest.MonkeyPatch.context() as patch:
        folders = private_folder()
        next(folders)
        assert said(driver(source)) == ""
        running = connection.status()
        assert running is not None
        yield running
        next(folders, None)
        patch.undo()


@pytest.fixture
def running(
    shared_ray: embedded.EmbeddedRay, monkeypatch: pytest.MonkeyPatch
) -> embedded.EmbeddedRay:
    monkeypatch.setenv("RAYFLOW_RAY_DIR", shared_ray.folder)
    return shared_ray


# --- finding and joining -------------------------------------------------------------------------


def test_starting_twice_gives_the_same_ray(running: embedded.EmbeddedRay) -> None:
    assert connection.start(SETTINGS) == running
    assert connection.status() == running


def test_the_embedded_ray_that_a_run_starts_has_the_slots_of_the_project(
    running: embedded.EmbeddedRay,
) -> None:
    assert running.num_cpus == 1


def test_a_driver_joins_the_embedded_ray_again_and_again_and_prints_nothing(
    running: embedded.EmbeddedRay,
) -> None:
    source = """
def access():
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}

def is_embedded():
    return ray.get_runtime_context().gcs_address == status().address

before = access()
handler = lambda *_: None
signal.signal(signal.SIGTERM, handler)
connect(RaySettings())
connect(RaySettings())
assert signal.getsignal(signal.SIGTERM) is handler
identity = ray.remote(lambda value: value)
print(ray.get(identity.remote(41)), ray.cluster_resources()["CPU"])
print(ray.get_runtime_context().namespace, is_embedded())
disconnect()
assert access() == before
print(ray.is_initialized())

# Its address is not that of an existing cluster.
os.environ["RAY_ADDRESS"] = status().address
connect()
print(ray.get(ray.put("again")), is_embedded())
disconnect()

# A connection that the user has made.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=status().folder + "/token")
del os.environ["RAY_ADDRESS"]
connect()
from rayflow_dagster.cluster import connection
connection._process.connection = None  # as if the user had made it
connect(RaySettings(address="127.0.0.1:1"))
disconnect()
print(ray.is_initialized(), is_embedded())
"""
    told = said(driver(source, RAY_AUTH_TOKEN="someone else's")).splitlines()
    assert told == ["41 1.0", "rayflow True", "False", "again True", "True True"]


def test_the_token_is_for_its_user_only(running: embedded.EmbeddedRay) -> None:
    token = Path(running.folder, "token")
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net")
def test_nothing_of_the_embedded_ray_listens_beyond_loopback(running: embedded.EmbeddedRay) -> None:
    assert {address for pid in family(running.pid) for address in listening(pid)} == {"loopback"}


def listening(pid: int) -> set[str]:
    """Where a process listens for TCP: "loopback", or the address in hex as the kernel says it."""
    inodes = {
        os.readlink(entry)[8:-1]
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if entry.is_symlink() and os.readlink(entry).startswith("socket:[")
    }
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    loopback = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    addresses = {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}
    return {"loopback" if address in loopback else address for address in addresses}


def test_slots_of_a_ray_that_runs_cannot_be_changed(
    running: embedded.EmbeddedRay, capsys: pytest.CaptureFixture[str]
) -> None:
    start_ray(1, 120.0)
    with pytest.raises(Refused, match="it has 1 CPU slots, not 4: --cpus counts only when"):
        start_ray(4, 120.0)
    assert capsys.readouterr().out.count("is already running") == 2


# --- feasibility ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("running")
def test_what_no_machine_can_run_is_refused_by_node_name() -> None:
    source = """
connect()
check_feasible({"fits": {"num_cpus": 1, "memory": 1e6}, "nothing": {}, "no gpu": {"num_gpus": 0}})
try:
    check_feasible({
        "fits": {"num_cpus": 1},
        "gpu": {"num_gpus": 1},
        "big": {"num_cpus": 3, "resources": {"licence": 2}},
        "vast": {"memory": 5e12},
    })
except Exception as error:
    print(type(error).__name__, error)
"""
    text = said(driver(source))
    assert text.startswith("ClusterError node 'gpu' asks for GPU 1; node 'big' asks for CPU 3, lic")
    assert "'vast' asks for memory 5000 GB" in text
    assert re.search(r"It has CPU 1, memory [\d.]+ GB", text)
    assert "fits" not in text


# --- addresses -----------------------------------------------------------------------------------


def test_addresses_where_nothing_or_something_else_answers_are_refused() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        source = f"""
for address in ("127.0.0.1:1", "127.0.0.1:{port}"):
    try:
        connect(RaySettings(address=address))
    except Exception as error:
        print(type(error).__name__, str(error).replace("\\n", " "))
"""
        process = driver(source)
        accepted, _peer = server.accept()
        accepted.sendall(b"220 mail.example.org ESMTP\r\n")
        nothing, other = said(process).splitlines()
        accepted.close()
    assert nothing.startswith("ClusterError nothing answers at Ray address")
    assert "Ray takes '127.0.0.1:1' for" in nothing
    assert other.startswith("ClusterError")
    assert "is not the head of a Ray cluster" in other


@pytest.mark.parametrize("address", ["somewhere", "host:port", ":6379", "host:0", "host:99999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match=r"is not host:port.*nor 'auto'"):
        addresses.resolve(address)


def test_a_ray_client_address_is_refused() -> None:
    with pytest.raises(ClusterError, match="which a Ray client cannot reach"):
        addresses.resolve("ray://head:10001")


# --- the private folder --------------------------------------------------------------------------


def test_a_folder_others_may_enter_is_refused(folder: Path) -> None:
    folder.chmod(0o755)
    with pytest.raises(ClusterError, match="other users may enter"):
        connection.start(SETTINGS)
    folder.chmod(0o700)


def test_a_folder_too_long_for_sockets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYFLOW_RAY_DIR", str(tmp_path / ("x" * 60)))
    with pytest.raises(ClusterError, match="too long for Ray's sockets"):
        connection.start(SETTINGS)


@pytest.mark.usefixtures("folder")
def test_a_start_that_fails_shows_the_log() -> None:
    with pytest.raises(ClusterError, match=r"(?s)did not start.*nonnegative.*session_latest"):
        connection.start(RaySettings(num_cpus=-1))
    assert connection.status() is None


# --- starting and ending -------------------------------------------------------------------------


def test_a_stale_record_is_not_believed_and_heals_and_the_keeper_ends_when_the_head_dies(
    folder: Path,
) -> None:
    stale = embedded.EmbeddedRay(os.getpid(), "127.0.0.1:1", 1, 0.0, str(folder))
    embedded.write_record(embedded.Folder(folder), stale)
    assert connection.status() is None
    assert not connection.stop()

    started = connection.start(SETTINGS)
    assert started.pid != stale.pid
    record = json.loads((folder / "record.json").read_text())
    assert record["address"] == started.address != stale.address

    everything = family(started.pid)
    os.kill(process_named("gcs_server", everything), signal.SIGKILL)
    assert eventually(lambda: not living(everything))
    assert "gcs_server died" in (folder / "keeper.log").read_text()


@pytest.mark.usefixtures("folder")
def test_a_killed_keeper_leaves_no_ray_process_and_whoever_lost_it_hears_what_starts_it() -> None:
    keeper = connection.start(SETTINGS)
    source = """
connect()
told = threading.Event()
on_lost(lambda error: (print(error, flush=True), told.set()))
print("ready", flush=True)
told.wait()
os._exit(0)
"""
    process = driver("import threading" + source)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    everything = family(keeper.pid)
    assert len(everything) > 3
    os.kill(keeper.pid, signal.SIGKILL)
    assert eventually(lambda: not living(everything))
    assert connection.status() is None
    text = said(process)
    assert "It is the embedded Ray, which the next run starts again; launch the flow again" in text
    assert "gcs_server.out" not in text
