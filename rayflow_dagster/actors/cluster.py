"""Connecting this process to Ray: to a cluster by its address, or to the embedded Ray.

``connect()`` before the first use of Ray, ``disconnect()`` after the last; ``start()``,
``status()`` and ``stop()`` look after the embedded Ray, which is described in `embedded.py`.

An embedded Ray outlives the process that started it, and its workers get the environment
variables and the working folder of its keeper, not those of the driver that uses them.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from rayflow_dagster.actors import _ray, embedded
from rayflow_dagster.actors.embedded import EmbeddedRay
from rayflow_dagster.errors import ClusterError

__all__ = [
    "EmbeddedRay",
    "RaySettings",
    "check_feasible",
    "cluster_resources",
    "connect",
    "disconnect",
    "start",
    "status",
    "stop",
]

NAMESPACE = "rayflow"

# What a node may ask for: "num_cpus", "num_gpus" and "memory" (bytes), custom resources either
# under "resources" or by their own names.
Request = Mapping[str, float | Mapping[str, float]]

_PROBE_SECONDS = 3.0
# RFC 9113: the client's preface and an empty SETTINGS frame; a frame header is length (3 bytes),
# type, flags, stream.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEADER = 9
_SETTINGS_FRAME = 4

_RAY_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU"}


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Which Ray to use.

    ``address``: ``host:port`` of a cluster's head, or ``auto`` for one that runs on this machine;
    None means what RAY_ADDRESS says and, where that is unset, the embedded Ray.
    ``num_cpus``: CPU slots of an embedded Ray that has to be started; None is ``os.cpu_count()``.
    ``idle_seconds``: an embedded Ray ends by itself after so long with no driver connected.
    """

    address: str | None = None
    num_cpus: int | None = None
    idle_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class _Connection:
    """A connection that ``connect()`` made, and the environment to put back when it ends."""

    address: str
    previous: dict[str, str | None]


@dataclass(slots=True)
class _Process:
    """What this process is connected to by ``connect()``; None when it is not."""

    connection: _Connection | None = None


_guard = threading.RLock()
_process = _Process()


def connect(settings: RaySettings | None = None) -> None:
    """Connect this process to Ray, starting the embedded Ray where that is meant.

    A process that is connected already keeps its connection, whoever made it. Raises
    ClusterError within seconds when the cluster cannot be reached.
    """
    settings = settings or RaySettings()
    with _guard:
        if ray.is_initialized():
            return
        address = settings.address or os.environ.get("RAY_ADDRESS") or "local"
        if address == "local":
            _process.connection = _connect_embedded(settings)
        else:
            _process.connection = _connect_cluster(address, settings)


def disconnect() -> None:
    """End the connection that ``connect()`` made; any other connection is left alone."""
    with _guard:
        if _process.connection is None:
            return
        ray.shutdown()
        _restore(_process.connection.previous)
        _process.connection = None


def start(settings: RaySettings | None = None) -> EmbeddedRay:
    """Find the embedded Ray or start it, once however many processes ask, without connecting.

    A running one is returned as it is, whatever the settings say. Raises ClusterError when it
    does not come up.
    """
    settings = settings or RaySettings()
    return embedded.start(settings.num_cpus, settings.idle_seconds)


def status() -> EmbeddedRay | None:
    """The running embedded Ray; None when none runs, whatever an old record says."""
    return embedded.status()


def stop() -> bool:
    """End the embedded Ray and wait until it is gone; True if one was running.

    This process disconnects first; Ray ends the other drivers that are still connected.
    """
    with _guard:
        running, ours = embedded.status(), _process.connection
        # Ray ends a driver whose cluster goes away, and this process is not to end.
        if running and ours and ours.address == running.address:
            disconnect()
        return embedded.stop()


def cluster_resources() -> dict[str, float]:
    """What the connected cluster has in total: "CPU", "GPU", "memory" (bytes), custom ones."""
    total = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return {name: float(amount) for name, amount in total.items()}


def check_feasible(requests: Mapping[str, Request]) -> None:
    """Refuse what the connected cluster can never run; Ray itself would wait for ever.

    ``requests``: node -> its request. A request must fit one machine of the cluster. A cluster
    with an autoscaler may grow, so there nothing is refused. Raises ClusterError naming every
    node that cannot run.
    """
    if _ray.autoscales():
        return
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    machines = [_resources(node["Resources"]) for node in nodes if node["Alive"]]
    problems = [
        f"node '{name}' asks for {_listed(wanted)}"
        for name, wanted in ((name, _resources(request)) for name, request in requests.items())
        if not any(_fits(wanted, machine) for machine in machines)
    ]
    if problems:
        has = "; ".join(_listed(machine) for machine in machines) or "no live machine"
        raise ClusterError(
            f"{'; '.join(problems)}: no machine of the Ray cluster at {_ray.gcs_address()} can "
            f"ever satisfy that. It has {has}. Ask for less, or use a larger cluster"
        )


def _connect_embedded(settings: RaySettings) -> _Connection:
    # Locked until connected: the keeper takes the same lock before it ends for want of drivers.
    with _ray.standing_alone(), embedded.locked() as folder:
        running = embedded.find_or_start(folder, settings.num_cpus, settings.idle_seconds)
        return _open(running.address, embedded.authentication(folder))


