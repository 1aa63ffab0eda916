"""Who may ask: callers with a secret pass, and others get to know no more than that."""

import logging
import re
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import refusal, response_of, too_often
from .connections import HEALTH, network_of
from .receiving import RefusedBody, read_within, received
from .secret_file import Granted, Secrets
from .wrong_secrets import WrongSecrets

SIGNATURE = "x-hub-signature-256"
_NO_SECRET = (
    "send the header Authorization: Bearer <a secret of the inbox>, or, to start a flow, sign the "
    "body with it: X-Hub-Signature-256: sha256=<HMAC of the body>"
)
_TOO_MANY = "too many wrong secrets; Retry-After says how many seconds to wait"
_LOG = logging.getLogger(__name__)


class Guard:
    """``app`` for callers with a secret, and in its state ``granted``: what the secret is for.
    ``/health`` is for everybody.

    Callers send the secret, or start a flow with a body that is signed with it: ``most`` is the
    bytes that it may have. A right secret passes even where its address has to wait: behind a
    proxy all callers share one.
    """

    def __init__(self, app: ASGIApp, secrets: Callable[[], Secrets], most: int) -> None:
        self._app = app
        self._secrets = secrets
        self._most = most
        self._wrong = WrongSecrets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse with 401 or 429."""
        if scope["type"] == "lifespan" or scope.get("path") == HEALTH:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        sent = request.headers.getlist("authorization")
        signed = [] if sent else request.headers.getlist(SIGNATURE)
        flow = _flow_of(request)
        granted = self._secret_of(sent)
        if signed and flow is not None:
            try:
                content = await read_within(request, self._most)
            except RefusedBody as error:
                await response_of(error.answer)(scope, receive, send)
                return
            receive = received(content, receive)
            granted = self._signer_of(signed, content, flow)
        if granted is not None:
            scope.setdefault("state", {})["granted"] = granted
            await self._app(scope, receive, send)
            return
        wait = self._note(request) if sent or (signed and flow is not None) else 0.0
        await _refused(wait)(scope, receive, send)

    def _secret_of(self, headers: list[str]) -> Granted | None:
        scheme, _, secret = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
        granted = self._secrets().find(secret.strip().encode("latin-1"))
        return granted if scheme.lower() == "bearer" else None

    def _signer_of(self, signatures: list[str], content: bytes, flow: str) -> Granted | None:
        is_signed = len(signatures) == 1 and self._secrets().has_signed(
            signatures[0], content, flow
        )
        return Granted(frozenset({flow})) if is_signed else None

    def _note(self, request: Request) -> float:
        host = request.client.host if request.client else "?"
        path = request.scope["path"]
        _LOG.warning("%s sent a wrong secret for %s %.80a", host, request.method, path)
        return self._wrong.note(network_of(host))


def _flow_of(request: Request) -> str | None:
    """The flow that a request is to start."""
    found = re.fullmatch(r"/flows/([^/]+)", request.scope["path"])
    return found[1] if found and request.method == "POST" else None


def _refused(wait: float) -> Response:
    if wait:
        return too_often(_TOO_MANY, wait)
    response = response_of(refusal(401, _NO_SECRET))
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
