"""Asking for the answers of a trial, by the same door as /v1, and keeping each as it ends, however it ends.

The script of the page asks for all of them at once, one request each, and a form without script asks for them here
together: either way the process that answers writes them in one batch. What a browser shows is what is kept; it never
says itself what was answered, nor, before a blind vote, who answers.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from postil.errors import ConflictError, PostilError, TooManyError, TryAgainError, UsageError
from postil.platform.adapters.trial_views import TrialView
from postil.platform.adapters.trials import MOST_ANSWER_TOKENS, asked_at, keep_answer
from postil.platform.adapters.views import AdapterView
from postil.platform.service import Service
from postil.web.auth import Visitor
from postil.web.openai.chat import Pieces, complete
from postil.wire.chat import ChatRequest

_STOPS = ("stop", "length")


def refuse_unserved(request: Request, service: Service, adapter: AdapterView) -> None:
    """Says at once where no answer can come.

    Raises:
        ConflictError: another base is in memory here.
        TryAgainError: nothing answers here, or not yet.
    """
    _refuse_other_base(service, adapter.base)
    try:
        request.app.state.door.address()
    except TryAgainError as error:
        raise _not_ready(error) from None


async def open_answer(
    request: Request, service: Service, visitor: Visitor, adapter_id: str, trial_id: str, place: int
) -> Pieces:
    """Asks for the answer at one place of a trial.

    Raises:
        PostilError, HTTPException: there is none; what it says can be shown.
    """
    account_id = visitor.account.id
    asked = await anyio.to_thread.run_sync(asked_at, service, account_id, adapter_id, trial_id, place)
    _refuse_other_base(service, asked.base)
    body = ChatRequest(
        model=asked.adapter_id or asked.base,
        messages=[dict(message) for message in asked.messages],
        stream=True,
        max_tokens=MOST_ANSWER_TOKENS,  # type: ignore[call-arg]  # passed on, as everything that is not known
        **asked.options,
    )
    try:
        reply = await complete(body, visitor, request, service)
    except TryAgainError as error:
        raise _not_ready(error) from None
    if isinstance(reply, Pieces):
        return reply
    reason = _reason(bytes(reply.body))
    if reply.status_code == 429:
        raise TooManyError("try_page.busy", retry_after_seconds=5)
    if reply.status_code >= 500:
        raise TryAgainError("try_page.refused", retry_after_seconds=5, reason=reason)
    raise UsageError("try_page.refused", reason=reason)


class AnswerLines(StreamingResponse):
    """An answer as lines of JSON: {"text"} while it is written, then {"ended"}, or {"trouble"} where it broke off.

    A whole one is kept before its end is told. When the browser goes away, or its reader presses "stop", what was
    written until then is kept.
    """

    def __init__(self, service: Service, visitor: Visitor, trial_id: str, place: int, pieces: Pieces):
        self.pieces, self.written, self.ended = pieces, "", "broken"
        self.keep = partial(_keep, service, visitor, trial_id, place)
        headers = {"x-accel-buffering": "no"}
        super().__init__(self._lines(), media_type="application/x-ndjson", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all of it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _close(self.pieces)
            if self.ended == "broken":
                await self.keep(self.written, self.ended)

    async def _lines(self) -> AsyncIterator[str]:
        async for event in _events(self.pieces):
            text, ended, trouble = _read(event)
            self.written += text
            if ended:
                await self.keep(self.written, ended)
                self.ended = ended
            told = {"text": text, "ended": ended, "trouble": trouble}
            if spoken := {name: value for name, value in told.items() if value}:
                yield json.dumps(spoken, ensure_ascii=False) + "\n"


async def answer_all(request: Request, service: Service, visitor: Visitor, trial: TrialView) -> None:
    """Has every answer of a trial that is not whole yet written to its end, all at once, and keeps them.

    Raises:
        PostilError, HTTPException: one of them could not be had; the others are kept.
    """
    places = [answer.place for answer in trial.answers if not answer.is_whole]
    asking = (_write(request, service, visitor, trial, place) for place in places)
    for result in await asyncio.gather(*asking, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def _write(request: Request, service: Service, visitor: Visitor, trial: TrialView, place: int) -> None:
    pieces = await open_answer(request, service, visitor, trial.adapter_id, trial.id, place)
    written, ended, broken = "", "broken", ""
    try:
        async for event in _events(pieces):
            text, reason, trouble = _read(event)
            written, ended, broken = written + text, reason or ended, trouble or broken
    finally:
        await _close(pieces)
        await _keep(service, visitor, trial.id, place, written, ended)
    if broken:
        raise TryAgainError("try_page.refused", retry_after_seconds=5, reason=broken)


async def _events(pieces: Pieces) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream; one that comes in two pieces is put together."""
    rest = b""
    async for piece in pieces.body_iterator:
        assert isinstance(piece, bytes)
        *whole, rest = (rest + piece).split(b"\n\n")
        for event in whole:
            data = event.removeprefix(b"data: ")
            if data != b"[DONE]":
                yield json.loads(data)


def _read(event: dict[str, Any]) -> tuple[str, str, str]:
    """Text, why it ended, and what went wrong; each "" where the event does not say."""
    if "error" in event:
        return "", "", str(event["error"].get("message", ""))
    choice: dict[str, Any] = next(iter(event.get("choices", ())), {})
    ended = choice.get("finish_reason")
    return choice.get("delta", {}).get("content") or "", ended if ended in _STOPS else "", ""


async def _close(pieces: Pieces) -> None:
    pieces.held.close()
    with anyio.CancelScope(shield=True):
        await pieces.reply.aclose()


async def _keep(service: Service, visitor: Visitor, trial_id: str, place: int, text: str, ended: str) -> None:
    with anyio.CancelScope(shield=True):
        account_id = visitor.account.id
        await anyio.to_thread.run_sync(keep_answer, service, account_id, trial_id, place, text, ended)


def _refuse_other_base(service: Service, base: str) -> None:
    if base != service.settings.serving_base:
        raise ConflictError("try_page.other_base", base=base, served=service.settings.serving_base)


def _not_ready(error: TryAgainError) -> TryAgainError:
    """The same for who has never heard of processes; what else there is to try again says so itself."""
    if error.key != "web.no_answers":
        return error
    return TryAgainError("try_page.not_ready", retry_after_seconds=error.retry_after_seconds)


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "?"


Unanswered = (PostilError, HTTPException)
"""What asking raises where there is no answer."""