def _connect_cluster(address: str, settings: RaySettings) -> _Connection:
    running = embedded.status()
    if running and running.address == address:
        return _connect_embedded(settings)
    resolved = _resolve(address)
    try:
        return _open(resolved, _external_authentication())
    except ClusterError as error:
        if resolved == address:
            raise
        raise ClusterError(f"{error} (Ray takes {address!r} for {resolved})") from error


def _resolve(address: str) -> str:
    """The ``host:port`` behind an address; refuses what is none."""
    if "://" in address:
        raise ClusterError(
            f"Ray address {address!r} is not supported: a node's values stay in the object store, "
            "which a Ray client cannot reach. Run on a machine of the cluster and give host:port "
            "of its head, or 'auto'"
        )
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdigit() and 0 < int(port) < 2**16):
        raise ClusterError(
            f"Ray address {address!r} is not host:port, for example 10.0.0.1:6379, nor 'auto'"
        )
    try:
        return _ray.resolve(address)
    except ConnectionError as error:
        raise ClusterError(
            "Ray address 'auto' means a cluster that runs on this machine, and no single one was "
            "found; `ray start --head` starts one, and no address at all uses the embedded Ray"
        ) from error


def _external_authentication() -> dict[str, str]:
    """The mode a user's token asks for; Ray looks at it only when it finds the address itself."""
    configured = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if "RAY_AUTH_MODE" not in os.environ and (
        configured or (Path.home() / ".ray" / "auth_token").exists()
    ):
        return {"RAY_AUTH_MODE": "token"}
    return {}


def _open(address: str, environment: Mapping[str, str]) -> _Connection:
    """Connect; ``environment`` stays set until the connection ends, as Ray reads it again."""
    _probe(address)
    previous = _set_environment(environment)
    try:
        _ask(address)
        _init(address)
    except BaseException:
        ray.shutdown()
        _restore(previous)
        raise
    return _Connection(address, previous)


def _probe(address: str) -> None:
    """Refuse an address where nothing listens, or no gRPC server; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS) as probe:
            speaks_grpc = "RAY_USE_TLS" in os.environ or _greets_in_http2(probe)
    except OSError as error:
        raise ClusterError(
            f"nothing answers at Ray address {address} ({error}); is the cluster's head running, "
            "and is this its address? With neither RAY_ADDRESS nor an address in the settings, "
            "the embedded Ray is used"
        ) from error
    if not speaks_grpc:
        raise ClusterError(
            f"what listens at Ray address {address} is not the head of a Ray cluster; the port of "
            "a head is 6379 unless it was started with another"
        )


def _greets_in_http2(connection: socket.socket) -> bool:
    """Whether the first frame that answers a client's greeting is SETTINGS, as HTTP/2 demands."""
    connection.sendall(_HTTP2_GREETING)
    first = connection.recv(_FRAME_HEADER)
    return len(first) == _FRAME_HEADER and first[3] == _SETTINGS_FRAME


def _ask(address: str) -> None:
    try:
        _ray.ask_gcs(address, _PROBE_SECONDS)
    except Exception as error:  # Ray raises RpcError, RuntimeError, AuthenticationError, ...
        raise ClusterError(_refusal(address, error)) from error


def _init(address: str) -> None:
    try:
        with _signal_handlers_kept():
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
    except Exception as error:  # as above, and ConnectionError, ValueError
        raise ClusterError(_refusal(address, error)) from error


def _refusal(address: str, error: Exception) -> str:
    mode = os.environ.get("RAY_AUTH_MODE", "unset")
    return (
        f"cannot connect to Ray at {address}: {error}. Something listens there; check that it is "
        f"the head of a Ray {ray.__version__} cluster which this machine belongs to, and that the "
        f"cluster's token, if it wants one, is in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH "
        f"(RAY_AUTH_MODE is {mode})"
    )


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """``ray.init`` replaces the SIGTERM handler, which is Dagster's or the user's to keep."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _set_environment(values: Mapping[str, str]) -> dict[str, str | None]:
    """Set the variables; returns what they were before, None for unset."""
    if not values:
        return {}
    # RAY_AUTH_TOKEN would win over the path of our own token.
    wanted: dict[str, str | None] = dict(values)
    if "RAY_AUTH_TOKEN_PATH" in values:
        wanted["RAY_AUTH_TOKEN"] = None
    previous = {name: os.environ.get(name) for name in wanted}
    _restore(wanted)
    return previous


def _restore(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _ray.reload_authentication()


def _resources(request: Request) -> dict[str, float]:
    """Ray's own names and amounts; zero amounts are left out."""
    flat: dict[str, float] = {}
    for name, amount in request.items():
        entries = amount if isinstance(amount, Mapping) else {_RAY_NAMES.get(name, name): amount}
        flat.update(entries)
    return {name: float(amount) for name, amount in flat.items() if amount}


def _fits(wanted: Mapping[str, float], machine: Mapping[str, float]) -> bool:
    return all(amount <= machine.get(name, 0.0) for name, amount in wanted.items())


def _listed(resources: Mapping[str, float]) -> str:
    shown = {
        name: amount
        for name, amount in sorted(resources.items())
        if not name.startswith("node:") and name != "object_store_memory"
    }
    return ", ".join(f"{name} {amount:g}" for name, amount in shown.items()) or "nothing"
