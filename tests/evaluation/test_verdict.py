"""The verdict: its borders, its interval, and one vote per question."""

import numpy as np
import pytest

from postil.evaluation.verdict import bootstrap_interval, judge, mean_by_question


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 0.5), "better"),
        ((-0.5, -0.1), "worse"),
        ((-0.03, 0.03), "same"),
        ((0.0, 0.0), "same"),
        ((0.001, 0.002), "same"),  # certain, and of no use
        ((-0.1, 0.5), "cannot_tell"),
        ((-0.01, 0.5), "cannot_tell"),
        ((0.03, 0.06), "better"),
        (None, "cannot_tell"),
        ((float("nan"), 1.0), "cannot_tell"),
    ],
)
def test_borders_at_a_base_loss_of_two(interval: tuple[float, float] | None, verdict: str) -> None:
    assert judge(interval, 2.0) == verdict


def test_no_heldout_rows_no_verdict() -> None:
    assert judge(None, None) == "cannot_tell"


def test_a_question_counts_once_however_often_it_is_asked() -> None:
    means = mean_by_question(["How?", "how ?", "HOW", "Why?"], [1.0, 2.0, 3.0, 10.0])
    assert means.tolist() == [2.0, 10.0]


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        low, high = bootstrap_interval(rng.normal(0.3, 1.0, size=40))
        hits += low <= 0.3 <= high
    assert 51 <= hits <= 60  # 95 % of 60 is 57; fewer than 51 has a chance under one in a thousand


def test_the_interval_is_the_normal_one_for_many_questions() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, size=400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_seeded() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
