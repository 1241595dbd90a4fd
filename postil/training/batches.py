"""Steps of packs. Which rows a step takes depends only on the seed and the epoch, so a run can go on anywhere."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from postil.data.examples import IGNORED, Example
from postil.data.packing import pack_examples
from postil.models.packed import PackTensors, pack_tensors
from postil.problems import Place


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What one optimizer step learns from.

    Args:
        step: counted from 1.
        rows: all of them, in order.
        own_rows: those that this process computes: all of them, or a worker's part.
        packs: the own rows, computed one after the other; their gradients are summed.
        max_tokens_per_pack: what they were packed to.
        shares: as `make_batches`.
    """

    step: int
    rows: tuple[Example, ...]
    own_rows: tuple[Example, ...]
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
        packs = _packs(self.own_rows, max_tokens, self.shares)
        return replace(self, packs=packs, max_tokens_per_pack=max_tokens)

    @property
    def num_tokens(self) -> int:
        """Tokens of all its rows."""
        return sum(len(row.input_ids) for row in self.rows)

    @property
    def num_laid_tokens(self) -> int:
        """Tokens that this process computes: fewer where rows share their beginning."""
        return sum(p.num_laid_tokens for p in self.packs)

    @property
    def num_trained_tokens(self) -> int:
        """Tokens learned from all its rows: what the step's loss is divided by."""
        return sum(label != IGNORED for row in self.rows for label in row.labels[1:])  # nothing predicts a first token


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
    worker: int = 0,
    num_workers: int = 1,
) -> Iterator[StepBatch]:
    """Yields the steps first_step + 1 ... steps.

    Every epoch is a new order of all rows; its last step takes what is left over, so that each row is seen once.

    Args:
        examples: at least one.
        batch_rows: rows of a step.
        max_tokens_per_pack: a step with more tokens to compute is split into packs of whole rows.
        first_step: steps already done; the rest is the same as in an uninterrupted run.
        shares: what rows of a pack begin with alike is computed once (see `Pack`); only where `shares_beginnings`.
        worker, num_workers: this process among those that divide each step's rows between them.
    """
    per_epoch = steps_per_epoch(len(examples), batch_rows)
    epoch, order = -1, np.zeros(0, dtype=np.int64)
    for done in range(first_step, steps):
        if done // per_epoch != epoch:
            epoch = done // per_epoch
            order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(examples))
        start = done % per_epoch * batch_rows
        rows = tuple(examples[i] for i in order[start : start + batch_rows])
        own = rows if num_workers == 1 else _deal(rows, worker, num_workers)
        packs = _packs(own, max_tokens_per_pack, shares)
        yield StepBatch(done + 1, rows, own, packs, max_tokens_per_pack, shares)


def _deal(rows: Sequence[Example], worker: int, num_workers: int) -> tuple[Example, ...]:
    """A worker's part: the longest rows are dealt first, so that nobody waits long for the others."""
    return tuple(sorted(rows, key=lambda row: -len(row.input_ids))[worker::num_workers])


def _packs(rows: tuple[Example, ...], max_tokens: int, shares: bool) -> tuple[PackTensors, ...]:
    """Rows in packs of at most this many tokens; a longer row is a pack of its own."""
    return tuple(pack_tensors(pack) for pack in pack_examples(rows, max_tokens, shares=shares))
