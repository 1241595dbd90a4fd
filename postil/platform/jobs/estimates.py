"""What a job will take before it starts, worked out from the data set's check and the base's facts; nothing is loaded.

Which rows are held out is decided by the run; here every n-th row is left out in their place. Tokens are the starter's:
exact for it, and on the dear side for bases with a larger vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from sqlalchemy.orm import Session

from postil.advice.estimate import Estimate, estimate_run
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.pricing import price_micro
from postil.advice.rates import Rates
from postil.advice.recommend import Recommendation
from postil.advice.rules import num_steps
from postil.config import RunConfig
from postil.data.purposes import DataPurpose, Evidence
from postil.data.splits import wanted_heldout_rows
from postil.data.truncation import round_up
from postil.platform.jobs.machine_rates import find_rates, guess_rates
from postil.platform.money.ledger import Charge
from postil.platform.service import Service
from postil.recipes.defaults import OPEN_SETTINGS, recommend_for, resolve_config

STARTER = "starter"
USUAL_SHARE = 0.995
# How far the true tokens may be from the counted ones: other rows may be held out, and other tokenizers cut otherwise.
EXACT_SPREAD, GUESSED_SPREAD = (0.97, 1.03), (0.5, 1.15)


@dataclass(frozen=True, slots=True)
class Price:
    """What a job is said to cost; amounts are millionths of the currency.

    Args:
        expected_micro: what is reserved for, times `reserve_factor`.
        free_rows: of the month's that it takes.
    """

    low_micro: int
    expected_micro: int
    high_micro: int
    free_rows: int
    tokens: int
    rate_micro: int
    currency: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """A job worked out.

    Args:
        config: resolved; without what depends on the machine and the file.
        row_tokens: of the rows that will probably train, in file order.
        passes: over them.
        estimate: None where the base's shape is not known and nothing was measured.
        rates: that it was worked out from; kept with the job, so that its run can correct them.
    """

    data: DataFacts
    base: BaseFacts
    recommendation: Recommendation
    config: RunConfig
    row_tokens: tuple[int, ...]
    passes: Fraction
    estimate: Estimate | None
    rates: Rates | None

    def said(self) -> dict[str, Any]:
        """The estimate as the job keeps it."""
        if self.estimate is None or self.rates is None:
            return {}
        return {**self.estimate.as_dict(), "rates": self.rates.as_dict(), "device": self.base.device}

    def frozen_settings(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that the job will train with: the user's own, and the recommended ones as they were shown.

        The others are filled in by the run, which knows the base's own tokens.
        """
        recommended = self.recommendation.changes()
        return {name: value for name, value in recommended.items() if name in OPEN_SETTINGS} | dict(chosen)


def plan_job(
    session: Session, service: Service, config: RunConfig, data: DataFacts, base: BaseFacts, row_tokens: Sequence[int]
) -> Plan:
    """Works out settings and what they will take.

    Args:
        config: the user's own choices, everything else open.
        row_tokens: of all rows that can train, in file order, by the starter's tokenizer.
    """
    recommendation = recommend_for(config, data, base)
    resolved = resolve_config(config, data, base)
    rank = resolved.adapter.used_rank
    rates = find_rates(session, service.settings, base.name, base.device) or guess_rates(
        service.settings, base, data, rank
    )
    estimate = None if rates is None else estimate_run(data, base, resolved, rates)
    training = resolved.training
    rows_per_step = (training.batch_rows or 1) * training.accumulation
    per_pass = num_steps(data.rows, rows_per_step, 1)
    steps = training.max_steps or num_steps(data.rows, rows_per_step, training.epochs or 1)
    trained = thin_out(row_tokens, data.heldout_rows)
    return Plan(data, base, recommendation, resolved, trained, Fraction(steps, per_pass), estimate, rates)


def price_of(charge: Charge, plan: Plan, currency: str) -> Price:
    """The price of a plan as a range."""
    low, high = EXACT_SPREAD if plan.data.is_exact else GUESSED_SPREAD
    return Price(
        low_micro=price_micro(int(charge.tokens * Fraction(str(low))), charge.rate_micro),
        expected_micro=charge.price_micro,
        high_micro=price_micro(int(charge.tokens * Fraction(str(high))), charge.rate_micro),
        free_rows=charge.free_rows,
        tokens=charge.tokens,
        rate_micro=charge.rate_micro,
        currency=currency,
    )


def data_facts_of(
    summary: Mapping[str, Any],
    row_tokens: Sequence[int],
    *,
    kind: DataPurpose | None,
    heldout_share: float,
    base: str,
    train_on_last: bool = False,
) -> DataFacts:
    """The numbers of a data set that advice is given on, out of its check.

    Args:
        summary: of the version, as `postil.data.examination` gives it.
        row_tokens: of each row that can train.
        kind: what the data are for; None takes what was found.
        heldout_share: of the settings.
        base: whose tokens are wanted; exact for the starter only.
    """
    profile = summary["profile"]
    num_rows, total = len(row_tokens), sum(row_tokens)
    heldout = wanted_heldout_rows(num_rows, heldout_share)
    answer_chars, chars = _mean(profile["answer_chars"]), _mean(profile["conversation_chars"])
    turns = 1.0 if train_on_last else profile["turns"] / max(1, profile["conversations"])
    answer_tokens = total / max(1, num_rows) * min(1.0, answer_chars / max(1.0, chars))
    rows = num_rows - heldout
    supervised = min(round(total * rows / max(1, num_rows)), round(rows * turns * (answer_tokens + 1)))
    ordered = sorted(row_tokens)
    return DataFacts(
        rows=rows,
        heldout_rows=heldout,
        heldout_questions=heldout,
        tokens=sum(thin_out(row_tokens, heldout)),
        supervised_tokens=supervised,
        heldout_tokens=total - sum(thin_out(row_tokens, heldout)),
        longest_tokens=ordered[-1],
        usual_longest_tokens=round_up(ordered[min(num_rows - 1, int(USUAL_SHARE * num_rows))]),
        answer_tokens=answer_tokens,
        duplicates=profile["duplicates"],
        distinct_answers=profile["distinct_answers"],
        kind=kind or profile["purpose"],
        found_kind=profile["found_purpose"],
        evidence=tuple(Evidence(e["key"], e["values"]) for e in profile["evidence"]),
        is_exact=base == STARTER and summary["tokens"]["num_exact"] == num_rows,
    )


def thin_out(row_tokens: Sequence[int], num_left_out: int) -> tuple[int, ...]:
    """The rows without `num_left_out` of them, evenly spread: which ones the run holds out is not known yet."""
    num_rows = len(row_tokens)
    left_out = {(2 * i + 1) * num_rows // (2 * num_left_out) for i in range(num_left_out)}
    return tuple(tokens for i, tokens in enumerate(row_tokens) if i not in left_out)


def _mean(lengths: Mapping[str, Any] | None) -> float:
    """Out of the bins of a profile, each counted with its middle."""
    if not lengths:
        return 0.0
    bins = lengths["bins"]
    total = sum(b["count"] for b in bins)
    return float(sum(b["count"] * (b["from"] + min(b["to"], lengths["longest"])) / 2 for b in bins) / max(1, total))
