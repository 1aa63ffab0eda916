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
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import Answer, refusal
from .endpoint import Endpoint, Limits
from .guard import Guard
from .places import HEALTH
from .responses import response_of, too_often
from .secret_file import Secrets

BODY_SECONDS = 20.0
"""How long a body may take."""
TIDY_SECONDS = 60.0
UNREAD_SECONDS = 2.0
UNREAD_BYTES = 8_000_000
"""How much of a refused body is still read, so that the caller gets to reading the answer."""
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
    return _ReadRefused(Guard(app, secrets))


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
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            text = "Idempotency-Key must have 1 to 255 visible ASCII characters"
            return response_of(refusal(400, text))
        try:
            content = await self._body(request)
        except _RefusedBody as error:
            return response_of(error.answer)
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

    async def _body(self, request: Request) -> bytes:
        """The body, read no further than the limit.

        Raises:
            _RefusedBody: it is too large, too slow, or not declared as plain JSON.
        """
        most = self._limits.body
        too_large = refusal(413, f"the body has more than {most:,} bytes; keep data out of it")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise _RefusedBody(too_large)
        content = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > most:
                        raise _RefusedBody(too_large)
        except TimeoutError:
            text = f"the body was not there within {BODY_SECONDS:g} seconds"
            raise _RefusedBody(refusal(408, text)) from None
        except ClientDisconnect:
            raise _RefusedBody(refusal(400, "the body broke off")) from None
        if content:
            _check_declared(request)
        return bytes(content)


class _RefusedBody(Exception):  # noqa: N818 - not an error of the program
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body["error"])
        self.answer = answer


def _check_declared(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or "content-encoding" in request.headers:
        text = "send plain JSON, with the header Content-Type: application/json (curl --json)"
        raise _RefusedBody(refusal(415, text))


class _ReadRefused:
    """Reads some of a body that was refused unread, and closes the connection behind the answer.

    Else the caller, still writing, might see a broken connection instead of the answer; and the
    server would go on to read the body to its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_read = not {b"content-length", b"transfer-encoding"} & headers.keys()
        has_begun = headers.get(b"expect", b"").lower() != b"100-continue"

        async def receiving() -> Message:
            nonlocal is_read, has_begun
            has_begun = True
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                if has_begun:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(UNREAD_SECONDS):
                            await discard()
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        async def discard() -> None:
            left = UNREAD_BYTES
            while not is_read and left > 0:
                left -= len((await receiving()).get("body", b""))

        await self._app(scope, receiving, sending)


async def _http_error(request: Request, error: Exception) -> Response:
    """A path or method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = getattr(error, "headers", None)
    text = f"there is no {request.method} {request.url.path:.80}; GET /openapi.json says what is"
    return JSONResponse({"error": text}, status, headers)


async def _unexpected(_: Request, __: Exception) -> Response:
    """What nobody foresaw; uvicorn logs it."""
    return JSONResponse({"error": "the inbox failed; its log says why"}, 500)
