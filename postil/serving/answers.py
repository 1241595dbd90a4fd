"""From the engine's deliveries to what goes over the wire: a whole answer, or a stream of events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from postil.errors import PostilError
from postil.serving.engine import Engine
from postil.serving.openai_wire import ChatRequest, Reply, choice, error_reply, sse, usage
from postil.serving.requests import Delivery, Failed, Finished, Piece, Ticket
from postil.serving.tool_text import ToolText


@dataclass
class Answering:
    """One request while it is answered.

    Args:
        ticket: None until it is in the queue.
        num_tokens: written so far, of all choices.
    """

    wanted: ChatRequest
    reply: Reply
    engine: Engine
    ticket: Ticket | None = None
    num_tokens: int = 0
    num_open: int = 0
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    deliveries: "asyncio.Queue[Delivery]" = field(default_factory=asyncio.Queue)
    tool_texts: dict[int, ToolText] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.num_open = self.wanted.num_choices
        if self.wanted.tools:
            self.tool_texts = {i: ToolText() for i in range(self.num_open)}

    def deliver(self, delivery: Delivery) -> None:
        """Called from the engine's thread."""
        self.loop.call_soon_threadsafe(self.deliveries.put_nowait, delivery)

    async def events(self) -> AsyncIterator[Piece | Finished]:
        """Everything up to the end of the last choice.

        Raises:
            PostilError: it cannot be answered any further.
        """
        while self.num_open:
            delivery = await self.deliveries.get()
            if isinstance(delivery, Failed):
                raise delivery.error
            if isinstance(delivery, Finished):
                self.num_open -= 1
                self.num_tokens += delivery.num_tokens
                if rest := self._finish_text(delivery.index):
                    yield Piece(delivery.index, rest)
                yield delivery
            elif text := self._spoken(delivery):
                yield Piece(delivery.index, text)

    def finish_reason(self, finished: Finished) -> str:
        """OpenAI's word for why a choice ended."""
        return "tool_calls" if self.calls(finished.index) else finished.reason

    def calls(self, index: int) -> list[Any]:
        """The calls of tools in one choice."""
        return self.tool_texts[index].calls if self.tool_texts else []

    def usage(self) -> dict[str, int]:
        """What was read and written; whole once all choices have ended."""
        return usage(self.ticket.num_prompt_tokens if self.ticket else 0, self.num_tokens)

    def cancel(self) -> None:
        """Nobody reads the answer any more."""
        if self.ticket is not None and self.num_open:
            self.engine.cancel(self.ticket)

    def _spoken(self, piece: Piece) -> str:
        return self.tool_texts[piece.index].feed(piece.text) if self.tool_texts else piece.text

    def _finish_text(self, index: int) -> str:
        return self.tool_texts[index].finish() if self.tool_texts else ""


async def plain_answer(answering: Answering, receive: Receive) -> Response:
    """Waits for the whole answer, and stops it where the client goes away before."""
    texts = [""] * answering.wanted.num_choices
    reasons = [""] * answering.wanted.num_choices

    async def collect() -> None:
        async for event in answering.events():
            if isinstance(event, Piece):
                texts[event.index] += event.text
            else:
                reasons[event.index] = answering.finish_reason(event)

    try:
        if not await _until_disconnect(collect, receive):
            return nobody_reads()
    finally:
        answering.cancel()
    choices = [choice(i, text, answering.calls(i), reasons[i]) for i, text in enumerate(texts)]
    return JSONResponse(answering.reply.completion(choices, answering.usage()))


def nobody_reads() -> Response:
    """For a client that is gone."""
    return Response(status_code=499)


async def stream_answer(answering: Answering, receive: Receive) -> Response:
    """Waits for the first words, so that a refusal still has its status, and streams from there."""
    events = answering.events()
    first: list[Piece | Finished] = []

    async def begin() -> None:
        first.append(await anext(events))

    try:
        await _until_disconnect(begin, receive)
    finally:
        if not first:
            answering.cancel()
    return AnswerStream(answering, first[0], events) if first else nobody_reads()


async def _until_disconnect(work: Callable[[], Awaitable[None]], receive: Receive) -> bool:
    """Does the work; False where the client went away before its end. In every case nothing goes on after it."""

    async def wait_for_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work()), asyncio.ensure_future(wait_for_disconnect())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


class AnswerStream(Response):
    """Server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, answering: Answering, first: Piece | Finished, events: AsyncIterator[Piece | Finished]):
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.answering, self.first, self.events = answering, first, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends everything, and stops the answer where the client goes away before its end."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

        async def stream() -> None:
            async for chunk in self._chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await _until_disconnect(stream, receive)
        finally:
            self.answering.cancel()

    async def _chunks(self) -> AsyncIterator[bytes]:
        answering, reply, with_usage = self.answering, self.answering.reply, self.answering.wanted.includes_usage
        for index in range(answering.wanted.num_choices):
            yield sse(reply.chunk(index, {"role": "assistant", "content": ""}, with_usage=with_usage))
        try:
            async for event in self._all_events():
                if isinstance(event, Piece):
                    yield sse(reply.chunk(event.index, {"content": event.text}, with_usage=with_usage))
                    continue
                if calls := answering.calls(event.index):
                    delta = {"tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]}
                    yield sse(reply.chunk(event.index, delta, with_usage=with_usage))
                yield sse(reply.chunk(event.index, {}, answering.finish_reason(event), with_usage=with_usage))
        except PostilError as error:
            yield sse(error_reply(error).body)
            return
        if with_usage:
            yield sse(reply.usage_chunk(answering.usage()))
        yield sse("[DONE]")

    async def _all_events(self) -> AsyncIterator[Piece | Finished]:
        yield self.first
        async for event in self.events:
            yield event
