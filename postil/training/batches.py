"""Steps of packs. Which rows a step takes depends only on the seed and the epoch, so a run can go on anywhere."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from postil.data.examples import Example
from postil.data.packing import pack_examples
from postil.models.packed import PackTensors, pack_tensors
from postil.problems import Place


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What one optimizer step learns from.

    Args:
        step: counted from 1.
        packs: computed one after the other; their gradients are summed.
        places: where the rows stand in the user's file.
    """

    step: int
    packs: tuple[PackTensors, ...]
    places: tuple[Place, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of its rows."""
        return sum(p.num_tokens for p in self.packs)

    @property
    def num_laid_tokens(self) -> int:
        """Tokens computed: fewer where rows share their beginning."""
        return sum(p.num_laid_tokens for p in self.packs)

    @property
    def num_trained_tokens(self) -> int:
        """Tokens learned: what the step's loss is divided by."""
        return sum(p.num_trained_tokens for p in self.packs)


def steps_per_epoch(num_rows: int, batch_rows: int) -> int:
    """Steps in which every row is seen once; the last one may be smaller."""
    return math.ceil(num_rows / batch_rows)


def num_steps(num_rows: int, batch_rows: int, epochs: float) -> int:
    """Steps of a run of `epochs` passes, at least one; a part of an epoch is rounded up to whole steps."""
    exact = epochs * steps_per_epoch(num_rows, batch_rows)
    return max(1, math.ceil(round(exact, 6)))


def make_batches(
    examples: Sequence[Example],
    *,
    batch_rows: int,
    max_tokens_per_pack: int,
    seed: int,
    steps: int,
    first_step: int = 0,
    shares: bool = False,
) -> Iterator[StepBatch]:
    """Yields the steps first_step + 1 ... steps.

    Every epoch is a new order of all rows; its last step takes what is left over, so that each row is seen once.

    Args:
        examples: at least one.
        batch_rows: rows of a step.
        max_tokens_per_pack: a step with more tokens to compute is split into packs of whole rows.
        first_step: steps already done; the rest is the same as in an uninterrupted run.
        shares: what rows of a pack begin with alike is computed once (see `Pack`); only where `shares_beginnings`.
    """
    per_epoch = steps_per_epoch(len(examples), batch_rows)
    epoch, order = -1, np.zeros(0, dtype=np.int64)
    for done in range(first_step, steps):
        if done // per_epoch != epoch:
            epoch = done // per_epoch
            order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(examples))
        start = done % per_epoch * batch_rows
        rows = [examples[i] for i in order[start : start + batch_rows]]
        packs = tuple(pack_tensors(pack) for pack in pack_examples(rows, max_tokens_per_pack, shares=shares))
        yield StepBatch(done + 1, packs, tuple(row.place for row in rows))
