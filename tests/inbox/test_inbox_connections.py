"""How many connections the endpoint has and for how long, and what it answers to more of them."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from inbox.inbox_flows import Served, serving
from rayflow_dagster.inbox import connections
from rayflow_dagster.inbox.connections import MOST_SPARE, OF_ADDRESS, network_of
from rayflow_dagster.inbox.serve import build_server, listen

ORDER = {"customer": "Ada"}


@contextlib.contextmanager
def connected(served: Served, count: int, address: str) -> Iterator[list[socket.socket]]:
    """Connections from an address, over which nothing is sent."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                socket.create_connection(
                    ("127.0.0.1", served.caller.port), timeout=30, source_address=(address, 0)
                )
            )
            for _ in range(count)
        ]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in a test is closed for nothing but too many connections."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 600.0)


def assert_closed(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(100) == b""


def test_idle_connections_of_one_address_keep_nobody_from_health(
    patient: None, served: Served
) -> None:
    with connected(served, 300, "127.0.0.1") as idle:
        answered = served.caller.get("/health")
        assert (answered.status, answered.body) == (200, {"status": "ok"})
        # The oldest on a spare place made room.
        assert_closed(idle[OF_ADDRESS])
        assert len(idle) > OF_ADDRESS + MOST_SPARE


def test_whoever_comes_too_many_is_told_when_to_come_again(patient: None, served: Served) -> None:
    with connected(served, OF_ADDRESS, "127.0.0.1"):
        for answered in (served.caller.get("/flows"), served.caller.post("order", ORDER)):
            assert answered.status == 503
            assert "too many connections" in answered.body["error"]
            assert int(answered.headers["retry-after"]) > 0
            assert answered.headers["connection"] == "close"
    assert served.store.waiting("order", 10, 1000) == []


def test_one_address_does_not_take_the_places_of_others(patient: None, served: Served) -> None:
    with connected(served, 205, "127.0.0.2"):
        assert served.caller.post("order", ORDER).status == 202


def test_many_addresses_do_not_keep_anybody_from_health(patient: None, served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for last in range(2, 8):
            stack.enter_context(connected(served, OF_ADDRESS, f"127.0.0.{last}"))
        assert served.caller.get("/health").status == 200
        answered = served.caller.get("/flows")
        assert answered.status == 503
        assert int(answered.headers["retry-after"]) > 0


def test_places_are_free_again_when_connections_have_ended(patient: None, served: Served) -> None:
    with connected(served, OF_ADDRESS, "127.0.0.1") as taken:
        assert served.caller.get("/flows").status == 503
        for connection in taken:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            while connection.recv(100):
                pass
        assert served.caller.get("/flows").status == 200


@pytest.mark.parametrize("answered", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("begun", [b"", b"GET /flows HTTP/1.1\r\nHost:"])
def test_a_connection_on_which_no_whole_head_comes_is_closed(
    flows: Path,
    memory: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    begun: bytes,
    answered: bool,
) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 600.0 if answered else 0.2)
    with serving(flows, memory) as served, connected(served, 1, "127.0.0.1") as (connection,):
        if answered:
            monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            connection.sendall(begun)
            while connection.recv(1000):
                pass


def test_a_request_that_does_not_end_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
    with connected(served, 1, "127.0.0.1") as (connection,):
        connection.sendall(
            b"POST /flows/order HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            b"Authorization: Bearer a-secret-of-the-tests\r\n\r\n{"
        )
        assert_closed(connection)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(host: str, network: str) -> None:
    assert network_of(host) == network


def test_uvicorn_calls_our_protocol_and_names_the_peer_of_a_request() -> None:
    """What we need of uvicorn: if this fails, no connection is bounded."""
    peers: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        peers.append(scope["client"])
        await JSONResponse({})(scope, receive, send)

    server = build_server(app)
    server.config.lifespan = "off"
    server.config.load()
    protocol = server.config.http_protocol_class
    assert issubclass(protocol, H11Protocol)
    assert issubclass(H11Protocol, asyncio.Protocol)
    assert {"connection_made", "connection_lost"} <= vars(protocol).keys()
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
                assert peers == [connection.getsockname()]
        finally:
            server.should_exit = True
            thread.join()
