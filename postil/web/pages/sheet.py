"""What stands on the page of settings: the wish as it was typed, what it would be for each preset, and why."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from postil.advice.pricing import price_micro
from postil.advice.recommend import PRESETS, Setting
from postil.advice.wording import duration_range
from postil.data.purposes import DATA_PURPOSES
from postil.errors import PostilError
from postil.language import say
from postil.platform.bases.bases import BaseView, get_base
from postil.platform.datasets.views import DatasetView
from postil.platform.jobs.submitting import Preview, preview_job
from postil.platform.money.bills import Balance, get_balance
from postil.platform.service import Service
from postil.web.errors import Reply, describe_error
from postil.web.pages.code import Snippet, service_address, training_snippets
from postil.web.pages.drawer import Field, drawer_fields
from postil.web.pages.formats import money
from postil.web.pages.wish import Wish

MANY_ROWS = 50_000
"""Past so many rows only the chosen preset is worked out: of 200,000 rows one takes a quarter of a second."""
_WAYS_OUT = {
    "platform.requests.base_not_ready": ("/data/{dataset_id}/base", "bases"),
    "platform.jobs.base_gone": ("/data/{dataset_id}/base", "bases"),
    "platform.requests.does_not_fit": ("/data/{dataset_id}/base", "bases"),
    "platform.requests.queue_full": ("/jobs", "jobs"),
    "platform.usage.account_full": ("/data", "data"),
    "platform.money.account_cap": ("/account/bill", "bill"),
    "platform.money.job_cap": ("/account/bill", "bill"),
}
"""Where something can be done about what keeps a job from starting."""


@dataclass(frozen=True, slots=True)
class PresetCard:
    """A preset with what it would take; texts are "" where nothing is known."""

    name: str
    is_chosen: bool
    time: str
    price: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps the job from starting.

    Args:
        path: of the page where something can be done about it; "" where there is none.
        way: how the page is called.
    """

    message: str
    hint: str
    path: str
    way: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that the page shows.

    Args:
        plan: None where what was typed or asked for cannot be planned.
        trouble: why.
        errors: of fields, by setting.
        free_worth_micro: what the free rows that are left are worth with this training; None where it is not known.
        token: of this page.
        longest_seconds: that any preset may take: every time of the page is told in its unit.
    """

    wish: Wish
    base: BaseView
    plan: Preview | None
    trouble: Reply | None
    errors: Mapping[str, str]
    headline: str
    presets: tuple[PresetCard, ...]
    kinds: tuple[str, ...]
    kind: str
    balance: Balance
    free_worth_micro: int | None
    fields: tuple[Field, ...]
    obstacles: tuple[Obstacle, ...]
    snippets: tuple[Snippet, ...]
    version: int
    token: str
    longest_seconds: float | None = None

    def span(self, low: float, high: float) -> str:
        """A range of seconds in the unit of the whole page; "" where it is next to nothing in it."""
        nothing, most = (duration_range(end, end, self.longest_seconds) for end in (0, high))
        if most == nothing:
            return ""
        if duration_range(low, low, self.longest_seconds) == nothing:
            return say("train_page.up_to", time=most)
        return duration_range(low, high, self.longest_seconds)

    @property
    def passes(self) -> str:
        """How often the rows are seen, in words."""
        return passes_of(self.plan) if self.plan else ""

    def reason(self, name: str) -> Setting | None:
        """A recommended setting with its reasons."""
        settings = self.plan.recommendation.settings if self.plan else ()
        return next((setting for setting in settings if setting.name == name), None)


def make_sheet(service: Service, account_id: str, dataset: DatasetView, wish: Wish, request: Request) -> Sheet:
    """Works the wish out, for every preset, as far as it can be read; nothing is kept.

    Raises:
        MissingInputError: there is no such base here.
        PostilError: whatever keeps an unchanged wish from being worked out.
    """
    base = get_base(service, wish.base)
    errors, trouble = wish.field_errors(dataset), None
    plans: dict[str, Preview] = {}
    if not errors:
        try:
            others = PRESETS if dataset.rows <= MANY_ROWS else ()
            for preset in [p for p in PRESETS if p == wish.preset or p in others]:
                plans[preset] = preview_job(service, account_id, wish.request(dataset, preset=preset))
            if wish.preset not in plans:  # no preset of ours: told as the platform tells it
                preview_job(service, account_id, wish.request(dataset))
        except PostilError as error:
            trouble = describe_error(error)
    plan, balance = plans.get(wish.preset), get_balance(service, account_id)
    longest = max((p.estimate.seconds.high for p in plans.values() if p.estimate is not None), default=None)
    return Sheet(
        wish=wish,
        base=base,
        plan=plan,
        trouble=trouble,
        errors=errors,
        headline=headline_of(plan, longest) if plan else "",
        presets=tuple(_preset_card(preset, wish, plans.get(preset), longest) for preset in PRESETS),
        kinds=DATA_PURPOSES,
        kind=wish.kind or dataset.kind or "",
        balance=balance,
        free_worth_micro=_free_worth_micro(plan, balance),
        fields=drawer_fields(wish.typed, errors, plan.recommendation if plan else None),
        obstacles=_obstacles(dataset, plan),
        snippets=training_snippets(service_address(request), dataset, base, wish.request(dataset)) if plan else (),
        version=plan.version if plan else dataset.version,
        token=secrets.token_hex(16),
        longest_seconds=longest,
    )


def headline_of(plan: Preview, longest_seconds: float | None = None) -> str:
    """The whole training in one line: "Customer service, 61 rows (49 learned ...): 3 passes, about 14-18 min, ..."."""
    all_rows = plan.rows + plan.heldout_rows
    counts = {"learned": plan.rows, "kept": plan.heldout_rows}
    return say(
        "train_page.headline",
        kind=say(f"data_page.purpose.{plan.recommendation.kind}"),
        rows=say("train_page.rows_of" if plan.heldout_rows else "train_page.money.rows", rows=all_rows, **counts),
        passes=passes_of(plan),
        time=time_of(plan, "train_page.about", longest_seconds),
        price=price_of(plan),
    )


def passes_of(plan: Preview) -> str:
    """How often the rows are seen; steps where they were chosen."""
    epochs = next((s.value for s in plan.recommendation.settings if s.name == "training.epochs"), None)
    if epochs is None:
        return say("train_page.num_steps", steps=plan.recommendation.steps)
    return say("train_page.num_passes", passes=epochs)


def time_of(plan: Preview, key: str, longest_seconds: float | None = None) -> str:
    """How long it will take, within a sentence; or that this is not known."""
    if plan.estimate is None:
        return say("train_page.time_unknown")
    seconds = plan.estimate.seconds
    return say(key, time=duration_range(seconds.low, seconds.high, longest_seconds))


def price_of(plan: Preview) -> str:
    """What it is expected to cost."""
    price = plan.price
    return money(price.expected_micro, price.currency) if price.expected_micro else say("train_page.free")


def _preset_card(preset: str, wish: Wish, plan: Preview | None, longest_seconds: float | None) -> PresetCard:
    time, price = (time_of(plan, "train_page.about", longest_seconds), price_of(plan)) if plan else ("", "")
    return PresetCard(preset, preset == wish.preset, time, price)


def _obstacles(dataset: DatasetView, plan: Preview | None) -> tuple[Obstacle, ...]:
    found = []
    for problem in plan.problems if plan else ():
        path, way = _WAYS_OUT.get(problem.key, ("", ""))
        found.append(Obstacle(problem.message, problem.hint, path.format(dataset_id=dataset.id), way))
    return tuple(found)


def _free_worth_micro(plan: Preview | None, balance: Balance) -> int | None:
    """What the free rows that are left would cost if they were trained as these are."""
    if plan is None or plan.estimate is None or not plan.price.free_rows:
        return None
    saved = max(0, plan.estimate.tokens - plan.price.tokens)
    return price_micro(saved * balance.free_rows_left // plan.price.free_rows, plan.price.rate_micro)
