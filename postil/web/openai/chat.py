"""POST /v1/chat/completions: keys, ownership and limits here; the answer itself comes from the private process.

    request -> who asks -> which adapter, and may they -> attach it if need be -> pass on -> pieces back as they come

The client's going away closes the request to the private process, which stops writing. While an answer is streamed,
the session or key behind it is looked up again every few seconds, so that a sign-out ends it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx2
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from postil.errors import NotAllowedError, PostilError, TryAgainError
from postil.platform.service import Service
from postil.web.auth import Chatter, TheService, Visitor, look_up
from postil.web.document import OPENAI_ERRORS
from postil.web.errors import Refused, describe_error, openai_body
from postil.web.lanes import MOST_ANSWERS_OF_ACCOUNT, lanes_of
from postil.web.openai.answerers import Answerer, attach, find_answerer, note_answer
from postil.web.serving_door import ServingDoor
from postil.wire.chat import ChatRequest

LOOK_AGAIN_SECONDS = 2.0
_PASSED_ON = ("retry-after", "x-should-retry")
_END = b"data: [DONE]\n\n"

router = APIRouter(prefix="/v1", tags=["openai"], responses=OPENAI_ERRORS)
Result = TypeVar("Result")


@router.post(
    "/chat/completions",
    response_model=dict[str, Any],
    responses={
        200: {
            "description": "A chat.completion, or with stream: true its pieces as server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def complete(body: ChatRequest, visitor: Chatter, request: Request, service: TheService) -> Response:
    """Answers a conversation by the base or an adapter; unknown keys are passed on."""
    account_id = visitor.account.id
    service.limits.allow("chat", account_id)
    with ExitStack() as held:
        held.enter_context(lanes_of(request).place("answers", account_id, MOST_ANSWERS_OF_ACCOUNT))
        answerer = await anyio.to_thread.run_sync(find_answerer, service, account_id, body.model)
        reply = await unless_gone(request, lambda: _ask(service, request, body, answerer))
        if reply.status_code == 200 and body.stream:
            return Pieces(service, visitor, reply, held.pop_all())
        try:
            content = await unless_gone(request, reply.aread)
        finally:
            await reply.aclose()
        headers = {name: reply.headers[name] for name in _PASSED_ON if name in reply.headers}
        return Response(content, reply.status_code, headers, "application/json")


async def _ask(service: Service, request: Request, body: ChatRequest, answerer: Answerer) -> httpx2.Response:
    """Passes the request on; an adapter that the private process does not have any more is attached once more."""
    door: ServingDoor = request.app.state.door
    sent = body.model_dump(exclude_unset=True) | {"model": answerer.id}
    adapter = answerer.adapter
    if adapter is None:
        return _checked(await door.ask(sent, request.state.request_id))
    await attach(service, door, adapter)
    reply = await door.ask(sent, request.state.request_id)
    if reply.status_code == 404:
        await reply.aclose()
        await attach(service, door, adapter, again=True)
        reply = await door.ask(sent, request.state.request_id)
    if reply.status_code == 200:
        await anyio.to_thread.run_sync(note_answer, service, adapter)
    return _checked(reply)


def _checked(reply: httpx2.Response) -> httpx2.Response:
    """The reply, unless it says that the private process has another token than we know: it has just been replaced."""
    if reply.status_code == 401:
        raise TryAgainError("web.no_answers", retry_after_seconds=2)
    return reply


async def unless_gone(request: Request, work: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `work`, which is stopped when the client goes away.

    Raises:
        Refused: it has gone; nobody reads this.
    """
    working = asyncio.ensure_future(work())
    watching = asyncio.ensure_future(_end_of(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Refused(400, "web.gone")
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _end_of(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Pieces(StreamingResponse):
    """An answer in pieces, as they come.

    Args:
        held: what is given back at the end, however it comes.
    """

    def __init__(self, service: Service, visitor: Visitor, reply: httpx2.Response, held: ExitStack):
        headers = {"x-accel-buffering": "no"}
        super().__init__(_pieces(service, visitor, reply), media_type="text/event-stream", headers=headers)
        self.reply, self.held = reply, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all of it; the client's going away ends it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.held.close()
            with anyio.CancelScope(shield=True):
                await self.reply.aclose()


async def _pieces(service: Service, visitor: Visitor, reply: httpx2.Response) -> AsyncIterator[bytes]:
    looked_at, last = time.monotonic(), b""
    try:
        async for piece in reply.aiter_raw():
            if time.monotonic() - looked_at > LOOK_AGAIN_SECONDS:
                await anyio.to_thread.run_sync(_look_again, service, visitor)
                looked_at = time.monotonic()
            last = (last + piece)[-len(_END) :]
            yield piece
        if last != _END:
            raise TryAgainError("web.answer_broke")
    except httpx2.TransportError:
        yield _event(TryAgainError("web.answer_broke"))
    except PostilError as error:
        yield _event(error)


def _look_again(service: Service, visitor: Visitor) -> None:
    if look_up(service, visitor.secret, visitor.is_key) is None:
        raise NotAllowedError("web.signed_out_meanwhile", is_signed_in=False)


def _event(error: PostilError) -> bytes:
    """An error in the middle of a stream, which makes the `openai` client raise."""
    return f"data: {json.dumps(openai_body(describe_error(error)))}\n\n".encode()
