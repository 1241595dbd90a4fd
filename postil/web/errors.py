"""Anything that may be raised becomes a status and one shape of body; never a trace.

/api, and everything else      {"error": {"code", "message", "hint", "problems"?, "request_id"}}
/v1, for `openai` clients      {"error": {"message", "type", "param", "code"}}
"""

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import Scope

from postil.errors import DataError, PostilError, TryAgainError
from postil.language import has_sentence, say
from postil.wire.errors import status_of

_log = logging.getLogger("postil.web")
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT}
_OPENAI_TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error"}


class Refused(HTTPException):
    """A refusal with a status of its own, for what the tree of errors has no kind for: too large, too slow, foreign.

    Args:
        status_code: of HTTP.
        key: sentence in the catalog `web`; `<key>.hint` exists too.
    """

    def __init__(self, status_code: int, key: str, **values: Any):
        super().__init__(status_code)
        self.error = PostilError(key, **values)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered.

    Args:
        code: stable id: the sentence's key.
        problems: what is wrong one by one; often empty.
        retry_after_seconds: when another try may work.
    """

    status: int
    code: str
    message: str
    hint: str
    problems: tuple[dict[str, Any], ...] = ()
    retry_after_seconds: float | None = None


def describe_error(error: BaseException) -> Reply:
    """Status and words, in the current language, for anything that may be raised."""
    if isinstance(error, Refused):
        return _reply(error.status_code, error.error)
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        key = f"web.status.{error.status_code}"
        return _reply(error.status_code, PostilError(key if has_sentence(key) else "web.status.400"))
    if isinstance(error, PostilError):
        return _reply(status_of(error), error)
    if isinstance(error, ClientDisconnect):
        return _reply(400, PostilError("web.gone"))
    if isinstance(error, OSError) and error.errno in _OUT_OF_SPACE:
        return _reply(507, PostilError("web.disk_full"))
    return _reply(500, PostilError("web.bug"))


def error_response(scope: Scope, error: BaseException) -> JSONResponse:
    """The answer for an error, in the shape that this part of the service speaks; logs what is our own fault."""
    reply = describe_error(error)
    request_id = scope.get("state", {}).get("request_id", "")
    if reply.status == 500:
        _log.error("a request failed", exc_info=error, extra={"path": scope["path"]})
    headers = error_headers(reply, error)
    if reply.status == 401:
        headers["www-authenticate"] = "Bearer"
    is_openai = scope["path"].startswith("/v1")
    body = openai_body(reply) if is_openai else _body(reply, request_id)
    if is_openai and reply.status in (402, 409):  # the client would try these again for nothing
        headers["x-should-retry"] = "false"
    return JSONResponse(body, reply.status, headers)


def error_headers(reply: Reply, error: BaseException) -> dict[str, str]:
    """What stands beside the body: when to try again, and what the error itself wants to be sent."""
    headers = {}
    if reply.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, round(reply.retry_after_seconds)))
    if isinstance(error, HTTPException) and error.headers:
        headers |= dict(error.headers)
    if reply.status in (408, 413):  # what is left of the body is not read
        headers["connection"] = "close"
    return headers


def _reply(status: int, error: PostilError) -> Reply:
    problems = tuple(p.as_dict() for p in error.problems) if isinstance(error, DataError) else ()
    later = error.retry_after_seconds if isinstance(error, TryAgainError) else None
    if later is None and status == 503:
        later = 30
    return Reply(status, error.key, error.message, error.hint, problems, later)


def _invalid(found: Sequence[Any]) -> Reply:
    """Everything that is wrong in a request, field by field; what was sent is not repeated, it may be a password."""
    problems = tuple(
        {"code": one["type"], "field": ".".join(map(str, one["loc"])), "message": _field_message(one)} for one in found
    )
    if any(one["type"] == "json_invalid" for one in found):
        return _reply(400, PostilError("web.not_json"))
    error = PostilError("web.invalid_request", fields=", ".join(str(p["field"]) for p in problems))
    return Reply(422, error.key, error.message, error.hint, problems)


def _field_message(found: Any) -> str:
    key = f"web.field.{found['type']}"
    limits = {name: value for name, value in found.get("ctx", {}).items() if isinstance(value, str | int | float)}
    if "expected" in limits:  # "'a', 'b' or 'c'", in English only
        limits["expected"] = str(limits["expected"]).replace("' or '", "', '")
    if has_sentence(key):
        return say(key, **limits)
    return say("web.field.other", reason=found["msg"])


def _body(reply: Reply, request_id: str) -> dict[str, Any]:
    error: dict[str, Any] = {"code": reply.code, "message": reply.message, "hint": reply.hint}
    if reply.problems:
        error["problems"] = list(reply.problems)
    return {"error": {**error, "request_id": request_id}}


def openai_body(reply: Reply) -> dict[str, Any]:
    """The shape that `openai` clients know; the field to blame is `param`."""
    kind = _OPENAI_TYPES.get(reply.status, "server_error" if reply.status >= 500 else "invalid_request_error")
    field = next((str(p["field"]).removeprefix("body.") for p in reply.problems if "field" in p), None)
    details = "".join(f" {p['field']}: {p['message']}" for p in reply.problems if "field" in p)
    code = "model_not_found" if reply.code == "web.no_such_model" else reply.code
    error = {"message": f"{reply.message}{details} {reply.hint}", "type": kind, "param": field, "code": code}
    return {"error": error}
