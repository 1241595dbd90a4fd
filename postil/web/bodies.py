"""How much a request may send, how slowly, and how slowly it may read the answer.

A body has a cap that depends on its route. Between two pieces of it at most a few seconds may pass, and a body must
not take longer than its size excuses: a client that sends a byte every ten seconds holds a place for nothing.
"""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postil.web.errors import Refused

MAX_JSON_BYTES = 1 << 20
MAX_CHAT_BYTES = 8 << 20
PIECE_SECONDS = 20.0
"""Longest silence between two pieces of a body."""
GRACE_SECONDS = 30.0
"""What any body may take, however small."""
SLOWEST_BYTES_PER_SECOND = 2048
_TAKE_FILES = ("/api/datasets", "/new")
_AROUND_FILE_BYTES = 1 << 16
"""What a form writes around a file."""
ANSWER_SECONDS = 60.0
"""Longest wait for a client to take a piece of an answer."""


class BodyLimits:
    """The ASGI layer that holds bodies to their limits.

    Args:
        max_upload_bytes: of the routes that take files.
    """

    def __init__(self, app: ASGIApp, max_upload_bytes: int):
        self.app, self.max_upload_bytes = app, max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on whose body is counted while it is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        cap = self._cap(scope["method"], scope["path"])
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdigit() and int(claimed) > cap:
            raise Refused(413, "web.too_large", limit_mb=cap / 1e6)
        await self.app(scope, self._counted(receive, cap), _timed(send))

    def _cap(self, method: str, path: str) -> int:
        if path.startswith("/api/uploads/") or (method == "POST" and path in _TAKE_FILES):
            return self.max_upload_bytes + (_AROUND_FILE_BYTES if path == "/new" else 0)
        return MAX_CHAT_BYTES if path.startswith("/v1/") else MAX_JSON_BYTES

    def _counted(self, receive: Receive, cap: int) -> Receive:
        began, num_bytes, is_whole = time.monotonic(), 0, False

        async def counted() -> Message:
            nonlocal num_bytes, is_whole
            if is_whole:  # what comes now is the news that the client has gone, whenever that is
                return await receive()
            left = began + GRACE_SECONDS + num_bytes / SLOWEST_BYTES_PER_SECOND - time.monotonic()
            try:
                async with asyncio.timeout(min(PIECE_SECONDS, left)):
                    message = await receive()
            except TimeoutError:
                raise Refused(408, "web.too_slow") from None
            num_bytes += len(message.get("body", b""))
            is_whole = message["type"] != "http.request" or not message.get("more_body", False)
            if num_bytes > cap:
                raise Refused(413, "web.too_large", limit_mb=cap / 1e6)
            return message

        return counted


def _timed(send: Send) -> Send:
    """An answer that nobody takes is given up."""

    async def timed(message: Message) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await send(message)

    return timed
