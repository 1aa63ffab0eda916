"""The one module that uses Ray's private API. Written against Ray 2.60.

Whoever upgrades Ray reads this page; nothing outside it should break.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_system_memory
from ray._private import ray_constants, services, worker
from ray._private.node import Node
from ray._private.runtime_env import packaging
from ray._private.state import GlobalState, state
from ray._raylet import (  # type: ignore[attr-defined]  # Ray's stub leaves them out
    AuthenticationTokenLoader,
    Config,
    GcsClient,
    GcsClientOptions,
)
from ray.exceptions import RpcError

_RAYLET_SECONDS = 5.0
_GCS_SECONDS = 5.0
_OURS = b"rayflow"
"""The namespace of our own keys."""
# python-core-driver-<job>_<pid>.log, python-core-worker-<id>_<pid>.log, worker-<id>-<job>-<pid>.out
_LOG_OF_PROCESS = re.compile(
    r"(python-core-(worker|driver)|worker)-[0-9a-f]+(-[0-9a-f]+)?[-_](?P<pid>\d+)\.(log|out|err)"
)
LAST_WRITTEN = 20_000
"""Bytes of what a worker has written that are looked at."""
_YEAR_SECONDS = 365 * 86400
_VITAL = (ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET)
_SESSION_KEY = b"session_name"
_SESSION_NAMESPACE = b"session"


@dataclass(frozen=True, slots=True)
class Drivers:
    """The drivers a cluster knows of, this process left out.

    ``live`` is how many are connected; ``newest`` the id of the last that ever connected, ""
    when there was none.
    """

    live: int
    newest: str


def reload_authentication() -> None:
    """Make this process read ``RAY_AUTH_*`` from the environment again; Ray caches both.

    The mode first, the token second: a thread of an ending connection that reloads the token
    while the mode still says "token" aborts the process when there is no token any more.
    """
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


# What tells the processes of a new Ray that it stands alone on this machine. Despite its name it
# works on Linux: they then use 127.0.0.1 for each other and bind their ports to it, where Ray
# otherwise replaces 127.0.0.1 by the machine's own address and binds every interface.
STANDS_ALONE = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}


@contextmanager
def standing_alone() -> Iterator[None]:
    """Let ``ray.init`` in here take 127.0.0.1 literally: STANDS_ALONE for this process itself.

    The variable would be too late here, as Ray has read it when it was imported.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


# What starts processes of a head that serve nobody here: a dashboard that is not included, the
# monitor of an autoscaler, and what shows drivers the logs of workers.
_UNUSED = ("start_api_server", "start_monitor", "start_log_monitor")


@contextmanager
def _without_unused() -> Iterator[None]:
    """Let ``ray.init`` in here start fewer processes: it is up sooner, by 270 MB smaller, and does
    not read logs all the time. There are no parameters for it.
    """
    kept = {name: getattr(Node, name) for name in _UNUSED}
    for name in _UNUSED:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(Node, name, method)


def start_alone(num_cpus: int, object_store: int, folder: Path, namespace: str) -> None:
    """Start a Ray for this machine alone and connect to it; this process owns it.

    ``object_store`` is in bytes; ``folder`` is for Ray's sockets, logs and spilled values.
    """
    with standing_alone(), _without_unused():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=object_store,
            include_dashboard=False,
            namespace=namespace,
            log_to_driver=False,
            _temp_dir=str(folder),
            _node_ip_address="127.0.0.1",
        )


@contextmanager
def no_messages() -> Iterator[None]:
    """Ray writes nothing of the cluster to this process's standard output, as it does of a worker
    that died whatever ``log_to_driver`` says. What concerns a node is its own error.
    """
    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = True


def logs_of_processes(folder: Path) -> dict[Path, int]:
    """The log files that workers and drivers of the newest Ray in ``folder`` write, each with the
    id of its process.
    """
    logs = folder / "session_latest" / "logs"
    found = ((file, _LOG_OF_PROCESS.fullmatch(file.name)) for file in logs.glob("*"))
    return {file: int(name["pid"]) for file, name in found if name}


