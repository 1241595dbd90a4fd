"""Who may ask, and what every reply carries: keys, hosts, request ids and times."""

import hmac
import re
import time
import uuid
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postil.errors import NotAllowedError, PostilError, UsageError
from postil.language import LANGUAGES, use_language
from postil.serving.openai_wire import error_reply

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask what.

    Args:
        control_token: the platform's; with it every route but /healthz wants it, without it /control does not exist.
        api_keys: without a control token: the keys that /v1 takes; None takes any, and none at all.
        hosts: names that requests may call this server by; None takes any. A page on another site whose name is bent to
            this machine (DNS rebinding) calls it by that name.
    """

    control_token: str | None = None
    api_keys: frozenset[str] | None = None
    hosts: frozenset[str] | None = LOOPBACK

    def check(self, path: str, headers: Headers) -> None:
        """Lets a request pass.

        Raises:
            UsageError: it calls the server by a foreign name.
            NotAllowedError: it may not ask.
        """
        host = re.sub(r":\d+$", "", headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            raise UsageError("serving.foreign_host", host=host[:100])
        if headers.get("sec-fetch-site") == "cross-site":
            raise NotAllowedError("serving.foreign_page")
        if path == "/healthz":
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.strip().encode() if scheme.lower() == "bearer" else b""
        wanted = {self.control_token} if self.control_token is not None else self.api_keys
        if wanted is not None and not _holds(wanted, given):
            raise NotAllowedError("serving.bad_key", is_signed_in=False)


def _holds(keys: AbstractSet[str], given: bytes) -> bool:
    """Compares with every key, so that the time says nothing."""
    found = False
    for key in keys:
        found |= hmac.compare_digest(given, key.encode())
    return found


class AccessGuard:
    """The outermost layer of the app: checks a request, names it, times it, and hears its language."""

    def __init__(self, app: ASGIApp, access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        path = scope["path"].rstrip("/") or "/"
        scope["path"] = path
        request_id = headers.get("x-request-id", "")
        request_id = request_id if _REQUEST_ID.fullmatch(request_id) else f"req_{uuid.uuid4().hex}"

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = MutableHeaders(scope=message)
                named["x-request-id"] = request_id
                named["openai-processing-ms"] = str(round((time.perf_counter() - began) * 1000))
                named["openai-version"] = "2020-10-01"
            await send(message)

        wanted = headers.get("accept-language", "").lower()
        use_language(next((known for known in LANGUAGES if wanted.startswith(known)), None))
        try:
            self.access.check(path, headers)
        except PostilError as error:
            await _refusal(error)(scope, receive, send_named)
            return
        await self.app(scope, receive, send_named)


def _refusal(error: PostilError) -> JSONResponse:
    reply = error_reply(error)
    return JSONResponse(reply.body, reply.status, headers=dict(reply.headers))


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Anything that a route raises, in OpenAI's shape."""
    return _refusal(error if isinstance(error, PostilError) else PostilError("serving.bug"))
