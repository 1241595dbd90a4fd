"""Order, sizes and the number of steps."""

import itertools

import pytest

from postil.training.batches import StepBatch, make_batches, num_steps
from tests.invariants.rows import make_rows

ROWS = make_rows(10)


def batches(first_step: int = 0, seed: int = 0, steps: int = 8) -> list[StepBatch]:
    found = make_batches(ROWS, batch_rows=4, max_tokens_per_pack=60, seed=seed, steps=steps, first_step=first_step)
    return list(found)


def rows_of(batch: StepBatch) -> list[int]:
    return [place.row for place in batch.places]


def test_every_row_is_seen_once_an_epoch() -> None:
    found = batches(steps=6)
    assert [len(rows_of(b)) for b in found] == [4, 4, 2] * 2
    for epoch in (found[:3], found[3:]):
        assert sorted(itertools.chain.from_iterable(map(rows_of, epoch))) == list(range(1, 11))
    assert [rows_of(b) for b in found[:3]] != [rows_of(b) for b in found[3:]]


def test_order_depends_on_the_seed_only() -> None:
    assert [rows_of(b) for b in batches()] == [rows_of(b) for b in batches()]
    assert [rows_of(b) for b in batches()] != [rows_of(b) for b in batches(seed=1)]


@pytest.mark.parametrize("first_step", [1, 3, 7, 8])
def test_going_on_gives_the_remaining_batches(first_step: int) -> None:
    whole, rest = batches()[first_step:], batches(first_step)
    assert [(b.step, b.places) for b in whole] == [(b.step, b.places) for b in rest]
    pairs = [(p, q) for a, b in zip(whole, rest, strict=True) for p, q in zip(a.packs, b.packs, strict=True)]
    assert all(p.input_ids.equal(q.input_ids) and p.targets.equal(q.targets) for p, q in pairs)


def test_packs_hold_whole_rows_and_count_what_is_trained() -> None:
    by_row = {row.place.row: row for row in ROWS}
    for batch in batches(steps=3):
        rows = [by_row[number] for number in rows_of(batch)]
        lengths = list(itertools.chain.from_iterable(pack.row_lengths for pack in batch.packs))
        assert lengths == [len(row.input_ids) for row in rows]
        assert batch.num_tokens == sum(lengths)
        assert batch.num_trained_tokens == sum(row.num_trained_tokens for row in rows)
        assert all(pack.num_tokens <= 60 for pack in batch.packs)
        for pack in batch.packs:
            assert pack.input_ids[pack.predicting + 1].equal(pack.targets)
            assert pack.position_ids.tolist() == [i for n in pack.row_lengths for i in range(n)]


@pytest.mark.parametrize(
    ("rows", "batch", "epochs", "steps"), [(10, 4, 1, 3), (10, 4, 2.5, 8), (8, 4, 3, 6), (1, 4, 0.1, 1)]
)
def test_number_of_steps(rows: int, batch: int, epochs: float, steps: int) -> None:
    assert num_steps(rows, batch, epochs) == steps