def last_written_by(pid: int) -> str | None:
    """The end of what a worker of this machine has written to its standard error; None where there
    is none of that process id.
    """
    node = worker.global_worker.node
    if node is None:
        return None
    for file in Path(node.get_logs_dir_path()).glob(f"worker-*-{pid}.err"):
        with suppress(OSError), file.open("rb") as written:
            written.seek(max(0, file.stat().st_size - LAST_WRITTEN))
            return written.read().decode(errors="replace")
    return None


# What lies in the cluster only helps: that the cluster does not answer is told of elsewhere.


def lay_down(key: bytes, value: bytes) -> bool:
    """Keep a value in the connected cluster; False, and nothing is done, if its key has one."""
    with suppress(RpcError):
        return bool(_gcs().internal_kv_put(key, value, False, _OURS, timeout=_GCS_SECONDS))
    return False


def laid_down(prefix: bytes) -> list[bytes]:
    """The keys with a value that begin so."""
    with suppress(RpcError):
        return list(_gcs().internal_kv_keys(prefix, _OURS, timeout=_GCS_SECONDS))
    return []


def take(key: bytes) -> bytes | None:
    """The value of a key, which has none from now on."""
    value: bytes | None = None
    with suppress(RpcError):
        value = _gcs().internal_kv_get(key, _OURS, timeout=_GCS_SECONDS)
        if value is not None:
            _gcs().internal_kv_del(key, False, _OURS, timeout=_GCS_SECONDS)
    return value


def forget(prefix: bytes) -> None:
    """Forget the values of all keys that begin so."""
    with suppress(RpcError):
        _gcs().internal_kv_del(prefix, True, _OURS, timeout=_GCS_SECONDS)


def _gcs() -> Any:
    connected: Any = worker.global_worker
    return connected.gcs_client


def dead_jobs() -> list[str]:
    """The jobs of drivers that the connected cluster has seen end."""
    table = state.job_table()  # type: ignore[no-untyped-call]
    return [str(job["JobID"]) for job in table if job["IsDead"]]


def ask_gcs(address: str, timeout: float) -> None:
    """Ask the GCS at ``host:port`` one question; returns when it answered.

    ``timeout`` is in seconds. Raises what Ray raises: no answer, not a GCS, token refused.
    """
    client = GcsClient(address=address)
    client.internal_kv_get(_SESSION_KEY, _SESSION_NAMESPACE, timeout=timeout)


def resolve(address: str) -> str:
    """The ``host:port`` that ``ray.init`` would connect to for ``host:port`` or ``auto``.

    "auto" becomes a Ray found on this machine, localhost the machine's own address. Raises
    ConnectionError when "auto" finds none, ValueError for what is no address.
    """
    return str(services.canonicalize_bootstrap_address_or_die(address))


def system_memory() -> int:
    """Memory of this machine or container, in bytes."""
    return int(get_system_memory())


def gcs_address() -> str:
    """``host:port`` of the cluster this process is connected to."""
    return str(ray.get_runtime_context().gcs_address)


def dead_head_processes() -> list[str]:
    """Names of the head's processes that have ended, of those that nothing works without: the GCS
    and the raylet. This process started them.
    """
    node = worker._global_node
    dead = [name for name, _process in node.dead_processes()] if node else [*_VITAL]
    return [name for name in dead if name in _VITAL]


def other_drivers() -> Drivers:
    """The drivers of the connected cluster, this process and Ray's own jobs left out."""
    own = ray.get_runtime_context().get_job_id()
    table = state.job_table()  # type: ignore[no-untyped-call]
    jobs = [job for job in table if job["JobID"] != own]
    live = sum(1 for job in jobs if not job["IsDead"])
    return Drivers(live=live, newest=max((job["JobID"] for job in jobs), default=""))


