"""Which base to train on: cards in plain words, the proposed one first, and fetching one that is not here yet."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

import anyio
from babel.numbers import format_compact_decimal
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from postil.errors import PostilError
from postil.language import current_language, say
from postil.models.catalog import CPU_MAX_PARAMETERS, STARTER_ENTRY, best_base_for, find_entry
from postil.platform.bases.bases import HUBS, BaseView, get_base, list_bases, start_download
from postil.platform.bases.this_machine import MachineMemory, find_memory
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.service import Service
from postil.web.auth import Reader, TheService, Trainer
from postil.web.errors import Reply, describe_error
from postil.web.pages.code import Snippet, curl_snippet, python_snippet, service_address
from postil.web.pages.formats import locale_now
from postil.web.pages.forms import read_form
from postil.web.pages.rendering import page, polled, see

router = APIRouter(include_in_schema=False)
Words = Annotated[str, Query(max_length=300)]
WIDE = 1_600_000_000
"""What is proposed is of the class of 1.5 billion numbers: good answers, and a training in minutes on a GPU."""
AT_WORK = ("waiting", "downloading")
_LANGUAGES = {
    STARTER_ENTRY.id: "zh_en",
    "Qwen": "zh_en_more",
    "deepseek-ai": "zh_en",
    "HuggingFaceTB": "en",
    "meta-llama": "mostly_en",
    "google": "many",
}
"""What the bases of the catalog are good at, by who makes them."""
_LICENCES = {"Apache-2.0": "free", "MIT": "free", "Qwen Research": "research", "": "unknown"}
_STORED_BYTES_OF_NUMBER = 2


@dataclass(frozen=True, slots=True)
class BaseCard:
    """A base as the page shows it; texts are in the current language.

    Args:
        is_best: the proposed one.
        is_slow: it fits, and takes hours here.
        hubs: that it can be fetched from; none where nothing is to be fetched.
        num_bytes: on the disk, about; 0 where nothing is known.
    """

    view: BaseView
    is_best: bool
    is_slow: bool
    hubs: tuple[str, ...]
    num_bytes: int
    parameters: str
    languages: str
    licence: str

    @property
    def slug(self) -> str:
        """For its id in the page."""
        return hashlib.sha256(self.view.name.encode()).hexdigest()[:10]

    @property
    def is_at_work(self) -> bool:
        """It is being fetched."""
        return self.view.state in AT_WORK


@dataclass(frozen=True, slots=True)
class Group:
    """Cards under one heading."""

    key: str
    cards: tuple[BaseCard, ...]


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
    groups = _groups([_card(view, best == view.name, memory) for view in bases])
    better = best_base_for(memory.num_bytes, memory.dtype_bytes, memory.device)
    is_toy = best == STARTER_ENTRY.id
    values: dict[str, Any] = {"dataset": dataset, "groups": groups, "trouble": trouble, "kept": _kept(preset, kind)}
    values["better"] = better.name if is_toy and better.id != best else ""
    values["snippets"] = _snippets(service_address(request), groups)
    return page(request, "base.html", trouble.status if trouble else 200, **values)


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


def proposed_base(bases: Iterable[BaseView], memory: MachineMemory) -> str:
    """The name of the base for those who ask for nothing in particular.

    With a GPU it is one of the 1.5B class, or the largest below it that fits; one that is here goes before one that
    must be fetched. Without a GPU it is the best one that is here: fetching another is a decision of its own.
    """
    able = [b for b in bases if b.fits == "train" and b.num_parameters <= WIDE and _is_serious(b)]
    there = [b for b in able if b.state == "ready"]
    candidates = there if memory.device == "cpu" else there or able
    return max(candidates, key=lambda b: (b.num_parameters, b.name), default=STARTER_ENTRY).name


def _is_serious(base: BaseView) -> bool:
    """Recommended by the catalog, or put there by an admin."""
    return base.is_recommended or base.source == "folder"


def _card_part(
    request: Request, service: Service, dataset: DatasetView, name: str, *, is_best: bool, kept: dict[str, str]
) -> Response:
    card = _card(get_base(service, name), is_best, find_memory())
    values: dict[str, Any] = {"dataset": dataset, "card": card, "kept": kept}
    return polled(request, "base_card.html", is_last=not card.is_at_work, **values)


def _card(view: BaseView, is_best: bool, memory: MachineMemory) -> BaseCard:
    maker = view.name.partition("/")[0]
    licence = _LICENCES.get(view.licence, "own")
    languages = _LANGUAGES.get(maker, "unknown") if find_entry(view.name) else "unknown"
    parameters = format_compact_decimal(view.num_parameters, locale=locale_now(), fraction_digits=1)
    return BaseCard(
        view=view,
        is_best=is_best,
        is_slow=memory.device == "cpu" and view.num_parameters > CPU_MAX_PARAMETERS and view.fits == "train",
        hubs=_hubs(view),
        num_bytes=_stored_bytes(view),
        parameters=str(parameters) if view.num_parameters else "",
        languages=say(f"train_page.languages.{languages}"),
        licence=say(f"train_page.licence.{licence}", name=view.licence),
    )


def _hubs(view: BaseView) -> tuple[str, ...]:
    """Where it can be fetched; those of the catalog lie on both hubs, the one that the reader is nearer to first."""
    if view.state not in ("absent", "failed") or view.source not in HUBS:
        return ()
    if find_entry(view.name) is None or view.revision is not None:
        return (view.source,)
    return tuple(reversed(HUBS)) if current_language() == "zh" else HUBS


def _stored_bytes(view: BaseView) -> int:
    return int(view.num_bytes or view.facts.get("stored_bytes") or _STORED_BYTES_OF_NUMBER * view.num_parameters)


def _snippets(address: str, groups: Iterable[Group]) -> tuple[Snippet, ...]:
    """Looking at all bases, and fetching the first that can be fetched."""
    listing = python_snippet(address, "for base in client.bases():\n    print(base.name, base.fits_in_words)")
    cards = [card for group in groups for card in group.cards if card.hubs]
    if not cards:
        return listing, curl_snippet(address, "GET", "/api/bases")
    wanted = {"name": cards[0].view.name, "hub": cards[0].hubs[0]}
    return listing, curl_snippet(address, "POST", "/api/bases/download", wanted)


def _groups(cards: list[BaseCard]) -> tuple[Group, ...]:
    """The proposed one, what is here, what can be fetched, and what this machine cannot train."""
    found: dict[str, list[BaseCard]] = {"best": [], "here": [], "fetch": [], "too_large": []}
    for card in cards:
        found[_group_of(card)].append(card)
    return tuple(Group(key, tuple(group)) for key, group in found.items() if group)


def _group_of(card: BaseCard) -> str:
    if card.is_best:
        return "best"
    if card.view.fits in ("answer", "no") and not card.is_at_work:
        return "too_large"
    return "here" if card.view.state == "ready" else "fetch"


def _kept(preset: str, kind: str) -> dict[str, str]:
    """What was chosen before, which travels on to the settings."""
    return {"preset": preset, "kind": kind}
