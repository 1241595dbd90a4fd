"""Advice on a file before anything is trained: what it is, which settings, and what they will take.

the base is on this machine   calibrate: exact tokens, measured rates
--on a card                   the count of operations: not measured; tokens exact where the base's tokenizer is here
the base is not here          settings alone, and tokens guessed from characters: nothing is downloaded unasked
"""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from postil.advice.cards import CARDS, Card, rates_of_card
from postil.advice.estimate import Estimate, estimate_run
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.pricing import Prices, billable_tokens, price_micro
from postil.advice.rates import Rates
from postil.advice.recommend import Recommendation, with_kind
from postil.advice.work import plan_work
from postil.config import RunConfig
from postil.data.prepared import is_prepared
from postil.data.profile import profile_conversations
from postil.errors import DataError, UnavailableError, UsageError
from postil.events import AnyEvent, DataRead
from postil.models.base_folder import inspect_base_folder
from postil.models.catalog import STARTER_ENTRY, find_entry
from postil.models.memory import shape_from_config
from postil.recipes.calibrate import calibrate
from postil.recipes.defaults import recommend_for, resolve_config
from postil.recipes.fitting import choose_pack_tokens
from postil.recipes.prepare import open_records, validate_records


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised for a file.

    Args:
        rows_left_out: rows with errors, which nothing here counts.
        config: resolved.
        estimate: None where the base is not on this machine and no card was named.
        fits: whether the run fits into the card's memory; None on this machine, where calibrating would have refused.
    """

    data: DataFacts
    base: BaseFacts
    recommendation: Recommendation
    config: RunConfig
    estimate: Estimate | None
    rows_left_out: int = 0
    fits: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape of the shell's last line."""
        return {
            "data": self.data.as_dict(),
            "base": self.base.as_dict(),
            "rows_left_out": self.rows_left_out,
            **self.recommendation.as_dict(),
            "estimate": None if self.estimate is None else self.estimate.as_dict(),
            "fits": self.fits,
        }


@dataclass(slots=True)
class _LeftOut:
    """Listens to how many rows could not be used."""

    rows: int = 0
    events: list[AnyEvent] = field(default_factory=list)

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, DataRead):
            self.rows = event.dropped


def advise(
    config: RunConfig, *, card: str | None = None, hourly_micro: int | None = None, prices: Prices | None = None
) -> Advice:
    """Advises on `config.data.file` for `config.model.base`; bad rows are left out and counted.

    Args:
        card: a key of `CARDS` to estimate for, instead of this machine.
        hourly_micro: what an hour of the hardware costs.
        prices: what a service charges; None takes the usual ones.

    Raises:
        DataError: not one row of the file can train.
        PostilError: as `calibrate`.
    """
    if config.data.file is None:
        raise UsageError("recipes.no_file")
    prices = prices or Prices()
    config = config.replace({"data.drop_bad": True, "model.offline": True})
    left_out = _LeftOut()
    try:
        found = calibrate(config, report=left_out) if card is None else None
    except UnavailableError as error:
        if error.key != "models.not_downloaded":
            raise
        found = None
    if found is not None:
        charged = _charge(found.config, found.data, found.tokens_per_row, prices)
        estimate = estimate_run(found.data, found.base, found.config, found.rates, hourly_micro=hourly_micro, **charged)
        return Advice(found.data, found.base, found.recommendation, found.config, estimate, left_out.rows)
    return _advise_from_afar(config, card, hourly_micro, prices)


def _advise_from_afar(config: RunConfig, card: str | None, hourly_micro: int | None, prices: Prices) -> Advice:
    """Without a step: nothing of the base is loaded but what is on this machine already."""
    data, left_out = _guess(config)
    base = _find_facts(config, "cuda" if card else "cpu")
    recommendation = recommend_for(config, data, base)
    config = resolve_config(config, data, base)
    if card is None:
        return Advice(data, base, recommendation, config, None, left_out)
    config, fits = _fit_card(config, base, CARDS[card], data.longest_tokens)
    rates: Rates = rates_of_card(CARDS[card], base, data, config.adapter.used_rank)
    mean = round(data.tokens / max(1, data.rows))
    charged = _charge(config, data, (mean,) * data.rows, prices)
    estimate = estimate_run(data, base, config, rates, hourly_micro=hourly_micro, **charged)
    return Advice(data, base, recommendation, config, estimate, left_out, fits)


def _fit_card(config: RunConfig, base: BaseFacts, card: Card, longest_row: int) -> tuple[RunConfig, bool | None]:
    """Settings whose packs fit into the card's memory, as `fit_pack` does here; and whether anything fits."""
    if base.shape is None:
        return config, None
    tokens = choose_pack_tokens(
        base.shape,
        rank=config.adapter.used_rank,
        dtype_bytes=base.dtype_bytes,
        wanted=config.training.max_tokens_per_pack or longest_row,
        longest_row=longest_row,
        memory_bytes=card.memory_bytes,
    )
    return config.replace({"training.max_tokens_per_pack": tokens or longest_row}), tokens is not None


def _guess(config: RunConfig) -> tuple[DataFacts, int]:
    """Facts of the file without a tokenizer, and the rows that cannot be used."""
    source = Path(config.data.file or "")
    if is_prepared(source):
        raise UnavailableError("recipes.prepared_from_afar", path=source)
    validation = validate_records(open_records(config.data), config.data)
    if not validation.conversations:
        raise DataError("recipes.nothing_to_train", problems=validation.problems, file=validation.file)
    profile = profile_conversations(validation.conversations, validation.kind)
    facts = DataFacts.of_profile(profile, config.data.heldout_share)
    return with_kind(facts, config.data.kind), validation.dropped


def _find_facts(config: RunConfig, device: str) -> BaseFacts:
    """The facts of a base from the catalog or its folder's config, in bf16 on a card."""
    dtype = "bf16" if device == "cuda" else "fp32"
    entry = STARTER_ENTRY if config.model.base.casefold() == "starter" else find_entry(config.model.base)
    if entry is not None:
        return BaseFacts.of_entry(entry, device, dtype)
    path = Path(config.model.base).expanduser()
    if not path.is_dir():
        raise UnavailableError("recipes.base_not_known", base=config.model.base)
    folder = inspect_base_folder(path)
    shape = shape_from_config(folder.config)
    hidden = shape.hidden if shape else int(folder.config.get("hidden_size") or 0)
    context = shape.context_tokens if shape else None
    return BaseFacts(config.model.base, folder.family, hidden, folder.num_parameters, device, shape, dtype, context)


def _charge(config: RunConfig, data: DataFacts, tokens_per_row: tuple[int, ...], prices: Prices) -> dict[str, int]:
    """What a service with these prices charges an account whose free rows of the month are whole."""
    passes = Fraction(plan_work(data, config).passes).limit_denominator(1_000_000)
    tokens = billable_tokens(tokens_per_row, prices.free_rows_per_month, passes)
    return {"billable_tokens": tokens, "price_micro": price_micro(tokens, prices.rate_micro)}
