"""An address in, Ray's environment while its cluster is used out, once its head has answered.

Everything here ends within seconds; Ray itself would try a dead address for minutes.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray

from rayflow_dagster.errors import ClusterError

from . import _ray

PROBE_SECONDS = 3.0
# RFC 9113: the client's preface and an empty SETTINGS frame; a frame header is length (3 bytes),
# type, flags, stream.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEADER = 9
_SETTINGS_FRAME = 4


def resolve(address: str) -> str:
    """The ``host:port`` behind an address.

    Raises:
        ClusterError: it is none, or ``auto`` finds no cluster.
    """
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


def authentication() -> dict[str, str]:
    """The mode a user's token asks for; Ray looks at it only when it finds the address itself."""
    configured = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if "RAY_AUTH_MODE" not in os.environ and (
        configured or (Path.home() / ".ray" / "auth_token").exists()
    ):
        return {"RAY_AUTH_MODE": "token"}
    return {}


@contextmanager
def let_in(address: str, access: Mapping[str, str]) -> Iterator[None]:
    """Ray's environment while this process uses the cluster at ``host:port``: ``access`` are the
    variables that let it in. They are put back at the end.

    Raises:
        ClusterError: no head answers there, or it does not take our token.
    """
    _probe(address)
    wanted: dict[str, str | None] = dict(access)
    if "RAY_AUTH_TOKEN_PATH" in access:  # a token in the environment would win over its path
        wanted["RAY_AUTH_TOKEN"] = None
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        _ask(address)
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    """Set environment variables, unset those that are None, and have Ray read them."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _ray.reload_authentication()


def _probe(address: str) -> None:
    """Check that a gRPC server answers at ``host:port``, without any of Ray's code."""
    try:
        greeted = answers(address)
    except OSError as error:
        raise ClusterError(
            f"nothing answers at Ray address {address} ({error}); is the cluster's head running, "
            "and is this its address? With neither RAY_ADDRESS nor an address in the settings, "
            "the embedded Ray is used"
        ) from error
    if not greeted:
        raise ClusterError(
            f"what listens at Ray address {address} is not the head of a Ray cluster; the port of "
            "a head is 6379 unless it was started with another"
        )


def answers(address: str) -> bool:
    """Whether what listens at ``host:port`` greets as a gRPC server does.

    Raises:
        OSError: nothing listens there, or it says nothing for PROBE_SECONDS.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS) as connection:
        return "RAY_USE_TLS" in os.environ or _greets_in_http2(connection)


def _greets_in_http2(connection: socket.socket) -> bool:
    """Whether the first frame that answers a client's greeting is SETTINGS, as HTTP/2 demands."""
    connection.sendall(_HTTP2_GREETING)
    first = connection.recv(_FRAME_HEADER)
    return len(first) == _FRAME_HEADER and first[3] == _SETTINGS_FRAME


def _ask(address: str) -> None:
    """Check that a GCS which takes our token answers at ``host:port``."""
    try:
        _ray.ask_gcs(address, PROBE_SECONDS)
    except Exception as error:  # Ray raises RpcError, RuntimeError, AuthenticationError, ...
        raise ClusterError(refusal(address, error)) from error


def refusal(address: str, error: Exception) -> str:
    """What to tell a user whose cluster answers and does not let this process in."""
    mode = os.environ.get("RAY_AUTH_MODE", "unset")
    return (
        f"cannot connect to Ray at {address}: {error}. Something listens there; check that it is "
        f"the head of a Ray {ray.__version__} cluster which this machine belongs to, and that the "
        f"cluster's token, if it wants one, is in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH "
        f"(RAY_AUTH_MODE is {mode})"
    )
