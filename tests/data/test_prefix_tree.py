"""Rows that begin alike: what is laid, where, and that each row is still whole."""

import random

import pytest

from postil.data.examples import IGNORED, Example
from postil.data.packing import Pack, pack_examples, predicting_tokens
from postil.data.prefix_tree import MIN_SHARED_TOKENS, LaidRows, PrefixTree, lay_end_to_end
from postil.problems import Place


def tree_of(rows: list[tuple[int, ...]]) -> LaidRows:
    tree = PrefixTree()
    for number, row in enumerate(rows):
        new = tree.new_tokens(row)
        before = tree.laid_tokens
        tree.add(row)
        assert tree.laid_tokens == before + new
        assert tree.row_tokens == sum(len(r) for r in rows[: number + 1])
    laid = tree.lay()
    assert len(laid.token_ids) == tree.laid_tokens
    return laid


def assert_whole(laid: LaidRows, rows: list[tuple[int, ...]]) -> None:
    """Every row can be read off its indices, and each segment's history is what is before it in its rows."""
    assert [s.start for s in laid.segments] == [
        sum(s.length for s in laid.segments[:i]) for i in range(len(laid.segments))
    ]
    for number, row in enumerate(rows):
        indices = laid.indices(number)
        assert tuple(laid.token_ids[index] for index in indices) == row
        done = 0
        for segment in (laid.segments[i] for i in laid.paths[number]):
            assert segment.position == done
            assert [p for a, b in segment.history for p in range(a, b)] == indices[:done]
            done += segment.length
        assert done == len(row)


PROMPT = tuple(range(100, 130))
OTHER = tuple(range(200, 220))


@pytest.mark.parametrize(
    ("rows", "laid_tokens", "num_segments"),
    [
        ([(*PROMPT, 1, 2), (*PROMPT, 3), (*PROMPT, 4, 5)], 35, 4),
        ([(*PROMPT, 1), (*OTHER, 2), (*PROMPT, 3), (*OTHER, 4)], 54, 6),
        ([(*PROMPT, *OTHER, 1), (*PROMPT, 2), (*PROMPT, *OTHER, 3)], 53, 5),
        ([PROMPT, PROMPT], 30, 1),
        ([(*PROMPT, 1), PROMPT], 31, 2),
        ([PROMPT, (*PROMPT, 1)], 31, 2),
        ([(*PROMPT[:15], 1), (*PROMPT[:15], 2)], 32, 2),  # too short to be worth it
        ([(), PROMPT, ()], 30, 1),
        ([], 0, 0),
    ],
)
def test_trees(rows: list[tuple[int, ...]], laid_tokens: int, num_segments: int) -> None:
    laid = tree_of(rows)
    assert (len(laid.token_ids), len(laid.segments)) == (laid_tokens, num_segments)
    assert_whole(laid, rows)


@pytest.mark.parametrize("seed", range(20))
def test_random_rows_stay_whole(seed: int) -> None:
    source = random.Random(seed)
    stems = [tuple(source.randrange(3) for _ in range(source.randrange(60))) for _ in range(4)]
    rows = []
    for _ in range(25):
        begin = rows[source.randrange(len(rows))] if rows and source.random() < 0.5 else source.choice(stems)
        cut = begin[: source.randrange(len(begin) + 1)]
        rows.append((*cut, *(source.randrange(3) for _ in range(source.randrange(40)))))
    laid = tree_of(rows)
    assert_whole(laid, rows)
    assert len(laid.token_ids) < sum(map(len, rows))
    assert_whole(lay_end_to_end(rows), rows)


def example(ids: tuple[int, ...], trained: int) -> Example:
    labels = tuple(token if i == trained else IGNORED for i, token in enumerate(ids))
    return Example(Place("f", 1), ids, labels)


def test_what_comes_after_the_last_prediction_is_left_out() -> None:
    assert predicting_tokens(example((5, 6, 7, 8), 2)) == (5, 6)
    assert predicting_tokens(example((5, 6, 7, 8), 3)) == (5, 6, 7)
    assert predicting_tokens(example((5, 6), 0)) == ()  # the first token has nothing that predicts it
    assert predicting_tokens(example((5, 6), -1)) == ()


def test_beginnings_are_shared_from_fifteen_percent_on() -> None:
    few, many = (tuple(range(1000 * n, 1000 * n + MIN_SHARED_TOKENS + 4)) for n in (1, 2))
    tails = [tuple(range(5000 + 100 * n, 5000 + 100 * n + 90)) for n in range(3)]
    worth = Pack((example((*few, 1, 2), 21), example((*few, 3, 4), 21)), shares=True).lay()
    assert len(worth.segments) == 3
    not_worth = Pack(tuple(example((*many, *tail), 89) for tail in tails), shares=True).lay()
    assert [s.length for s in not_worth.segments] == [89, 89, 89]


def test_packs_count_what_is_laid_and_cut_no_row() -> None:
    rows = [example((*PROMPT, *range(1000 + 10 * n, 1010 + 10 * n)), 39) for n in range(12)]
    packs = pack_examples(rows, 60, shares=True)
    assert [len(p.examples) for p in packs] == [3, 3, 3, 3]  # 30 + 3 x 9 laid tokens
    assert [e for p in packs for e in p.examples] == rows
    assert [len(p.examples) for p in pack_examples(rows, 60)] == [1] * 12
    assert [len(p.examples) for p in pack_examples(rows, 5, shares=True)] == [1] * 12
