"""Who may be connected, and for how long: from connections to places, which are bounded.

Most places serve everything, so many of them one address. Whoever comes when these are taken gets
a spare place, on which ``/health`` alone is answered; of these, the oldest without a request makes
room for the next. So ``/health`` answers however many connections wait.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import refusal
from .responses import response_of

HEALTH = "/health"
PLACES = 200
OF_ADDRESS = 50
"""How many places one address may have."""
SPARE_PLACES = 32
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
class _Place:
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


class Places:
    """The places of one server. For its event loop alone."""

    def __init__(self) -> None:
        self._places: dict[Peer, _Place] = {}

    def arrive(self, peer: Peer, close: Callable[[], None]) -> None:
        """Give a new connection a place. ``close`` ends it."""
        network = network_of(peer[0])
        taken = [place.network for place in self._places.values() if not place.is_spare]
        is_spare = len(taken) >= PLACES or taken.count(network) >= OF_ADDRESS
        place = _Place(network, is_spare, close)
        if is_spare and not self._make_room():
            close()
            return
        self._places[peer] = place
        place.close_in(IDLE_SECONDS)

    def leave(self, peer: Peer) -> None:
        """Forget a connection that has ended."""
        place = self._places.pop(peer, None)
        if place is not None:
            place.leave()

    def serving(self, app: ASGIApp) -> ASGIApp:
        """``app``, as far as the place of the caller allows."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            peer: Peer = scope.get("client") or ("", 0)
            place = self._places.get(peer)
            if place is None:  # not a request, or its caller is gone
                await app(scope, receive, send)
                return
            place.requests += 1
            place.close_in(REQUEST_SECONDS)
            try:
                if place.is_spare and scope["path"] != HEALTH:
                    await _too_many(scope, receive, send)
                else:
                    await app(scope, receive, send)
            finally:
                place.requests -= 1
                if not place.requests and self._places.get(peer) is place:
                    place.close_in(IDLE_SECONDS)

        return serve

    def _make_room(self) -> bool:
        """Whether there is a spare place, or the oldest that waits could be cleared."""
        spares = [(peer, place) for peer, place in self._places.items() if place.is_spare]
        if len(spares) < SPARE_PLACES:
            return True
        for peer, place in spares:
            if not place.requests:
                self.leave(peer)
                place.close()
                return True
        return False


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    text = "too many connections at the moment; Retry-After says how many seconds to wait"
    response = response_of(refusal(503, text, retry=RETRY_SECONDS))
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
