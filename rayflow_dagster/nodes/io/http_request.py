import json
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from rayflow_dagster.node import RayflowNode

_SECRETS = ("Authorization", "Cookie", "Proxy-authorization")


class HttpRequestNode(RayflowNode):
    """Send an HTTP request. The answer's status is an output: 404 or 500 do not fail the node.

    A body of text is sent as it is, anything else as JSON. The answer's header names are in lower
    case. TIMEOUT is how many seconds to wait for the server to connect, or to go on sending.
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

    def process(self, url: str, method: str, headers: dict[str, Any], body: Any) -> dict[str, Any]:
        request = _request(url, method, headers, body)
        try:
            with _open(request, self.TIMEOUT) as answer:
                content = answer.read()
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            raise ConnectionError(f"{request.method} {_shown(url)} failed: {reason}") from error
        return {
            "status": answer.status,
            "headers": _headers(answer.headers),
            "body": _text(content, answer.headers.get_content_charset()),
        }


def _request(url: str, method: str, headers: dict[str, Any], body: Any) -> Request:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{_shown(url)!r} is not an address: write http://... or https://...")
    if parts.username is not None:
        raise ValueError(
            f"{_shown(url)!r}: a user name in an address is not sent; use an Authorization header"
        )
    if not url.isascii():
        raise ValueError(f"{_shown(url)!r} has characters that must be percent-encoded")
    content, content_type = _encoded(body)
    request = Request(url, data=content, method=method.upper())
    for name, value in {**content_type, **headers}.items():
        request.add_header(name, str(value))
    return request


def _encoded(body: Any) -> tuple[bytes | None, dict[str, str]]:
    """The bytes to send, and the header that says what they are."""
    match body:
        case None:
            return None, {}
        case str():
            return body.encode(), {"Content-type": "text/plain; charset=utf-8"}
        case bytes():
            return body, {"Content-type": "application/octet-stream"}
    return json.dumps(body, allow_nan=False).encode(), {"Content-type": "application/json"}


def _shown(url: str) -> str:
    """The address for messages: without user and query, where secrets stand."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _open(request: Request, timeout: float) -> Any:
    # Not build_opener(): that one would also follow a redirect to ftp.
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        _Redirects(),
        HTTPErrorProcessor(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    try:
        return opener.open(request, timeout=timeout)
    except HTTPError as answer:
        return answer  # any status is an answer, and urllib's error is one, with body and all


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, and keeps secrets meant for one server from another."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        here, there = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, newurl))
        if following and (here.scheme, here.netloc) != (there.scheme, there.netloc):
            for name in _SECRETS:
                following.remove_header(name)
        return following


def _headers(message: HTTPMessage) -> dict[str, str]:
    names = dict.fromkeys(map(str.lower, message.keys()))
    return {name: ", ".join(message.get_all(name, [])) for name in names}


def _text(content: bytes, charset: str | None) -> str:
    try:
        return content.decode(charset or "utf-8", errors="replace")
    except LookupError:  # the server names an encoding that Python does not know
        return content.decode(errors="replace")
