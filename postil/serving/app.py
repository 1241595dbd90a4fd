"""The HTTP face of one engine: what `openai` clients speak, and the private routes by which the platform steers it.

Public (with and without the `/v1` in front, slashes at the end are forgiven):

    POST /v1/chat/completions     plain, or SSE with "stream": true; see openai_wire.py for the subset
    GET  /v1/models               the base first, then adapters in the order of their coming
    GET  /v1/models/{id}          ids may hold slashes, plain or as %2F
    GET  /healthz                 200 {"status": "ok"}, or 503 while it stops; never asks for a key

Private, only where a control token was given at the start:

    PUT    /control/adapters/{id}   {"directory": "/absolute/folder", "name": "what requests call it"}; the name is
                                    the id where it is left out
                                    200 {"id", "name", "directory", "rank", "num_bytes", "is_loaded"}
                                    Checked, loaded and answering when the reply comes. The same id again: the folder is
                                    read anew and takes the place of the old one, without a moment between.
                                    400 a folder that must not be loaded (error.code says why, see adapter_checks.py),
                                    404 no such folder, 409 the name belongs to another id.
    DELETE /control/adapters/{id}   200 {"id", "deleted": true}, 404. Answers that are being written go on to their end;
                                    everything that comes later, or still waits, gets 404 model_not_found.
    GET    /control/state           200 {"base", "device", "dtype", "adapters": [{"id", "name", "directory", "rank",
                                    "num_bytes", "is_loaded"}], "num_running", "num_queued", "max_running",
                                    "max_queued", "cache_tokens", "cache_tokens_used", "num_answered", "pid"}

A request names an adapter by its id or by its name, and the base by its own name. More adapters may be attached than
fit into memory: the ones unused for longest are put away and read again when they are asked for.

Keys: with a control token every route but /healthz wants `Authorization: Bearer TOKEN` (the web in front has checked
the user's own key before). Without one, /control does not exist, and /v1 takes any key or, where `api_keys` are given,
those keys only.

Errors have OpenAI's shape {"error": {"message", "type", "param", "code"}}: 400 bad request or prompt too long
(context_length_exceeded), 401, 404 model_not_found, 413 body too large, 429 queue full with Retry-After, 503 stopping.
Their language is the one that Accept-Language names first, else the process's own.
Replies carry x-request-id (the request's own where it sent one) and openai-processing-ms.

The private process is started as `python -m postil.serving SPEC.json`; the spec's entries are in spec.py. It prints one
line of JSON on standard output when it answers, {"ready": true, "address": "http://127.0.0.1:PORT" or "unix:PATH",
"pid": N}, or {"ready": false, "error": {...}} before it exits with the shell's exit codes, and ends cleanly on SIGTERM.
"""

import asyncio
import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from postil.errors import MissingInputError, PostilError, UnavailableError
from postil.models.decoding import Sampling
from postil.serving.access import Access, AccessGuard, answer_error
from postil.serving.answers import Answering, plain_answer, stream_answer
from postil.serving.engine import Engine
from postil.serving.openai_wire import (
    ChatRequest,
    Reply,
    WireError,
    error_body,
    model_entry,
    model_list,
    parse_chat_request,
)
from postil.serving.requests import Wish

MAX_BODY_BYTES, BODY_SECONDS = 8_000_000, 30.0
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_MAX_NAME = 300


def make_app(engine: Engine, access: Access) -> ASGIApp:
    """The app in front of a started engine."""
    routes = _Routes(engine)
    public = [
        ("/chat/completions", routes.chat, "POST"),
        ("/models", routes.models, "GET"),
        ("/models/{name:path}", routes.model, "GET"),
    ]
    table = [Route("/healthz", routes.health, methods=["GET"])]
    table += [Route(start + path, run, methods=[method]) for path, run, method in public for start in ("/v1", "")]
    if access.control_token is not None:
        table += [
            Route("/control/adapters/{adapter_id}", routes.attach, methods=["PUT"]),
            Route("/control/adapters/{adapter_id}", routes.detach, methods=["DELETE"]),
            Route("/control/state", routes.state, methods=["GET"]),
        ]
    handlers: dict[Any, Any] = {PostilError: answer_error, Exception: answer_error, HTTPException: _answer_http}
    return AccessGuard(Starlette(routes=table, exception_handlers=handlers), access)


