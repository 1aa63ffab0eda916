"""From a request over HTTP to its body, read within bounds of size and time."""

import asyncio
import contextlib

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import Answer, refusal

BODY_SECONDS = 20.0
"""How long a body may take."""
UNREAD_SECONDS = 2.0
UNREAD_BYTES = 8_000_000
"""How much of a refused body is still read, so that the caller gets to reading the answer."""


class RefusedBody(Exception):  # noqa: N818 - not an error of the program
    """A body that is not taken. ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body["error"])
        self.answer = answer


async def read_within(request: Request, most: int) -> bytes:
    """The body, read no further than ``most`` bytes.

    Raises:
        RefusedBody: it is too large or too slow.
    """
    too_large = refusal(413, f"the body has more than {most:,} bytes; keep data out of it")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise RefusedBody(too_large)
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    raise RefusedBody(too_large)
    except TimeoutError:
        text = f"the body was not there within {BODY_SECONDS:g} seconds"
        raise RefusedBody(refusal(408, text)) from None
    except ClientDisconnect:
        raise RefusedBody(refusal(400, "the body broke off")) from None
    return bytes(content)


def received(content: bytes, receive: Receive) -> Receive:
    """``receive`` of a request whose body was read already: gives it once more."""
    is_given = False

    async def receiving() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return receiving


class ReadRefused:
    """Reads some of a body that was refused unread, and closes the connection behind the answer.

    Else the caller, still writing, might see a broken connection instead of the answer; and the
    server would go on to read the body to its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve ``app``."""
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
