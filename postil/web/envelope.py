"""What every request passes first and every answer last: host, identifier, language, safe headers, one log line.

A host that is not ours is refused before anything is looked at: a page of somebody else whose name was turned to this
machine's address (DNS rebinding) must not speak with the service.
"""

import logging
import re
import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postil.language import LANGUAGES, Language, current_language, use_language
from postil.platform.ids import new_id
from postil.web import logs
from postil.web.auth import LANGUAGE_COOKIE
from postil.web.errors import Refused
from postil.web.metrics import Metrics
from postil.web.pages.refusals import answer_error

_log = logging.getLogger("postil.requests")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SAFE_HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(:[0-9]{1,5})?")


class Envelope:
    """The outermost ASGI layer.

    Args:
        hosts: names besides loopback that requests may carry.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], metrics: Metrics):
        self.app, self.metrics = app, metrics
        self.hosts = frozenset({*LOOPBACK, *(host.lower() for host in hosts)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and sees its answer off."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        logs.request_id.set(request_id)
        use_language(chosen_language(headers) or current_language())
        sent = _Sent(scope, send, self.metrics)
        try:
            if not self._is_ours(headers.getlist("host")):
                raise Refused(400, "web.foreign_host")
            await self.app(scope, receive, sent)
        except Exception as error:
            if sent.status:  # too late for another answer; the connection breaks, and the log says why
                _log.exception("an answer broke off", extra={"path": scope["path"]})
                raise
            await answer_error(scope, error)(scope, receive, sent)
        finally:
            sent.note()

    def _is_ours(self, hosts: Sequence[str]) -> bool:
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        return found is not None and found[1].lower() in self.hosts


class _Sent:
    """Adds headers to the answer, and remembers what was sent and how long it took."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics):
        self.scope, self.send, self.metrics = scope, send, metrics
        self.status, self.began = 0, time.perf_counter()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SAFE_HEADERS.items():
                headers[name] = value
            headers["x-request-id"] = self.scope["state"]["request_id"]
            headers.setdefault("cache-control", "no-store")
            headers.add_vary_header("Accept-Language")
            if self.scope["path"].startswith("/v1"):
                headers["openai-processing-ms"] = str(round(1000 * (time.perf_counter() - self.began)))
        await self.send(message)

    def note(self) -> None:
        seconds = time.perf_counter() - self.began
        route = getattr(self.scope.get("route"), "path_format", "") or "other"
        self.metrics.request(self.scope["method"], route, self.status, seconds)
        visitor = self.scope["state"].get("visitor")
        _log.info(
            "request",
            extra={
                "method": self.scope["method"],
                "path": self.scope["path"],
                "status": self.status,
                "duration_ms": round(1000 * seconds, 1),
                "account": visitor.account.id if visitor else "",
            },
        )


def chosen_language(headers: Headers) -> Language | None:
    """What a browser has been told by its user here, else what it says that its user reads."""
    cookies = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    kept = next((value for name, _, value in cookies if name == LANGUAGE_COOKIE), "")
    chosen = next((known for known in LANGUAGES if known == kept), None)
    return chosen or accepted_language(headers.get("accept-language", ""))


def accepted_language(header: str) -> Language | None:
    """The better liked of our languages in an Accept-Language header; None where it names neither."""
    best: tuple[float, Language] | None = None
    for part in header.split(",")[:20]:
        name, _, parameter = part.strip().partition(";")
        language: Language | None = next((known for known in ("zh", "en") if name.lower().startswith(known)), None)
        weight = _weight(parameter)
        if language and weight > 0 and (best is None or weight > best[0]):
            best = weight, language
    return best[1] if best else None


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0
