"""Bases as cards in plain words, in groups, and the one that is proposed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from babel.numbers import format_compact_decimal

from postil.language import current_language, say
from postil.models.catalog import CPU_MAX_PARAMETERS, STARTER_ENTRY, find_entry
from postil.platform.bases.bases import HUBS, BaseView
from postil.platform.bases.this_machine import MachineMemory
from postil.web.pages.formats import locale_now

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
        is_real: the one for real use, where the proposed one is only for trying.
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
    is_real: bool = False

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

    @property
    def is_folded(self) -> bool:
        """It is opened by who wants to see it."""
        return self.key in ("more", "too_large")


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
    """Recommended by the catalog, or allowed by an admin besides it."""
    return base.is_recommended or find_entry(base.name) is None


def make_card(view: BaseView, is_best: bool, memory: MachineMemory, *, is_real: bool = False) -> BaseCard:
    """A base as the page shows it."""
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
        is_real=is_real,
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


def make_groups(cards: list[BaseCard]) -> tuple[Group, ...]:
    """The proposed one, the one for real use where that is another, what is here, what can be fetched, and the rest.

    The rest is what few will want, and what this machine cannot train.
    """
    names = ("best", "real", "here", "fetch", "more", "too_large")
    found: dict[str, list[BaseCard]] = {name: [] for name in names}
    for card in cards:
        found[_group_of(card)].append(card)
    return tuple(Group(key, tuple(group)) for key, group in found.items() if group)


def _group_of(card: BaseCard) -> str:
    if card.is_best:
        return "best"
    if card.is_real:
        return "real"
    if card.view.fits in ("answer", "no") and not card.is_at_work:
        return "too_large"
    if card.view.state == "ready":
        return "here"
    is_usual = _is_serious(card.view) and not card.is_slow
    return "fetch" if is_usual or card.view.state != "absent" else "more"
