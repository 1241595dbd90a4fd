"""Is the adapter better than its base? Judged on held-out questions, with an interval."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from postil.data.conversations import normalize_question

Verdict = Literal["better", "same", "worse", "cannot_tell"]

NUM_RESAMPLES = 10_000
FEWEST_QUESTIONS = 5
"""Under this many held-out questions no verdict is given."""
WEAK_ROWS = 60
"""Under this many rows in all, a verdict is called weak."""
SAME_SHARE = 0.02
"""A difference that surely stays within this share of the base's loss is none."""


def mean_by_question(questions: Sequence[str], values: Sequence[float]) -> npt.NDArray[np.float64]:
    """One mean per distinct question, in order of first appearance.

    Rows that ask the same thing are no independent evidence, so every question counts once, however often it was asked.

    Args:
        questions: one per row; compared by `normalize_question`.
        values: one per row.

    Returns:
        Shape (distinct questions,).
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for question, value in zip(questions, values, strict=True):
        groups[normalize_question(question)].append(value)
    return np.array([np.mean(group) for group in groups.values()], dtype=np.float64)


def bootstrap_interval(
    differences: npt.NDArray[np.float64], seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of the mean.

    Args:
        differences: one number per question, at least one.
        confidence: share of the resampled means inside the interval.

    Returns:
        (low, high) in the unit of `differences`; the same seed gives the same interval.
    """
    rng, count = np.random.default_rng(seed), len(differences)
    block = max(1, 1_000_000 // count)  # resamples drawn at once, so that memory stays small
    means = [
        differences[rng.integers(count, size=(min(block, NUM_RESAMPLES - start), count))].mean(axis=1)
        for start in range(0, NUM_RESAMPLES, block)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def judge(interval: tuple[float, float] | None, base_loss: float | None) -> Verdict:
    """The verdict of an interval for mean(base loss - tuned loss).

        worse        |        same        |       better
      ───────────────┼─ -2 % ── 0 ── 2 % ─┼───────────────>  everything else: cannot_tell

    "same" goes first: a difference that is certain but within 2 % of the base's loss helps nobody.

    Args:
        interval: None where there are too few held-out questions.
        base_loss: the base's held-out loss, nats per trained token.
    """
    if interval is None or base_loss is None or not np.isfinite([*interval, base_loss]).all():
        return "cannot_tell"
    low, high = interval
    margin = SAME_SHARE * base_loss
    if -margin <= low and high <= margin:
        return "same"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "cannot_tell"