class _Routes:
    """The routes of one engine."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.started_at = int(time.time())

    async def health(self, request: Request) -> Response:
        if not self.engine.is_answering:
            raise UnavailableError("serving.stopping")
        return JSONResponse({"status": "ok"})

    async def chat(self, request: Request) -> Response:
        wanted = parse_chat_request(await _read_json(request))
        fingerprint = f"fp_{self.engine.base.fingerprint[:10]}"
        reply = Reply(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), wanted.model, fingerprint)
        answering = Answering(wanted, reply, self.engine)
        await self._submit(answering)
        if not wanted.is_streamed:
            return await plain_answer(answering, request.receive)
        return await stream_answer(answering, request.receive)

    async def _submit(self, answering: Answering) -> None:
        wanted, engine = answering.wanted, self.engine
        adapter = None if wanted.model == engine.base.name else engine.find_adapter(wanted.model)
        if adapter is None and wanted.model != engine.base.name:
            raise MissingInputError("serving.no_such_model", name=wanted.model[:_MAX_NAME])
        prompt = await run_in_threadpool(engine.encode, adapter, wanted.messages, wanted.tools)
        answering.ticket = engine.submit(adapter, prompt, _wish(wanted), answering.deliver)

    async def models(self, request: Request) -> Response:
        return JSONResponse(model_list(self._entries()))

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        adapter = self.engine.find_adapter(name)
        known = adapter.name if adapter else name
        for entry in self._entries():
            if entry["id"] == known:
                return JSONResponse(entry)
        raise MissingInputError("serving.no_such_model", name=name[:_MAX_NAME])

    def _entries(self) -> list[dict[str, Any]]:
        base = self.engine.base.name
        entries = [model_entry(base, self.started_at)]
        return entries + [model_entry(a.name, a.attached_at, parent=base) for a in self.engine.adapters()]

    async def attach(self, request: Request) -> Response:
        adapter_id, body = request.path_params["adapter_id"], await _read_json(request)
        if not _ID.fullmatch(adapter_id):
            raise WireError("serving.bad_value", param="id", wanted=_ID.pattern, found=adapter_id[:_MAX_NAME])
        if not isinstance(body, dict):
            raise WireError("serving.not_an_object")
        directory, name = body.get("directory"), body.get("name", adapter_id)
        if not isinstance(directory, str) or "\0" in directory or not Path(directory).is_absolute():
            found = json.dumps(directory)[:_MAX_NAME]
            raise WireError("serving.bad_value", param="directory", wanted="/absolute/folder", found=found)
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            found = json.dumps(name)[:_MAX_NAME]
            raise WireError("serving.bad_value", param="name", wanted=f"1 ... {_MAX_NAME}", found=found)
        return JSONResponse(await run_in_threadpool(self.engine.attach, adapter_id, Path(directory), name))

    async def detach(self, request: Request) -> Response:
        adapter_id = request.path_params["adapter_id"]
        if not await run_in_threadpool(self.engine.detach, adapter_id):
            raise MissingInputError("serving.no_such_model", name=adapter_id[:_MAX_NAME])
        return JSONResponse({"id": adapter_id, "deleted": True})

    async def state(self, request: Request) -> Response:
        return JSONResponse(self.engine.state())


def _wish(wanted: ChatRequest) -> Wish:
    seed = None if wanted.seed is None else wanted.seed % 2**63
    return Wish(
        sampling=Sampling(temperature=wanted.temperature, top_p=wanted.top_p, seed=seed),
        max_new_tokens=wanted.max_tokens,
        num_choices=wanted.num_choices,
        stops=wanted.stops,
        presence_penalty=wanted.presence_penalty,
        frequency_penalty=wanted.frequency_penalty,
    )


async def _read_json(request: Request) -> Any:
    """The body, within bounds of size and time.

    Raises:
        WireError: it is no JSON.
        HTTPException: 413 too large, 408 too slow.
    """
    content = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > MAX_BODY_BYTES:
                    raise HTTPException(413)
    except TimeoutError:
        raise HTTPException(408) from None
    try:
        found = json.loads(content)
        if b"\\ud" in content.lower():  # half a character (a lone surrogate) cannot be tokenized or answered
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise WireError("serving.not_json") from None
    return found


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = error_body(error.detail, "invalid_request_error", code=f"http_{error.status_code}")
    return JSONResponse(body, error.status_code, headers={"x-should-retry": "false"})
