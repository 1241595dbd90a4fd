"""Trying a model: one box, two answers side by side, votes, corrections, and what was asked before."""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from postil.errors import MissingInputError, PostilError
from postil.platform.adapters import trials
from postil.platform.adapters.adapters import get_adapter
from postil.platform.adapters.corrections import correct_answer
from postil.platform.adapters.trial_views import TrialView
from postil.platform.service import Service
from postil.web.auth import Chatter, Reader, TheService, Trainer, Visitor
from postil.web.errors import Reply, describe_error, error_headers
from postil.web.pages.asking import AnswerLines, Unanswered, answer_all, open_answer, refuse_unserved
from postil.web.pages.forms import read_form
from postil.web.pages.rendering import page, see
from postil.web.pages.trial_pages import Typed, is_part, trial_part, try_page

router = APIRouter(include_in_schema=False, prefix="/models/{adapter_id}/try")
_SETTLED_SECONDS, _LOOK_SECONDS = 3.0, 0.1
Result = TypeVar("Result")


@router.get("")
def look(
    adapter_id: str,
    request: Request,
    visitor: Reader,
    service: TheService,
    question: str = "",
    follows: str = "",
    after: str | None = None,
) -> Response:
    """The box, and what was asked before, the newest first."""
    typed = Typed(question=question[: trials.MOST_QUESTION_CHARS], follows=follows)
    return try_page(request, service, visitor, adapter_id, typed, after=after)


@router.post("")
async def ask(adapter_id: str, request: Request, visitor: Chatter, service: TheService) -> Response:
    """Asks. With script the answers' places come back at once, to be filled; without, the page with every answer."""
    adapter = await _in_thread(get_adapter, service, visitor.account.id, adapter_id)
    typed = Typed.of(await read_form(request))
    trial: TrialView | None = None
    try:
        refuse_unserved(request, service, adapter)
        trial = await _in_thread(_start, service, visitor.account.id, adapter_id, typed)
        if is_part(request):
            return await _in_thread(trial_part, request, service, visitor, trial, is_fresh=True)
        await answer_all(request, service, visitor, trial)
    except Unanswered as error:
        reply = describe_error(error)
        await _in_thread(_drop_unanswered, service, visitor, trial)
        return await _in_thread(_say_trouble, request, service, visitor, adapter_id, typed, reply, error)
    return see(f"/models/{adapter_id}/try#{trial.id}")


@router.post("/clear")
def clear(adapter_id: str, visitor: Trainer, service: TheService) -> Response:
    """Deletes what was asked before."""
    trials.clear_trials(service, visitor.account.id, adapter_id)
    return see(f"/models/{adapter_id}/try")


@router.get("/{trial_id}")
async def look_at_one(
    adapter_id: str, trial_id: str, request: Request, visitor: Reader, service: TheService
) -> Response:
    """One question with its answers, once they are kept; it is waited for a moment, since a stop takes one."""
    ends = time.monotonic() + _SETTLED_SECONDS
    while True:
        trial = await _in_thread(trials.get_trial, service, visitor.account.id, adapter_id, trial_id)
        if trial.has_ended or time.monotonic() > ends or not is_part(request):
            break
        await anyio.sleep(_LOOK_SECONDS)
    if not is_part(request):
        return see(f"/models/{adapter_id}/try#{trial_id}")
    return await _in_thread(trial_part, request, service, visitor, trial)


@router.post("/{trial_id}/answers/{place}")
async def stream(
    adapter_id: str, trial_id: str, place: int, request: Request, visitor: Chatter, service: TheService
) -> Response:
    """One answer, line by line while it is written; for the script of the page."""
    trial = await _in_thread(trials.get_trial, service, visitor.account.id, adapter_id, trial_id)
    if place not in {answer.place for answer in trial.answers}:
        raise MissingInputError("platform.trials.missing")
    try:
        pieces = await open_answer(request, service, visitor, adapter_id, trial_id, place)
    except Unanswered as error:
        await _in_thread(trials.keep_answer, service, visitor.account.id, trial_id, place, "", "broken")
        reply = describe_error(error)
        told = {"trouble": reply.message, "advice": reply.hint}
        return JSONResponse(told, reply.status, error_headers(reply, error))
    return AnswerLines(service, visitor, trial_id, place, pieces)


