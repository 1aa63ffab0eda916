"""The endpoint's server: uvicorn, with bounds on connections and on their time."""

import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 200
MAX_HEADERS = 16 * 1024
"""Bytes of a request's line and headers."""
IDLE_SECONDS = 10.0
"""How long a connection may take for a request's headers."""
STOP_SECONDS = 5


class ImpatientProtocol(H11Protocol):
    """Ends connections on which no request begins: uvicorn itself waits for headers for ever."""

    def connection_made(self, transport: Any) -> None:
        """Begin to watch the connection."""
        super().connection_made(transport)
        self._last: object = self.cycle
        self.loop.call_later(IDLE_SECONDS, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self.cycle is self._last:
            self.transport.abort()
            return
        self._last = self.cycle if is_idle else object()
        self.loop.call_later(IDLE_SECONDS, self._look)


def build_server(app: ASGIApp) -> uvicorn.Server:
    """A server for one process; ``run(sockets=[...])`` serves until it is told to stop."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        OSError: the name is unknown, or the port is taken.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)


def address_of(listening: socket.socket) -> str:
    """The URL that a listening socket is found at."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
