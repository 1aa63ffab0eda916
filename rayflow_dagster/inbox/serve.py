"""The endpoint's server: uvicorn, with bounds on connections and on their time."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from .connections import MOST, Connections

MAX_HEADERS = 16 * 1024
"""Bytes of a request's line and headers."""
STOP_SECONDS = 5


class _Server(uvicorn.Server):
    """Calls ``started`` when it serves, and Ctrl-C ends it as it should: before that, it would end
    uvicorn's start halfway.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()


def build_server(app: ASGIApp, started: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """A server for one process; ``run(sockets=[...])`` serves until it is told to stop.

    ``started`` is called when it serves.
    """
    connections = Connections()
    config = uvicorn.Config(
        connections.serving(app),
        http=_bounded(connections),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return _Server(config, started)


def _bounded(connections: Connections) -> type[H11Protocol]:
    """The protocol of uvicorn with a place for each connection; it itself waits for ever for the
    head of a request, and does not tell addresses apart.
    """

    class Placed(H11Protocol):
        _peer = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            whole = cast(asyncio.Transport, transport)
            super().connection_made(whole)
            found = whole.get_extra_info("peername")
            if found is None:  # gone already
                whole.abort()
                return
            self._peer = (str(found[0]), int(found[1]))
            connections.arrive(self._peer, whole.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._peer is not None:
                connections.leave(self._peer)
            super().connection_lost(exc)

    return Placed


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        OSError: the name is unknown, or the port is taken.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=MOST)
