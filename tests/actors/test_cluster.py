"""The embedded Ray and connections, with real Ray processes in folders of their own.

Whatever connects runs in a process of its own: this one may be connected to another Ray already.
"""

import json
import os
import re
import signal
import socket
import sys
import time
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

from rayflow_dagster.actors import addresses, cluster, embedded
from rayflow_dagster.actors.cluster import RaySettings
from rayflow_dagster.cli.embedded_ray import start_ray
from rayflow_dagster.cli.group import Refused
from rayflow_dagster.errors import ClusterError

pytestmark = pytest.mark.ray

SETTINGS = RaySettings(num_cpus=1, idle_seconds=120.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from private_folder()


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[embedded.EmbeddedRay]:
    """One embedded Ray for the tests that neither end nor damage it."""
    with pytest.MonkeyPatch.context() as patch:
        folders = private_folder()
        next(folders)
        yield cluster.start(SETTINGS)
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
    assert cluster.start(SETTINGS) == running
    assert cluster.status() == running


@pytest.mark.usefixtures("running")
def test_a_driver_joins_the_embedded_ray_and_prints_nothing() -> None:
    source = """
connect(RaySettings())
connect(RaySettings())
identity = ray.remote(lambda value: value)
print(ray.get(identity.remote(41)), ray.cluster_resources()["CPU"])
print(ray.get_runtime_context().namespace)
print(is_embedded())
disconnect()
print(ray.is_initialized(), is_embedded())
"""
    assert said(driver(source)).split() == ["41", "1.0", "rayflow", "True", "False", "False"]


def test_the_embedded_ray_that_a_run_starts_has_the_slots_of_the_project(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.rayflow_dagster]\nnum_cpus = 1\n")
    source = f"""
from pathlib import Path
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project

nodes = [{{"id": name, "type": name, "data": {{}}}} for name in ("start", "return")]
edge = {{"id": "e", "source": "start", "target": "return", "sourceHandle": "exec_out",
        "targetHandle": "exec_in", "type": "exec"}}
orchestrator = FlowOrchestrator(Project.at(Path({str(tmp_path)!r})))
orchestrator.load({{"nodes": nodes, "edges": [edge]}})
orchestrator.connect()
orchestrator.close()
print(status().num_cpus)
"""
    assert said(driver(source)).split() == ["1"]


def test_a_driver_given_the_embedded_address_joins_it(running: embedded.EmbeddedRay) -> None:
    source = "connect(); print(ray.get_runtime_context().gcs_address)"
    assert said(driver(source, RAY_ADDRESS=running.address)).strip() == running.address


@pytest.mark.usefixtures("running")
def test_connecting_leaves_signals_and_access_settings_as_they_were() -> None:
    source = """
def access():
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}

before = access()
handler = lambda *_: None
signal.signal(signal.SIGTERM, handler)
connect()
assert signal.getsignal(signal.SIGTERM) is handler
disconnect()
assert access() == before
connect()
print(ray.get(ray.put("again")))
"""
    assert said(driver(source, RAY_AUTH_TOKEN="someone else's")).strip() == "again"


def test_a_connection_of_the_user_is_kept(running: embedded.EmbeddedRay) -> None:
    source = f"""
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH={running.folder + "/token"!r})
connect()
from rayflow_dagster.actors import cluster
cluster._process.connection = None  # as if the user had made it
connect(RaySettings(address="127.0.0.1:1"))
disconnect()
print(ray.is_initialized(), is_embedded())
"""
    assert said(driver(source)).split() == ["True", "True"]


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


def refusal(address: str) -> str:
    source = f"""
try:
    connect(RaySettings(address={address!r}))
except Exception as error:
    print(type(error).__name__, error)
"""
    return said(driver(source))


def test_a_dead_address_is_refused() -> None:
    text = refusal("127.0.0.1:1")
    assert text.startswith("ClusterError nothing answers at Ray address")
    assert "Ray takes '127.0.0.1:1' for" in text


def test_an_address_where_something_else_answers_is_refused() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        process = driver(f"connect(RaySettings(address='127.0.0.1:{port}'))")
        accepted, _peer = server.accept()
        accepted.sendall(b"220 mail.example.org ESMTP\r\n")
        _out, err = process.communicate(timeout=PATIENCE)
        accepted.close()
    assert "is not the head of a Ray cluster" in err


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
        cluster.start(SETTINGS)
    folder.chmod(0o700)


def test_a_folder_too_long_for_sockets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYFLOW_RAY_DIR", str(tmp_path / ("x" * 60)))
    with pytest.raises(ClusterError, match="too long for Ray's sockets"):
        cluster.start(SETTINGS)


@pytest.mark.usefixtures("folder")
def test_a_start_that_fails_shows_the_log() -> None:
    with pytest.raises(ClusterError, match=r"(?s)did not start.*nonnegative.*session_latest"):
        cluster.start(RaySettings(num_cpus=-1))
    assert cluster.status() is None


# --- starting and ending -------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_concurrent_starters_start_one_and_stop_ends_all_of_it() -> None:
    source = f"connect({SETTINGS!r}); print(status().pid, flush=True); input()"
    drivers = [driver(source), driver(source)]
    pids = {int(process.stdout.readline()) for process in drivers if process.stdout}
    keeper = cluster.status()
    assert keeper is not None
    assert pids == {keeper.pid}
    for process in drivers:
        process.communicate("\n", timeout=PATIENCE)

    everything = family(keeper.pid)
    assert cluster.stop()
    assert eventually(lambda: not living(everything))
    assert cluster.status() is None
    assert not cluster.stop()


def test_a_stale_record_is_not_believed_and_heals(folder: Path) -> None:
    stale = embedded.EmbeddedRay(os.getpid(), "127.0.0.1:1", 1, 0.0, str(folder))
    embedded.write_record(embedded.Folder(folder), stale)
    assert cluster.status() is None
    assert not cluster.stop()

    started = cluster.start(SETTINGS)
    assert started.pid != stale.pid
    record = json.loads((folder / "record.json").read_text())
    assert record["address"] == started.address != stale.address


def test_it_ends_when_idle_but_not_while_a_driver_is_connected(folder: Path) -> None:
    source = f"""
connect({RaySettings(num_cpus=1, idle_seconds=0.5)!r})
print("connected", flush=True)
input()
print(ray.get(ray.remote(lambda: "still up").remote()))
"""
    process = driver(source)
    assert process.stdout is not None
    assert process.stdout.readline() == "connected\n"
    keeper = cluster.status()
    assert keeper is not None
    everything = family(keeper.pid)
    time.sleep(2)  # four times as long as it may idle
    out, _err = process.communicate("\n", timeout=PATIENCE)
    assert out == "still up\n"

    assert eventually(lambda: not living(everything))
    assert cluster.status() is None
    assert not (folder / "record.json").exists()


@pytest.mark.usefixtures("folder")
def test_a_killed_keeper_leaves_no_ray_process() -> None:
    keeper = cluster.start(SETTINGS)
    everything = family(keeper.pid)
    assert len(everything) > 3
    os.kill(keeper.pid, signal.SIGKILL)
    assert eventually(lambda: not living(everything))
    assert cluster.status() is None


@pytest.mark.usefixtures("folder")
def test_whoever_loses_the_embedded_ray_hears_that_the_next_run_starts_it() -> None:
    keeper = cluster.start(SETTINGS)
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
    os.kill(keeper.pid, signal.SIGKILL)
    text = said(process)
    assert "It is the embedded Ray, which the next run starts again; launch the flow again" in text
    assert "gcs_server.out" not in text


def test_the_keeper_ends_when_the_head_dies(folder: Path) -> None:
    keeper = cluster.start(SETTINGS)
    everything = family(keeper.pid)
    os.kill(process_named("gcs_server", everything), signal.SIGKILL)
    assert eventually(lambda: not living(everything))
    assert "gcs_server died" in (folder / "keeper.log").read_text()
