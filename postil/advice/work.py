"""What a run will compute, counted before it starts."""

import math
from dataclasses import dataclass

from postil.advice.facts import DataFacts
from postil.advice.rates import Range
from postil.advice.rules import num_steps
from postil.config import RunConfig

ANSWERS_AT_ONCE = 16
"""Prompts that are answered together; as `models/generation.py`."""
SIDES = 2
"""Base and tuned."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a run will compute.

    Args:
        passes: over the rows that train; a last part is counted as its share.
        tokens, supervised_tokens: of all passes.
        measurements: of the held-out rows while it trains, and once before, with the base's answers to the samples.
        decode_steps: of one measurement's sample answers: from (as long as in the file), to (as long as allowed).
        final_decode_steps: the same for the answers of the end, both sides.
    """

    steps: int
    passes: float
    tokens: int
    supervised_tokens: int
    row_tokens: float
    heldout_tokens: int
    measurements: int
    checkpoints: int
    decode_steps: Range
    final_decode_steps: Range


def plan_work(data: DataFacts, config: RunConfig) -> Work:
    """Counts what a run with these settings will compute.

    Args:
        config: resolved: passes or steps, rows of a step and the distance of measurements are set.
    """
    training, evaluation = config.training, config.evaluation
    rows_per_step = (training.batch_rows or 1) * training.accumulation
    per_epoch = num_steps(data.rows, rows_per_step, 1)
    steps = training.max_steps or num_steps(data.rows, rows_per_step, training.epochs or 1)
    passes = steps / per_epoch
    measurements = math.ceil(steps / (evaluation.evaluate_every or steps)) if data.heldout_rows else 0
    samples = min(evaluation.num_samples, data.heldout_questions)
    measurements += 1 if measurements and evaluation.num_samples else 0
    answered = min(evaluation.max_answers, data.heldout_questions)
    return Work(
        steps=steps,
        passes=passes,
        tokens=round(passes * data.tokens),
        supervised_tokens=round(passes * data.supervised_tokens),
        row_tokens=data.tokens / max(1, data.rows),
        heldout_tokens=data.heldout_tokens,
        measurements=measurements,
        checkpoints=math.ceil(steps / training.save_every),
        decode_steps=_decode_steps(data, 1 if samples else 0, evaluation.used_max_new_tokens),
        final_decode_steps=_decode_steps(data, SIDES * -(-answered // ANSWERS_AT_ONCE), evaluation.used_max_new_tokens),
    )


def _decode_steps(data: DataFacts, batches: int, most: int) -> Range:
    """An answer is at least about as long as those of the file, and at most as long as allowed."""
    usual = min(most, data.answer_tokens + 1)
    return Range(batches * usual, batches * most)
