"""The settings of a training: filled in already, each number with its reason, and everything changeable.

    address (base, preset, kind) ──GET──┐
    form ──POST, "work it out again"────┼─> Wish ─> sheet.py ─> the page, or with htmx the part of it that changes
    form ──POST, the big button─────────┘     └───> submit_job ─> /jobs/{job_id}

The form is sent with a token that is new with every page, so that a button that is pressed twice makes one job.
"""

import time
from dataclasses import replace
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

import anyio
from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from postil.errors import MissingInputError, PostilError
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.jobs.submitting import submit_job
from postil.platform.service import Service
from postil.web.auth import Reader, TheService, Trainer
from postil.web.errors import Reply, describe_error
from postil.web.lanes import submitting
from postil.web.pages.base import bases_page, is_trainable
from postil.web.pages.drawer import PREFIX
from postil.web.pages.forms import read_form
from postil.web.pages.rendering import page, render, see
from postil.web.pages.sheet import make_sheet
from postil.web.pages.wish import PRESET, Wish, WrongFields, wish_of

router = APIRouter(include_in_schema=False)
Words = Annotated[str, Query(max_length=300)]
_NO_BASE = "platform.requests.no_base"
_MOST_SECONDS, _LOOK_SECONDS = 20.0, 0.2


@router.get("/data/{dataset_id}/settings")
async def show(
    dataset_id: str,
    visitor: Reader,
    service: TheService,
    request: Request,
    base: Words = "",
    preset: Words = "",
    kind: Words = "",
) -> Response:
    """The settings for a base, filled in."""
    dataset = await _own(service, visitor.account.id, dataset_id)
    if not is_trainable(dataset):
        return see(f"/data/{dataset_id}")
    if not base:
        return see(f"/data/{dataset_id}/base")
    return await _answer(request, service, visitor.account.id, dataset, Wish(base, preset or PRESET, kind))


@router.post("/data/{dataset_id}/settings")
async def work_out_again(dataset_id: str, visitor: Trainer, service: TheService, request: Request) -> Response:
    """The same with what was changed in the form; nothing is started."""
    dataset = await _own(service, visitor.account.id, dataset_id)
    form = await read_form(request)
    wish = wish_of(form)
    if not is_trainable(dataset):
        return see(f"/data/{dataset_id}")
    is_plain = not wish.typed and not wish.seed and wish.name in ("", dataset.name)
    if is_plain and "hx-request" not in request.headers:  # what an address can hold goes there, to be reloaded
        query = {"base": wish.base, "preset": wish.preset, "kind": wish.kind}
        return see(f"/data/{dataset_id}/settings?{urlencode({k: v for k, v in query.items() if v})}")
    return await _answer(request, service, visitor.account.id, dataset, wish)


@router.get("/data/{dataset_id}/train")
def go_back(dataset_id: str, visitor: Reader, service: TheService) -> Response:
    """Where the address of what was refused is opened again, as after a change of the language."""
    return see(f"/data/{get_dataset(service, visitor.account.id, dataset_id).id}/base")


@router.post("/data/{dataset_id}/train")
async def start(dataset_id: str, visitor: Trainer, service: TheService, request: Request) -> Response:
    """Submits the job, and goes on to where it can be watched."""
    account_id = visitor.account.id
    dataset = await _own(service, account_id, dataset_id)
    wish = wish_of(await read_form(request))
    try:
        service.limits.allow("submit", account_id)
        job = await submitting(request, submit_job, service, account_id, wish.request(dataset, with_token=True))
    except (PostilError, WrongFields) as error:
        trouble = None if isinstance(error, WrongFields) else describe_error(error)
        dataset = await _checked(service, account_id, dataset)
        if not is_trainable(dataset):
            return see(f"/data/{dataset_id}")
        return await _answer(request, service, account_id, dataset, wish, trouble=trouble)
    return see(f"/jobs/{job.id}")


async def _own(service: Service, account_id: str, dataset_id: str) -> DatasetView:
    return await anyio.to_thread.run_sync(get_dataset, service, account_id, dataset_id)


async def _checked(service: Service, account_id: str, dataset: DatasetView) -> DatasetView:
    """Data that were changed in another window are waited for, so that the page comes again with all that was typed."""
    ends = time.monotonic() + _MOST_SECONDS
    while dataset.state == "validating" and time.monotonic() < ends:
        await anyio.sleep(_LOOK_SECONDS)
        dataset = await _own(service, account_id, dataset.id)
    return dataset


async def _answer(
    request: Request,
    service: Service,
    account_id: str,
    dataset: DatasetView,
    wish: Wish,
    *,
    trouble: Reply | None = None,
) -> Response:
    """The page, with the status of what is wrong on it."""
    # what is shown is the newest version of the data, and the page says which one that is
    make = partial(make_sheet, service, account_id, dataset, replace(wish, version=""), request)
    try:
        sheet = await submitting(request, make)
    except MissingInputError as error:
        if error.key != _NO_BASE:
            raise
        show_bases = partial(bases_page, request, service, dataset, trouble=describe_error(error))
        return await anyio.to_thread.run_sync(show_bases)
    told = trouble or sheet.trouble
    status = told.status if told else 422 if sheet.errors else 200
    values = {"dataset": dataset, "sheet": sheet, "trouble": told, "prefix": PREFIX}
    if "hx-request" in request.headers:  # a field that is not finished yet is no failure
        part = render(request, "settings_change.html", {**values, "is_part": True})
        return HTMLResponse(part, told.status if told else 200)
    return page(request, "settings.html", status, **values, is_part=False)
