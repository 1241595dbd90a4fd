"""Time, memory and price of a run before it starts, as ranges; and afterwards: was that right?

plan_work      what will be computed: steps, tokens, measurements, answers (work.py)
Rates          how fast it goes here, measured in a few real steps (rates.py, `recipes/calibrate.py`)
rates_of_card  how fast it may go on a card that is not here, from the count of operations: not measured (cards.py)
estimate_run   work / rates, phase by phase
grade          what was said, against what it took
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.rates import Range, Rates
from postil.advice.wording import amount_range, duration_range
from postil.advice.work import SIDES, Work, plan_work
from postil.config import RunConfig
from postil.language import say
from postil.models.memory import KERNEL_BYTES, bytes_to_train, head_bytes, num_kernels

USUAL_SPREAD = 0.08
"""Half-width of a measured range, where the measured steps say less: machines are never quite still."""
MEMORY_SLACK = (0.9, 1.15)
"""A run against its calibration, which takes the longest rows at once, but few steps."""
MODEL_ERROR = (0.85, 1.1)
"""The memory model against measurement; `tests/models/test_memory.py`."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take.

    Args:
        seconds: from start to result.
        phases: seconds by phase: "start", "train", "measure", "save", "evaluate".
        memory_bytes: at its peak; None where the architecture is not known.
        price_micro: what is charged for it here; None where nothing is.
        cost_micro: what the hardware costs at `hourly_micro`; from, to.
        is_measured: False where the hardware is not here and its rates were worked out.
        made_after_steps: 0 where it was made before the start.
    """

    hardware: str
    steps: int
    tokens: int
    measurements: int
    seconds: Range
    phases: dict[str, Range]
    memory_bytes: Range | None
    is_measured: bool
    billable_tokens: int | None = None
    price_micro: int | None = None
    hourly_micro: int | None = None
    cost_micro: Range | None = None
    made_after_steps: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Estimate":
        """Reads what `as_dict` wrote."""
        ranges = {
            name: Range(**values[name]) if values.get(name) else None
            for name in ("seconds", "memory_bytes", "cost_micro")
        }
        return cls(**{**values, **ranges, "phases": {k: Range(**v) for k, v in values["phases"].items()}})


@dataclass(frozen=True, slots=True)
class Actual:
    """What a run took."""

    seconds: float
    memory_bytes: int | None = None
    price_micro: int | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """An estimate against what happened.

    Args:
        seconds_error: (middle of the range - true) / true.
        is_within: the true time lies in the range.
    """

    said_seconds: Range
    took_seconds: float
    is_within: bool
    seconds_error: float
    said_micro: int | None = None
    paid_micro: int | None = None
    said_memory_bytes: Range | None = None
    used_memory_bytes: int | None = None

    @property
    def text(self) -> str:
        """One sentence: "Forecast 12-15 min and 3.10, took 13 min and 3.02."; no amounts where all of it was free."""
        values = {"said": duration_range(self.said_seconds.low, self.said_seconds.high)}
        values["took"] = duration_range(self.took_seconds, self.took_seconds)
        if self.said_micro is None or self.paid_micro is None or not (self.said_micro or self.paid_micro):
            return say("advice.grade.time", **values)
        price, paid = amount_range(self.said_micro), amount_range(self.paid_micro)
        return say("advice.grade.time_and_price", price=price, paid=paid, **values)

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape, with the sentence in the current language."""
        return {**asdict(self), "text": self.text}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Grade":
        """What `as_dict` gave."""
        values = {name: value for name, value in kept.items() if name != "text"}
        for name in ("said_seconds", "said_memory_bytes"):
            values[name] = Range(**values[name]) if values.get(name) else None
        return cls(**values)


