import json
import os
import socket
from ipaddress import ip_address
from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.reach import Reach, is_local, names_local

_SENT_ANYWHERE = frozenset(
    {"accept", "accept-encoding", "accept-language", "connection", "content-encoding"}
    | {"content-length", "content-type", "host", "transfer-encoding", "user-agent"}
)
"""Headers that a redirect to another server keeps. Any other may be a key to the first."""
_PART = 2**16


class HttpRequestNode(RayflowNode):
    """Send an HTTP request. The answer's status is an output: 404 or 500 do not fail the node.

    A body of text is sent as it is, anything else as JSON. The answer's header names are in lower
    case. TIMEOUT is how many seconds the whole exchange may take, and MAX_BYTES how long the
    answer's body may be. A redirect is followed, unless FOLLOW_REDIRECTS is false; another server
    gets only headers that are no secrets.
    """

    icon = "fa-globe"
    category = "io"
    inputs = {
        "url": str,
        "method": {"type": str, "default": "GET"},
        "headers": {"type": dict, "default": {}},
        "body": {"type": "any", "default": None},
    }
    outputs = {"status": int, "headers": dict, "body": str}

    TIMEOUT = 30.0
    MAX_BYTES = 50_000_000
    FOLLOW_REDIRECTS = True

    async def process(
        self, url: str, method: str, headers: dict[str, Any], body: Any
    ) -> dict[str, Any]:
        import aiohttp  # takes half a second, which only workers that need it spend

        method, shown = method.upper(), _checked(url)
        content, content_type = _encoded(body)
        guard = _Guard(Reach.here())
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(socket_factory=guard.new_socket),
                    timeout=aiohttp.ClientTimeout(total=self.TIMEOUT),
                    middlewares=[guard.watch],
                    skip_auto_headers=["Content-Type"],
                    trust_env=True,
                ) as session,
                session.request(
                    method,
                    url,
                    headers=_merged(content_type, headers),
                    data=content,
                    allow_redirects=self.FOLLOW_REDIRECTS,
                ) as answer,
            ):
                received = await self._read(answer)
        except TimeoutError:
            raise ConnectionError(
                f"{method} {shown} failed: not done after {self.TIMEOUT:g} seconds (TIMEOUT)"
            ) from None
        except (OSError, aiohttp.ClientError) as error:
            reason = guard.refused or _reason(error)
            raise ConnectionError(f"{method} {shown} failed: {reason}") from error
        names = dict.fromkeys(map(str.lower, answer.headers))
        return {
            "status": answer.status,
            "headers": {name: ", ".join(answer.headers.getall(name)) for name in names},
            "body": _text(received, answer.charset),
        }

    async def _read(self, answer: Any) -> bytes:
        received = bytearray()
        async for part in answer.content.iter_chunked(_PART):
            received += part
            if len(received) > self.MAX_BYTES:
                raise OSError(f"the answer is longer than {self.MAX_BYTES:,} bytes (MAX_BYTES)")
        return bytes(received)


class _Guard:
    """Looks at each request of an exchange before it is sent, and at each address before it is
    connected to: a name may stand for any address.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._first: Any = None
        self._has_proxy = False
        self.refused = ""
        """Why an address was not connected to."""

    async def watch(self, request: Any, send: Any) -> Any:
        """A middleware of aiohttp: called for the request, and for each that a redirect makes."""
        self._first = self._first or request.url.origin()
        if request.url.origin() != self._first:
            for name in {name for name in request.headers if name.lower() not in _SENT_ANYWHERE}:
                del request.headers[name]
        self._has_proxy = request.proxy is not None
        if self._has_proxy and names_local(request.url.host):
            self._refuse(request.url.host)
        return await send(request)

    def new_socket(self, address: Any) -> socket.socket:
        """A socket for an address as ``getaddrinfo`` gives it.

        Raises:
            OSError: it is an address of this machine, and not that of the proxy.
        """
        family, kind, protocol, _, (host, *_) = address
        if not self._has_proxy and is_local(ip_address(host.partition("%")[0])):
            self._refuse(host)
        return socket.socket(family, kind, protocol)

    def _refuse(self, host: str) -> None:
        if self._reach.local_requests:
            return
        self.refused = (
            f"{host} is an address of the machine itself or of its link, which a flow may "
            "send requests to only where pyproject.toml says so: local_requests = true in "
            "[tool.rayflow_dagster]"
        )
        raise OSError(self.refused)


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else str(error) or type(error).__name__


def _checked(url: str) -> str:
    """The address for messages: without user and query, where secrets stand.

    Raises:
        ValueError: it is none.
    """
    from yarl import URL

    try:
        parsed = URL(url)
    except ValueError as error:
        raise ValueError(f"the url is no address: {error}") from None
    shown = str(parsed.with_user(None).with_query(None)) if parsed.host else url.partition("?")[0]
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{shown!r} is not an address: write http://... or https://...")
    if parsed.user is not None or parsed.password is not None:
        raise ValueError(
            f"{shown!r}: a user name in an address is not sent; use an Authorization header"
        )
    return shown


def _encoded(body: Any) -> tuple[bytes | None, str]:
    """The bytes to send, and the type that they are of."""
    match body:
        case None:
            return None, ""
        case str():
            return body.encode(), "text/plain; charset=utf-8"
        case bytes():
            return body, "application/octet-stream"
    return json.dumps(body, allow_nan=False).encode(), "application/json"


def _merged(content_type: str, headers: dict[str, Any]) -> dict[str, str]:
    given = {name: str(value) for name, value in headers.items()}
    if not content_type or "content-type" in map(str.lower, given):
        return given
    return {"Content-Type": content_type, **given}


def _text(content: bytes, charset: str | None) -> str:
    try:
        return content.decode(charset or "utf-8", errors="replace")
    except LookupError:  # the server names an encoding that Python does not know
        return content.decode(errors="replace")
