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
        rows: all of them, in order.
        packs: the same, computed one after the other; their gradients are summed.
        max_tokens_per_pack: what they were packed to.
        shares: as `make_batches`.
    """

    step: int
    rows: tuple[Example, ...]
    packs: tuple[PackTensors, ...]
    max_tokens_per_pack: int
    shares: bool

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the rows stand in the user's file."""
        return tuple(row.place for row in self.rows)

    def within(self, max_tokens: int) -> "StepBatch":
        """The same rows in packs of at most this many tokens."""
        if max_tokens >= self.max_tokens_per_pack:
            return self
        return pack_step(self.step, self.rows, max_tokens, self.shares)

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
        yield pack_step(done + 1, tuple(rows), max_tokens_per_pack, shares)


def pack_step(step: int, rows: tuple[Example, ...], max_tokens: int, shares: bool) -> StepBatch:
    """A step's rows in packs of at most this many tokens; a longer row is a pack of its own."""
    packs = tuple(pack_tensors(pack) for pack in pack_examples(rows, max_tokens, shares=shares))
    return StepBatch(step, rows, packs, max_tokens, shares)