def estimate_run(
    data: DataFacts,
    base: BaseFacts,
    config: RunConfig,
    rates: Rates,
    *,
    billable_tokens: int | None = None,
    price_micro: int | None = None,
    hourly_micro: int | None = None,
) -> Estimate:
    """Time and memory of a run with these settings; a price where one is charged.

    Args:
        config: resolved.
        billable_tokens, price_micro: from `pricing`, where training is charged.
        hourly_micro: what an hour of the hardware costs.
    """
    work = plan_work(data, config)
    phases = _phases(work, rates)
    seconds = Range(0, 0)
    for part in phases.values():
        seconds = seconds.plus(part)
    cost = seconds.times(hourly_micro / 3600) if hourly_micro is not None else None
    return Estimate(
        hardware=rates.hardware,
        steps=work.steps,
        tokens=work.tokens,
        measurements=work.measurements,
        seconds=seconds,
        phases=phases,
        memory_bytes=estimate_memory(base, config, data, rates.peak_memory_bytes),
        is_measured=rates.is_measured,
        billable_tokens=billable_tokens,
        price_micro=price_micro,
        hourly_micro=hourly_micro,
        cost_micro=cost,
    )


def _phases(work: Work, rates: Rates) -> dict[str, Range]:
    # the mean over many steps is known better than one step is
    spread = max(USUAL_SPREAD, rates.spread)
    around = Range(1 - spread / 2, 1 + spread)
    training = Range(work.tokens / rates.step_tokens_per_second.high, work.tokens / rates.step_tokens_per_second.low)
    reading = Range(
        work.heldout_tokens / rates.reading_tokens_per_second.high,
        work.heldout_tokens / rates.reading_tokens_per_second.low,
    )
    samples = _multiply(work.decode_steps, rates.decode_seconds)
    answers = _multiply(work.final_decode_steps, rates.decode_seconds)
    start = rates.launch_seconds + rates.startup_seconds
    return {
        "start": Range(start * around.low, start * around.high),
        "train": Range(
            training.low * around.low + rates.first_step_seconds * 0.5,
            training.high * around.high + rates.first_step_seconds,
        ),
        "measure": reading.plus(samples).times(work.measurements),
        "save": Range(0.5, 1.5).times(rates.save_seconds * (work.checkpoints + 2)),
        "evaluate": reading.times(SIDES).plus(answers),
    }


def _multiply(one: Range, other: Range) -> Range:
    return Range(one.low * other.low, one.high * other.high)


def estimate_memory(
    base: BaseFacts, config: RunConfig, data: DataFacts, measured_bytes: int | None = None
) -> Range | None:
    """Bytes at the peak: around what was measured, else what the memory model says; None where it knows nothing.

    Args:
        config: resolved.
        measured_bytes: of a calibration with these data and settings.
    """
    training, rank = config.training, config.adapter.used_rank
    rows = (training.batch_rows or 1) * training.accumulation
    # made in bf16 on a CPU for one shape each, and kept; a calibration sees few shapes
    kernels = num_kernels(rows) * KERNEL_BYTES if base.device == "cpu" and base.dtype_bytes < 4 else 0
    if measured_bytes is not None:
        return Range(measured_bytes * MEMORY_SLACK[0], measured_bytes * MEMORY_SLACK[1] + kernels)
    if base.shape is None:
        return None
    limit = max(training.max_tokens_per_pack or data.longest_tokens, data.longest_tokens)
    at_once = min(rows, data.rows)
    usual, most = (min(limit, round(at_once * row)) for row in (data.tokens / max(1, data.rows), data.longest_tokens))
    low, high = (bytes_to_train(base.shape, rank, tokens, base.dtype_bytes) for tokens in (usual, most))
    measuring = head_bytes(base.shape, data.heldout_tokens)  # held-out rows have the larger packs
    return Range(low * MODEL_ERROR[0], high * MODEL_ERROR[1] + measuring + kernels)


def grade(estimate: Estimate, actual: Actual) -> Grade:
    """Compares what was said with what it took."""
    took = actual.seconds
    return Grade(
        said_seconds=estimate.seconds,
        took_seconds=took,
        is_within=estimate.seconds.holds(took),
        seconds_error=(estimate.seconds.middle - took) / max(took, 1e-9),
        said_micro=estimate.price_micro,
        paid_micro=actual.price_micro,
        said_memory_bytes=estimate.memory_bytes,
        used_memory_bytes=actual.memory_bytes,
    )
