"""Which base to train on: cards in plain words, the proposed one first, and fetching one that is not here yet."""

from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlencode

import anyio
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from postil.errors import PostilError
from postil.models.catalog import STARTER_ENTRY, best_base_for
from postil.platform.bases.bases import get_base, list_bases, start_download
from postil.platform.bases.this_machine import MachineMemory, find_memory
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.service import Service
from postil.web.auth import Reader, TheService, Trainer
from postil.web.errors import Reply, describe_error
from postil.web.pages.base_cards import Group, make_card, make_groups, proposed_base
from postil.web.pages.code import Snippet, curl_snippet, python_snippet, service_address
from postil.web.pages.forms import read_form
from postil.web.pages.rendering import page, polled, see

router = APIRouter(include_in_schema=False)
Words = Annotated[str, Query(max_length=300)]


def is_trainable(dataset: DatasetView) -> bool:
    """Some rows have been checked and can train; else the page of the data says what is to be done."""
    return dataset.state in ("ready", "needs_attention") and dataset.rows > 0


@router.get("/data/{dataset_id}/base")
def show(
    dataset_id: str,
    visitor: Reader,
    service: TheService,
    request: Request,
    preset: Words = "",
    kind: Words = "",
) -> Response:
    """All bases that may be trained here."""
    dataset = get_dataset(service, visitor.account.id, dataset_id)
    if not is_trainable(dataset):
        return see(f"/data/{dataset_id}")
    return bases_page(request, service, dataset, preset=preset, kind=kind)


def bases_page(
    request: Request,
    service: Service,
    dataset: DatasetView,
    *,
    preset: str = "",
    kind: str = "",
    trouble: Reply | None = None,
) -> Response:
    """The page, also for a base that was asked for and is none."""
    memory = find_memory()
    bases = list_bases(service)
    best = proposed_base(bases, memory)
    real = _real_base(best, memory)
    cards = [make_card(view, best == view.name, memory, is_real=real == view.name) for view in bases]
    groups = make_groups(cards)
    values: dict[str, Any] = {"dataset": dataset, "groups": groups, "trouble": trouble, "kept": _kept(preset, kind)}
    values["is_toy"] = best == STARTER_ENTRY.id
    values["snippets"] = _snippets(service_address(request), groups)
    return page(request, "base.html", trouble.status if trouble else 200, **values)


def _real_base(best: str, memory: MachineMemory) -> str:
    """What fits best for real use, where only the starter is proposed; "" otherwise."""
    better = best_base_for(memory.num_bytes, memory.dtype_bytes, memory.device)
    return better.id if best == STARTER_ENTRY.id != better.id else ""


@router.get("/data/{dataset_id}/base/card")
def show_card(
    dataset_id: str,
    visitor: Reader,
    service: TheService,
    request: Request,
    base: Words = "",
    best: bool = False,
    preset: Words = "",
    kind: Words = "",
) -> Response:
    """One card, which is asked for again and again while its base is on its way."""
    dataset = get_dataset(service, visitor.account.id, dataset_id)
    return _card_part(request, service, dataset, base, is_best=best, kept=_kept(preset, kind))


@router.post("/data/{dataset_id}/base")
async def fetch(dataset_id: str, visitor: Trainer, service: TheService, request: Request) -> Response:
    """Asks for a base to be fetched; nothing happens where it is here, or on its way."""
    dataset = await anyio.to_thread.run_sync(get_dataset, service, visitor.account.id, dataset_id)
    form = await read_form(request)
    name, hub, kept = form.get("base"), form.get("hub"), _kept(form.get("preset"), form.get("kind"))

    def ask() -> Response:
        trouble = None
        try:
            start_download(service, name, hub=hub or None)
        except PostilError as error:
            trouble = describe_error(error)
        if "hx-request" in request.headers and trouble is None:
            return _card_part(request, service, dataset, name, is_best=form.has("best"), kept=kept)
        if trouble is not None:
            return bases_page(request, service, dataset, **kept, trouble=trouble)
        query = urlencode({key: value for key, value in kept.items() if value})
        return see(f"/data/{dataset_id}/base{'?' if query else ''}{query}")

    return await anyio.to_thread.run_sync(ask)


def _card_part(
    request: Request, service: Service, dataset: DatasetView, name: str, *, is_best: bool, kept: dict[str, str]
) -> Response:
    card = make_card(get_base(service, name), is_best, find_memory())
    values: dict[str, Any] = {"dataset": dataset, "card": card, "kept": kept, "is_toy": False}
    return polled(request, "base_card.html", is_last=not card.is_at_work, **values)


def _snippets(address: str, groups: Iterable[Group]) -> tuple[Snippet, ...]:
    """Looking at all bases, and fetching the first that can be fetched."""
    listing = python_snippet(address, "for base in client.bases():\n    print(base.name, base.fits_in_words)")
    cards = [card for group in groups for card in group.cards if card.hubs]
    if not cards:
        return listing, curl_snippet(address, "GET", "/api/bases")
    wanted = {"name": cards[0].view.name, "hub": cards[0].hubs[0]}
    return listing, curl_snippet(address, "POST", "/api/bases/download", wanted)


def _kept(preset: str, kind: str) -> dict[str, str]:
    """What was chosen before, which travels on to the settings."""
    return {"preset": preset, "kind": kind}
