"""Who may ask: callers with a secret pass, and others get to know no more than that."""

import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import refusal
from .places import HEALTH, network_of
from .responses import response_of, too_often
from .secret_file import Granted, Secrets
from .wrong_secrets import WrongSecrets

_TOO_MANY = "too many wrong secrets; Retry-After says how many seconds to wait"
_LOG = logging.getLogger(__name__)


class Guard:
    """``app`` for callers with a secret, and in its state ``granted``: what the secret is for.
    ``/health`` is for everybody.

    A right secret passes even where its address has to wait: behind a proxy all callers share one.
    """

    def __init__(self, app: ASGIApp, secrets: Callable[[], Secrets]) -> None:
        self._app = app
        self._secrets = secrets
        self._wrong = WrongSecrets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse with 401 or 429."""
        if scope["type"] == "lifespan" or scope.get("path") == HEALTH:
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        granted = self._granted(given)
        if granted is not None:
            scope.setdefault("state", {})["granted"] = granted
            await self._app(scope, receive, send)
            return
        wait = self._note(scope) if given else 0.0
        if wait:
            response = too_often(_TOO_MANY, wait)
        else:
            text = "send the header Authorization: Bearer <a secret of the inbox>"
            response = response_of(refusal(401, text))
            response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, send)

    def _granted(self, given: list[bytes]) -> Granted | None:
        scheme, _, secret = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        granted = self._secrets().find(secret.strip())
        return granted if scheme.lower() == b"bearer" else None

    def _note(self, scope: Scope) -> float:
        host = (scope.get("client") or ("?", 0))[0]
        _LOG.warning("%s sent a wrong secret for %s %.80a", host, scope["method"], scope["path"])
        return self._wrong.note(network_of(host))
