"""Connecting this process to Ray: to a cluster by its address, or to the embedded Ray.

``connect()`` before the first use of Ray, ``disconnect()`` after the last; ``start()``,
``status()`` and ``stop()`` look after the embedded Ray, which is described in `embedded.py`.

An embedded Ray outlives the process that started it, and its workers get the environment
variables and the working folder of its keeper, not those of the driver that uses them.
"""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ray

from rayflow_dagster.errors import ClusterError
from rayflow_dagster.optional import optional

from . import _ray, addresses, embedded
from . import residents as _residents
from .embedded import EmbeddedRay
from .feasible import check_feasible
from .residents import NAMESPACE, Resident
from .shipping import Shipment
from .watch import START_IT, STARTS_ITSELF, HeadWatch, Listener

__all__ = [
    "NAMESPACE",
    "EmbeddedRay",
    "RaySettings",
    "Resident",
    "Shipment",
    "check_feasible",
    "connect",
    "disconnect",
    "end_residents",
    "existing_address",
    "on_lost",
    "residents",
    "start",
    "status",
    "stop",
]

logger = logging.getLogger(__name__)


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


@dataclass(slots=True, eq=False)
class _Connection:
    """A connection that ``connect()`` made.

    ``shipment`` is None for the embedded Ray. ``undo`` ends it and puts back Ray's environment.
    ``lost`` is why it is of no use any more.
    """

    address: str
    shipment: Shipment | None
    undo: ExitStack
    watch: HeadWatch | None = None
    lost: ClusterError | None = None


@dataclass(slots=True)
class _Process:
    """What this process is connected to by ``connect()``, and who asked to hear of its loss."""

    connection: _Connection | None = None
    listeners: list[Listener] = field(default_factory=list)


_guard = threading.RLock()
_process = _Process()


def connect(settings: RaySettings | None = None, shipment: Shipment | None = None) -> None:
    """Connect this process to Ray, starting the embedded Ray where that is meant.

    ``shipment`` is what the workers of any other cluster get; the embedded Ray has the project's
    folder before it. A process that is connected already keeps its connection, whoever made it,
    unless the head of that cluster is gone. Raises ClusterError within seconds when the cluster
    cannot be reached.
    """
    settings, shipment = settings or RaySettings(), shipment or Shipment()
    with _guard:
        if _process.connection is not None and _process.connection.lost:
            disconnect()
        if ray.is_initialized():
            _check_same_shipment(shipment)
            return
        address = existing_address(settings)
        if address is None:
            connection = _connect_embedded(settings)
        else:
            connection = _connect_cluster(address, shipment)
        connection.watch = HeadWatch(
            connection.address,
            lambda error: _lose(connection, error),
            disconnect,
            STARTS_ITSELF if address is None else START_IT,
        )
        _process.connection = connection


def disconnect() -> None:
    """End the connection that ``connect()`` made; any other connection is left alone."""
    with _guard:
        connection = _process.connection
        if connection is None:
            return
        if connection.watch is not None:
            connection.watch.stop()
        connection.undo.close()
        _process.connection = None


def on_lost(listener: Listener) -> Callable[[], None]:
    """Call ``listener`` with a ClusterError when the head of the connected cluster is gone.

    It is called once, on a thread of its own or, when the head is gone already, at once. It must
    end or fail whatever waits for Ray, which will not answer any more: ``connect()`` or the watch
    disconnects this process soon after. Returns what takes the listener back.
    """

    def take_back() -> None:
        with _guard:
            if listener in _process.listeners:
                _process.listeners.remove(listener)

    with _guard:
        connection = _process.connection
        lost = connection.lost if connection is not None else None
        if lost is None:
            _process.listeners.append(listener)
    if lost is not None:
        listener(lost)
    return take_back


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


def existing_address(settings: RaySettings | None = None) -> str | None:
    """The address of the existing cluster that is meant, as given; None for the embedded Ray."""
    address = (settings or RaySettings()).address or os.environ.get("RAY_ADDRESS") or "local"
    running = embedded.status()
    return None if address == "local" or (running and running.address == address) else address


def residents(settings: RaySettings | None = None) -> list[Resident]:
    """The resident actors of the Ray that is meant; none where no embedded Ray runs.

    Without connecting, so that looking does not keep the embedded Ray from ending when idle.
    Raises ClusterError when an existing cluster cannot be reached.
    """
    with _guard:
        given, running = existing_address(settings), embedded.status()
        if given is not None:
            address, access = addresses.resolve(given), addresses.authentication()
        elif running is not None:
            address = running.address
            access = embedded.authentication(embedded.private_folder())
        else:
            return []
        with addresses.let_in(address, access):
            return _residents.residents(address)


def end_residents(settings: RaySettings | None = None) -> list[Resident]:
    """End the resident actors of an existing cluster; returns who they were."""
    connect(settings)
    try:
        return _residents.end_residents()
    finally:
        disconnect()


def _connect_embedded(settings: RaySettings) -> _Connection:
    # Locked until connected: the keeper takes the same lock before it ends for want of drivers.
    with _ray.standing_alone(), embedded.locked() as folder:
        running = embedded.find_or_start(folder, settings.num_cpus, settings.idle_seconds)
        return _open(running.address, embedded.authentication(folder), None)


def _connect_cluster(address: str, shipment: Shipment) -> _Connection:
    resolved = addresses.resolve(address)
    try:
        return _open(resolved, addresses.authentication(), shipment)
    except ClusterError as error:
        if resolved == address:
            raise
        raise ClusterError(f"{error} (Ray takes {address!r} for {resolved})") from error


def _open(address: str, access: Mapping[str, str], shipment: Shipment | None) -> _Connection:
    """Connect; ``access`` stays set until the connection ends, as Ray reads it again."""
    with ExitStack() as undo:
        undo.enter_context(addresses.let_in(address, access))
        undo.enter_context(_ray.no_messages())
        undo.callback(ray.shutdown)
        with tempfile.TemporaryDirectory(prefix="rayflow-") as folder:
            archive = Path(folder, "project.zip")
            _init(address, shipment.packed(archive) if shipment is not None else None)
        return _Connection(address, shipment, undo.pop_all())


def _init(address: str, runtime_env: Mapping[str, object] | None) -> None:
    try:
        with _signal_handlers_kept():
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.WARNING,
                runtime_env=runtime_env,
            )
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError, ...
        raise ClusterError(addresses.refusal(address, error)) from error


def _check_same_shipment(wanted: Shipment) -> None:
    """What is shipped is shipped when connecting, so a second project would miss its nodes."""
    connection = _process.connection
    if connection is None or connection.shipment is None or wanted.folder is None:
        return
    if connection.shipment.folder != wanted.folder:
        raise ClusterError(
            f"this process is connected to the Ray cluster at {connection.address} for the "
            f"project {connection.shipment.folder}, and the cluster's workers have nothing of "
            f"{wanted.folder}; call rayflow_dagster.cluster.connection.disconnect() in between, or "
            "run each project in a process of its own"
        )


def _lose(connection: _Connection, error: ClusterError) -> None:
    """Tell everyone who asked that the connection is of no use any more."""
    with _guard:
        if _process.connection is not connection:
            return
        connection.lost = error
        listeners, _process.listeners = _process.listeners, []
    for listener in listeners:
        with optional(f"telling {listener} that the cluster is gone"):
            listener(error)


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """``ray.init`` replaces the SIGTERM handler, which is Dagster's or the user's to keep."""
    if threading.current_thread() is not threading.main_thread():
        with _ray.silent_about_signals():
            yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