@router.post("/{trial_id}/again")
async def ask_again(
    adapter_id: str, trial_id: str, request: Request, visitor: Chatter, service: TheService
) -> Response:
    """Asks once more for the answers that broke off."""
    trial = await _in_thread(trials.get_trial, service, visitor.account.id, adapter_id, trial_id)
    if is_part(request):
        return await _in_thread(trial_part, request, service, visitor, trial, is_fresh=True)
    try:
        await answer_all(request, service, visitor, trial)
    except Unanswered as error:
        reply = describe_error(error)
        return await _in_thread(_say_trouble, request, service, visitor, adapter_id, Typed(), reply, error)
    return see(f"/models/{adapter_id}/try#{trial_id}")


@router.post("/{trial_id}/vote")
async def vote(adapter_id: str, trial_id: str, request: Request, visitor: Trainer, service: TheService) -> Response:
    """Says which answer is liked best."""
    account_id = visitor.account.id
    trial = await _in_thread(trials.get_trial, service, account_id, adapter_id, trial_id)
    choice = (await read_form(request)).get("choice")
    place = int(choice) if choice.isascii() and choice.isdigit() else None if choice == trials.SAME else -1
    try:
        voted = await _in_thread(trials.give_vote, service, account_id, adapter_id, trial_id, place)
    except PostilError as error:
        return await _in_thread(_say_beside, request, service, visitor, trial, describe_error(error))
    return await _in_thread(_changed, request, service, visitor, voted)


@router.post("/{trial_id}/correct")
async def correct(adapter_id: str, trial_id: str, request: Request, visitor: Trainer, service: TheService) -> Response:
    """Puts a better answer into the data that the model came from."""
    account_id = visitor.account.id
    trial = await _in_thread(trials.get_trial, service, account_id, adapter_id, trial_id)
    answer = (await read_form(request)).raw("answer")
    try:
        corrected = await _in_thread(correct_answer, service, account_id, adapter_id, trial_id, answer)
    except PostilError as error:
        return await _in_thread(_say_beside, request, service, visitor, trial, describe_error(error), answer)
    return await _in_thread(_changed, request, service, visitor, corrected)


def _start(service: Service, account_id: str, adapter_id: str, typed: Typed) -> TrialView:
    return trials.start_trial(
        service,
        account_id,
        adapter_id,
        typed.question,
        is_blind=typed.is_blind,
        is_freer=typed.is_freer,
        other_id=typed.other or None,
        follows=typed.follows or None,
    )


def _drop_unanswered(service: Service, visitor: Visitor, trial: TrialView | None) -> None:
    """A question that nobody has answered stays in the box, and not in the list as well."""
    if trial is None:
        return
    now = trials.get_trial(service, visitor.account.id, trial.adapter_id, trial.id)
    if not any(answer.text for answer in now.answers):
        trials.drop_trial(service, visitor.account.id, trial.adapter_id, trial.id)


def _say_trouble(
    request: Request,
    service: Service,
    visitor: Visitor,
    adapter_id: str,
    typed: Typed,
    reply: Reply,
    error: BaseException,
) -> Response:
    """The page again with what was typed; with script a note at the box, which has kept it."""
    if is_part(request):
        response: Response = page(request, "trouble.html", reply.status, trouble=reply)
        response.headers.update({"hx-retarget": "#ask-trouble", "hx-reswap": "innerHTML"})
    else:
        response = try_page(request, service, visitor, adapter_id, typed, reply)
    response.headers.update(error_headers(reply, error))
    return response


def _say_beside(
    request: Request, service: Service, visitor: Visitor, trial: TrialView, reply: Reply, answer: str | None = None
) -> Response:
    """What is wrong with a vote or a correction, at the question that it was about; the answer stays typed."""
    if is_part(request):
        return trial_part(request, service, visitor, trial, trouble=reply, typed_answer=answer)
    beside = {"trouble_of": trial.id, "trial_trouble": reply, "typed_answer": answer}
    return try_page(request, service, visitor, trial.adapter_id, Typed(), status=reply.status, beside=beside)


def _changed(request: Request, service: Service, visitor: Visitor, trial: TrialView) -> Response:
    if not is_part(request):
        return see(f"/models/{trial.adapter_id}/try#{trial.id}")
    return trial_part(request, service, visitor, trial, is_voted=True)


async def _in_thread(work: Callable[..., Result], *given: object, **named: object) -> Result:
    return await anyio.to_thread.run_sync(partial(work, *given, **named))
