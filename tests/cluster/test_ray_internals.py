"""Ray's private API as ``cluster/_ray.py`` uses it: a test for each thing that may change.

Checked against Ray 2.60.0. Where another version fails here, that module is to be mended.
"""

import inspect
import os
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._common import constants as common_constants
from ray._common.usage import usage_constants
from ray._private import ray_constants, services, state, worker
from ray._private.node import Node
from ray._private.runtime_env import constants as environment_constants
from ray._private.runtime_env import packaging
from ray.core.generated import node_manager_pb2
from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

from rayflow_dagster.actors.event_loop import SharedLoopWorker
from rayflow_dagster.cluster import _ray, connection, embedded, shipping
from rayflow_dagster.cluster.session_logs import remove_old_logs

FIRST_UNCHECKED = (2, 61)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_this_is_a_version_that_was_checked() -> None:
    assert tuple(map(int, ray.__version__.split(".")[:2])) < FIRST_UNCHECKED


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (services.canonicalize_bootstrap_address_or_die, ["addr", "temp_dir"]),
        (packaging._get_excludes, ["path", "excludes"]),
        (packaging.get_excludes_from_ignore_files, ["path", "include_gitignore", "logger"]),
        (state.GlobalState.job_table, ["self"]),
        (state.GlobalState.actor_table, ["self", "actor_id", "job_id", "actor_state_name"]),
        (state.GlobalState._initialize_global_state, ["self", "gcs_options"]),
        (state.GlobalState.get_cluster_config, ["self"]),
        (Node.dead_processes, ["self"]),
        (Node.start_api_server, ["self", "include_dashboard", "raise_on_failure"]),
        (Node.start_monitor, ["self"]),
        (Node.start_log_monitor, ["self"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signatures_are_those_that_we_call(function: Any, names: list[str]) -> None:
    assert parameters(function) == names


def test_a_ray_of_ones_own_is_started_with_parameters_that_ray_takes() -> None:
    public = {
        "address", "num_cpus", "object_store_memory", "include_dashboard", "namespace",
        "log_to_driver", "logging_level", "runtime_env",
    }  # fmt: skip
    assert public <= set(parameters(ray.init))
    for hidden in ("_temp_dir", "_node_ip_address"):  # told in the docstring alone
        assert hidden in str(ray.init.__doc__)
    assert "wait_for_processes" in parameters(ray.shutdown)


def test_names_of_processes_and_variables_are_those_that_ray_reads() -> None:
    assert _ray._VITAL == ("gcs_server", "raylet")
    assert ray_constants.WORKER_PROCESS_TYPE_IDLE_WORKER == "ray::IDLE"
    assert _ray.STANDS_ALONE == {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    assert environment_constants.RAY_JOB_CONFIG_JSON_ENV_VAR in embedded._NOT_INHERITED
    assert environment_constants.RAY_JOB_CONFIG_JSON_ENV_VAR in inspect.getsource(shipping)
    assert usage_constants.USAGE_STATS_ENABLED_ENV_VAR == "RAY_USAGE_STATS_ENABLED"
    variable = common_constants.RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
    assert variable in inspect.getsource(SharedLoopWorker)
    assert "RAY_IGNORE_UNHANDLED_ERRORS" in inspect.getsource(worker)


def test_standing_alone_is_for_the_block_only() -> None:
    before = ray_constants.ENABLE_RAY_CLUSTER
    with _ray.standing_alone():
        assert ray_constants.ENABLE_RAY_CLUSTER is False
        assert _ray.resolve("127.0.0.1:6379") == "127.0.0.1:6379"
    assert before is ray_constants.ENABLE_RAY_CLUSTER


def test_the_raylet_has_the_calls_that_we_make() -> None:
    fields = node_manager_pb2.PrestartWorkersRequest.DESCRIPTOR.fields_by_name
    assert {"num_workers", "keep_alive_duration_secs"} <= set(fields)
    assert "pids" in node_manager_pb2.GetWorkerPIDsReply.DESCRIPTOR.fields_by_name
    assert "GetWorkerPIDs" in inspect.getsource(NodeManagerServiceStub)
    assert "PrestartWorkers" in inspect.getsource(NodeManagerServiceStub)


def test_memory_is_told_in_bytes() -> None:
    assert _ray.system_memory() > 2**20


def test_files_are_left_out_as_gitignore_says(tmp_path: Path) -> None:
    for name in ("kept.py", "left.txt", "ignored.log"):
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").write_text("*.log\n")

    found = {file.name for file in _ray.files_to_ship(tmp_path, ["*.txt"])}

    assert found == {"kept.py", ".gitignore"}


@pytest.mark.ray
def test_what_a_connected_process_asks(ray_session: None) -> None:
    address = _ray.gcs_address()
    _ray.ask_gcs(address, 10.0)
    with pytest.raises(Exception, match="RPC error"):
        # Where nothing listens at all, Ray would wait for forty seconds.
        _ray.ask_gcs(f"127.0.0.1:{ray.nodes()[0]['NodeManagerPort']}", 1.0)
    drivers = _ray.other_drivers()
    assert drivers.live >= 1  # the keeper's
    assert drivers.newest
    assert _ray.autoscales() is False
    assert _ray.dead_head_processes() == []
    reference = ray.put(b"value")
    assert _ray.is_referenced(reference.hex())
    assert not _ray.is_referenced("00" * 28)


@pytest.mark.ray
def test_detached_actors_are_told_with_and_without_a_connection(ray_session: None) -> None:
    kind: Any = ray.remote(type("Asked", (), {"asked": lambda _: 1}))
    actor = kind.options(name="pinned", lifetime="detached", num_cpus=0).remote()
    ray.get(actor.asked.remote())

    here = _ray.detached_actors()
    elsewhere = _ray.detached_actors(_ray.gcs_address())
    ray.kill(actor)

    assert ("pinned", "127.0.0.1") in here
    assert sorted(elsewhere) == sorted(here)


@pytest.mark.ray
def test_the_raylet_tells_of_idle_workers_and_starts_more(ray_session: None) -> None:
    before = _ray.idle_workers()

    _ray.start_workers(1)

    deadline = time.monotonic() + 60
    while _ray.idle_workers() <= before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _ray.idle_workers() > before


@pytest.mark.ray
def test_a_message_of_the_cluster_is_not_printed_while_connected(
    ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    message = {"lines": ["A worker died"], "pid": "raylet", "is_err": False}
    worker.print_to_stdstream(message, ignore_prefix=False)
    assert capsys.readouterr().out == ""
    with _ray.no_messages():
        pass
    try:
        worker.print_to_stdstream({**message, "lines": ["Another died"]}, ignore_prefix=False)
        assert "Another died" in capsys.readouterr().out
    finally:
        worker._worker_logs_enabled = False
    told = inspect.getsource(worker.listen_error_messages)
    assert "print_to_stdstream(" in told


def test_logs_of_ended_processes_go_but_for_the_newest(ray_session: None, tmp_path: Path) -> None:
    running = connection.status()
    assert running is not None
    logs = _ray.logs_of_processes(embedded.Folder(Path(running.folder)).sessions)
    assert os.getpid() in logs.values()
    assert {file.suffix for file in logs} == {".log", ".out", ".err"}

    folder = tmp_path / "session_latest" / "logs"
    folder.mkdir(parents=True)
    ended = _pid_of_an_ended_process()
    names = [f"worker-{at:04x}-01000000-{ended}.out" for at in range(5)]
    names += [f"python-core-worker-aa_{os.getpid()}.log", "raylet.out"]
    for at, name in enumerate(names):
        (folder / name).touch()
        os.utime(folder / name, (at, at))

    remove_old_logs(tmp_path, 2)

    assert sorted(file.name for file in folder.iterdir()) == sorted(names[3:])


def _pid_of_an_ended_process() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.mark.ray
def test_the_cluster_tells_which_requests_wait(ray_session: None) -> None:
    class Never: ...

    actor = ray.remote(num_cpus=1000)(Never).remote()  # type: ignore[call-overload]

    while not any(wanted.get("CPU") == 1000 for wanted, _ in _ray.waiting_requests()):
        time.sleep(0.1)

    ray.kill(actor)


def test_the_warning_of_signals_comes_from_the_logger_that_is_silenced() -> None:
    assert "SIGTERM handler is not set" in inspect.getsource(worker.init)
    record = worker.logger.makeRecord("", 0, "", 0, "SIGTERM handler is not set", (), None)

    with _ray.silent_about_signals():
        assert not worker.logger.filter(record)

    assert worker.logger.filter(record)


@pytest.mark.ray
def test_values_lie_in_the_cluster_until_they_are_taken_or_forgotten(ray_session: None) -> None:
    assert _ray.lay_down(b"test-one", b"first")
    assert not _ray.lay_down(b"test-one", b"second")
    assert _ray.lay_down(b"test-two", b"")
    assert sorted(_ray.laid_down(b"test-")) == [b"test-one", b"test-two"]
    assert _ray.take(b"test-one") == b"first"
    assert _ray.take(b"test-one") is None
    _ray.forget(b"test-")
    assert _ray.laid_down(b"test-") == []
    assert ray.get_runtime_context().get_job_id() not in _ray.dead_jobs()
