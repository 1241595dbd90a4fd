"""One way to ask the service: what is tried again and what is not, and errors as the kinds of errors.py.

A request is sent again after a broken connection or a busy answer only where doing it twice is as good as doing it
once. What the service says of an error, in its own words, is the error's message and hint.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from postil.errors import NotAllowedError, PostilError, TryAgainError
from postil.wire.errors import kind_of
from postil.wire.shape import Answer

TRIES, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 4, 0.5, 30.0

Shape = TypeVar("Shape", bound=Answer)


@dataclass(frozen=True)
class Transport:
    """A connection to one service.

    Args:
        http: with the address and the key.
    """

    http: httpx2.Client

    def ask(self, shape: type[Shape], method: str, path: str, *, is_safe: bool | None = None, **sent: Any) -> Shape:
        """Asks and reads the answer as `shape`; `sent` goes to httpx2.

        Args:
            is_safe: whether it may be sent twice; None: unless it is a POST.

        Raises:
            PostilError: the kind that fits the status; see `error_of`.
        """
        return shape.model_validate_json(self.send(method, path, is_safe=is_safe, **sent).content)

    def send(self, method: str, path: str, *, is_safe: bool | None = None, **sent: Any) -> httpx2.Response:
        """Asks; errors as `ask`. 304 is an answer too."""
        may_repeat = method != "POST" if is_safe is None else is_safe
        wait = FIRST_WAIT_SECONDS
        for left in reversed(range(TRIES if may_repeat else 1)):
            try:
                reply = self.http.request(method, path, **sent)
            except httpx2.TransportError as error:
                problem: PostilError = unreachable(self.http, error)
            else:
                if reply.status_code < 400:
                    return reply
                problem = error_of(reply)
            if not left or not isinstance(problem, TryAgainError):
                raise problem
            later = problem.retry_after_seconds if problem.values.get("said_when") else wait
            time.sleep(min(later, LONGEST_WAIT_SECONDS))
            wait *= 2
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def stream(self, method: str, path: str, **sent: Any) -> Iterator[httpx2.Response]:
        """An answer that is read in pieces; errors as `ask`, and it is never sent twice."""
        try:
            with self.http.stream(method, path, **sent) as reply:
                if reply.status_code >= 400:
                    reply.read()
                    raise error_of(reply)
                yield reply
        except httpx2.TransportError as error:
            raise unreachable(self.http, error) from error


def unreachable(http: httpx2.Client, error: httpx2.TransportError) -> TryAgainError:
    """The error for a connection that is not made, or breaks."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return TryAgainError("client.unreachable", address=str(http.base_url).rstrip("/"), reason=reason)


def error_of(reply: httpx2.Response) -> PostilError:
    """The error that an answer tells: its kind by the status, its words as the service said them.

    `values` holds "code" (the service's stable id of it), "request_id", and "problems" where there are several.
    """
    told = _told(reply)
    code = str(told.get("code") or "")
    kind = kind_of(reply.status_code, code)
    values: dict[str, Any] = {
        "message": str(told.get("message") or f"HTTP {reply.status_code}"),
        "hint": str(told.get("hint") or ""),
        "code": code,
        "request_id": reply.headers.get("x-request-id", ""),
    }
    if told.get("problems"):
        values["details"] = told["problems"]
        values["message"] += "".join(f"\n  {_line(problem)}" for problem in told["problems"][:20])
    named: dict[str, Any] = {}
    if issubclass(kind, TryAgainError):
        said = reply.headers.get("retry-after", "")
        values["said_when"] = said.isdigit()
        named["retry_after_seconds"] = float(said) if said.isdigit() else 5.0
    if kind is NotAllowedError:
        named["is_signed_in"] = reply.status_code != 401
    return kind("client.said", **named, **values)


def _told(reply: httpx2.Response) -> Mapping[str, Any]:
    try:
        found = reply.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _line(problem: Mapping[str, Any]) -> str:
    where = problem.get("field") or problem.get("code") or ""
    return f"{where}: {problem.get('message', '')}"
