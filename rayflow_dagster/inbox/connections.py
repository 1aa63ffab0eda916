"""Who may be connected, and for how long: a new connection in, whether it is served out.

``MOST`` connections are served everything, ``OF_ADDRESS`` of them of one address. One that comes
when these are taken is a spare one, on which ``/health`` alone is answered; of the spare ones, the
oldest without a request makes room for the next. So ``/health`` answers however many wait.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import refusal, response_of

HEALTH = "/health"
MOST = 200
OF_ADDRESS = 50
"""How many connections one address may have."""
MOST_SPARE = 32
IDLE_SECONDS = 5.0
"""How long a connection may take for a whole head of a request."""
REQUEST_SECONDS = 120.0
"""How long a request may take, its body and the reading of its answer included."""
RETRY_SECONDS = 5

Peer = tuple[str, int]


def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the 64 bits of IPv6 that one site has."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)


@dataclass(slots=True)
class _Connection:
    network: str
    is_spare: bool
    close: Callable[[], None]
    requests: int = 0
    timer: asyncio.TimerHandle | None = None

    def close_in(self, seconds: float) -> None:
        self.leave()
        self.timer = asyncio.get_running_loop().call_later(seconds, self.close)

    def leave(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Connections:
    """The connections of one server. For its event loop alone."""

    def __init__(self) -> None:
        self._open: dict[Peer, _Connection] = {}

    def arrive(self, peer: Peer, close: Callable[[], None]) -> None:
        """Take note of a new connection. ``close`` ends it."""
        network = network_of(peer[0])
        taken = [each.network for each in self._open.values() if not each.is_spare]
        is_spare = len(taken) >= MOST or taken.count(network) >= OF_ADDRESS
        connection = _Connection(network, is_spare, close)
        if is_spare and not self._make_room():
            close()
            return
        self._open[peer] = connection
        connection.close_in(IDLE_SECONDS)

    def leave(self, peer: Peer) -> None:
        """Forget a connection that has ended."""
        connection = self._open.pop(peer, None)
        if connection is not None:
            connection.leave()

    def serving(self, app: ASGIApp) -> ASGIApp:
        """``app``, as far as the caller's connection allows."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            peer: Peer = scope.get("client") or ("", 0)
            connection = self._open.get(peer)
            if connection is None:  # not a request, or its caller is gone
                await app(scope, receive, send)
                return
            connection.requests += 1
            connection.close_in(REQUEST_SECONDS)
            try:
                if connection.is_spare and scope["path"] != HEALTH:
                    await _too_many(scope, receive, send)
                else:
                    await app(scope, receive, send)
            finally:
                connection.requests -= 1
                if not connection.requests and self._open.get(peer) is connection:
                    connection.close_in(IDLE_SECONDS)

        return serve

    def _make_room(self) -> bool:
        """Whether one more spare connection may be open; the oldest that waits goes for it."""
        spares = [
            (peer, connection) for peer, connection in self._open.items() if connection.is_spare
        ]
        if len(spares) < MOST_SPARE:
            return True
        for peer, connection in spares:
            if not connection.requests:
                self.leave(peer)
                connection.close()
                return True
        return False


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    text = "too many connections at the moment; Retry-After says how many seconds to wait"
    response = response_of(refusal(503, text, retry=RETRY_SECONDS))
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
