"""The endpoint over HTTP: how much and how often callers may ask; then ``endpoint`` answers."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .answers import Answer, refusal, response_of, too_often
from .connections import HEALTH
from .endpoint import Endpoint, Limits
from .guard import Guard
from .receiving import ReadRefused, RefusedBody, read_within
from .secret_file import Secrets

DELIVERY = "x-github-delivery"
"""The header by which GitHub tells one delivery from another."""
TIDY_SECONDS = 60.0
_TOO_OFTEN = "too many requests; Retry-After says how many seconds to wait"
_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"[!-~]{1,255}")


def build_app(endpoint: Endpoint, secrets: Callable[[], Secrets], limits: Limits) -> ASGIApp:
    """The ASGI application. ``secrets`` gives those of which callers must send one."""
    handlers = _Handlers(endpoint, limits)
    app = Starlette(
        routes=[
            Route(HEALTH, handlers.health),
            Route("/openapi.json", handlers.openapi),
            Route("/flows", handlers.flows),
            Route("/flows/{name}", handlers.start, methods=["POST"]),
            Route("/requests/{id}", handlers.request),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
        lifespan=handlers.lifespan,
    )
    return ReadRefused(Guard(app, secrets, limits.body))


class TokenBucket:
    """``rate`` tokens a second; as many as two seconds give may be taken at once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._tokens = self._most
        self._clock = clock
        self._at = clock()

    def take(self) -> float:
        """Take a token: 0.0, or the seconds until there is one again."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class _Handlers:
    """One method for each route."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._starts = TokenBucket(limits.rate)
        self._questions = TokenBucket(limits.rate)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Tidy up now and then while the server runs."""
        tidying = asyncio.create_task(self._tidy())
        try:
            yield
        finally:
            tidying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tidying

    async def _tidy(self) -> None:
        while True:
            try:
                await run_in_threadpool(self._endpoint.tidy)
            except Exception:  # a database that is busy or away; the next time may go well
                _LOG.exception("the store of requests could not be tidied")
            await asyncio.sleep(TIDY_SECONDS)

    async def health(self, _: Request) -> Response:
        """Whether this process answers. Says nothing else, and needs no secret."""
        return JSONResponse({"status": "ok"})

    async def start(self, request: Request) -> Response:
        """``POST /flows/{name}``."""
        wait = self._starts.take()
        if wait:
            return too_often(_TOO_OFTEN, wait)
        key = request.headers.get("idempotency-key", request.headers.get(DELIVERY))
        if key is not None and not _KEY.fullmatch(key):
            text = "Idempotency-Key must have 1 to 255 visible ASCII characters"
            return response_of(refusal(400, text))
        try:
            content = await read_within(request, self._limits.body)
        except RefusedBody as error:
            return response_of(error.answer)
        if content and not _is_declared(request):
            text = "send plain JSON, with the header Content-Type: application/json (curl --json)"
            return response_of(refusal(415, text))
        name = request.path_params["name"]
        granted = request.state.granted
        return response_of(
            await run_in_threadpool(self._endpoint.start, name, content, key, granted)
        )

    async def request(self, request: Request) -> Response:
        """``GET /requests/{id}``."""
        return await self._tell(request, self._endpoint.request, request.path_params["id"])

    async def flows(self, request: Request) -> Response:
        """``GET /flows``."""
        return await self._tell(request, self._endpoint.flows)

    async def openapi(self, request: Request) -> Response:
        """``GET /openapi.json``."""
        return await self._tell(request, self._endpoint.openapi)

    async def _tell(
        self, request: Request, question: Callable[..., Answer], *about: str
    ) -> Response:
        wait = self._questions.take()
        if wait:
            return too_often(_TOO_OFTEN, wait)
        return response_of(await run_in_threadpool(question, *about, request.state.granted))


def _is_declared(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" and "content-encoding" not in request.headers


async def _http_error(request: Request, error: Exception) -> Response:
    """A path or method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = getattr(error, "headers", None)
    text = f"there is no {request.method} {request.url.path:.80}; GET /openapi.json says what is"
    return JSONResponse({"error": text}, status, headers)


async def _unexpected(_: Request, __: Exception) -> Response:
    """What nobody foresaw; uvicorn logs it."""
    return JSONResponse({"error": "the inbox failed; its log says why"}, 500)