def autoscales() -> bool:
    """Whether an autoscaler has told the connected cluster of node groups it may add."""
    config = state.get_cluster_config()
    return config is not None and len(config.node_group_configs) > 0


@contextmanager
def silent_about_signals() -> Iterator[None]:
    """Off the main thread ``ray.init`` warns that it leaves the SIGTERM handler, as it should."""

    def is_other(record: logging.LogRecord) -> bool:
        return "SIGTERM" not in record.getMessage()

    worker.logger.addFilter(is_other)
    try:
        yield
    finally:
        worker.logger.removeFilter(is_other)


def waiting_requests() -> list[tuple[dict[str, float], int]]:
    """What the connected cluster is asked for and has not given yet: resources, and how often."""
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    core: Any = worker.global_worker
    waiting = get_cluster_resource_state(core.gcs_client).pending_resource_requests
    return [(dict(each.request.resources_bundle), each.count) for each in waiting]


def files_to_ship(folder: Path, left_out: Sequence[str]) -> Iterator[Path]:
    """The files under ``folder`` that Ray would ship as a ``working_dir``.

    ``left_out`` are patterns written like those of .gitignore; .gitignore and .rayignore files
    count too. Generated while the folder is walked.
    """
    excludes = [packaging._get_excludes(folder, list(left_out))]
    yield from _walk(folder, excludes)


def _walk(folder: Path, excludes: list[Callable[[Path], bool]]) -> Iterator[Path]:
    own = packaging.get_excludes_from_ignore_files(folder, include_gitignore=True)
    every = [*excludes, *own]
    for path in sorted(folder.iterdir()):
        if any(is_excluded(path) for is_excluded in every):
            continue
        if path.is_dir():
            yield from _walk(path, every)
        elif path.is_file():
            yield path


def detached_actors(address: str | None = None) -> list[tuple[str, str]]:
    """(name, IP address) of the live detached actors, of all namespaces.

    Of the connected cluster or, without connecting as a driver, of the one at ``host:port``.
    """
    known = state
    if address is not None:
        known = GlobalState()  # type: ignore[no-untyped-call]
        options = GcsClientOptions.create(
            address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False
        )
        known._initialize_global_state(options)
    table = known.actor_table(None, actor_state_name="ALIVE")
    return [
        (actor["Name"], actor["Address"]["IPAddress"])
        for actor in table.values()
        if actor["IsDetached"]
    ]


def is_referenced(object_id: str) -> bool:
    """Whether the connected cluster still has a reference to an object that this process made.

    ``object_id`` is what ``ObjectRef.hex`` says.
    """
    core: Any = worker.global_worker
    return object_id.encode() in core.core_worker.get_all_reference_counts()


def idle_workers() -> int:
    """How many worker processes of the head's raylet are idle. Linux only.

    Ray names an idle worker process ``ray::IDLE``.
    """
    reply = _call_raylet("GetWorkerPIDs")
    return sum(_title(pid).startswith(b"ray::IDLE") for pid in reply.pids)


def start_workers(count: int) -> None:
    """Have the head's raylet start so many worker processes more, for actors to come."""
    # Without the last word Ray would end some of them after a second.
    _call_raylet("PrestartWorkers", num_workers=count, keep_alive_duration_secs=_YEAR_SECONDS)


def _call_raylet(method: str, **request: int) -> Any:
    """Call the raylet of the only machine of the connected cluster, in Ray's own protocol."""
    import grpc
    from ray.core.generated import node_manager_pb2 as messages
    from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

    (machine,) = ray.nodes()  # type: ignore[no-untyped-call]
    address = f"{machine['NodeManagerAddress']}:{machine['NodeManagerPort']}"
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text().strip()
    with grpc.insecure_channel(address) as channel:
        stub: Any = NodeManagerServiceStub
        call = getattr(stub(channel), method)
        body = getattr(messages, f"{method}Request")(**request)
        return call(body, metadata=[("authorization", f"Bearer {token}")], timeout=_RAYLET_SECONDS)


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
