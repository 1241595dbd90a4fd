"""What the benchmark of a step counts and compares: a wrong denominator would flatter."""

from pathlib import Path

import pytest

from benchmarks.arms.plain import pad
from benchmarks.arms.recording import Figures, Task
from benchmarks.comparison import FALL, Round, Setting, bars, kept_rounds, largest_difference, summary
from benchmarks.figures import Figure
from benchmarks.flops import common_prefix, minimal_work
from benchmarks.prefix import apart
from benchmarks.step import draw_steps, parse
from benchmarks.workload import IGNORED, Row, Shape

SHAPE = Shape(layers=3, hidden=8, heads=2, key_heads=1, ffn=12, vocabulary=50)


def row(ids: list[int], trained: int) -> Row:
    return Row([], ids, [IGNORED] * (len(ids) - trained) + ids[len(ids) - trained :])


ROWS = [row([1, 2, 3, 4, 5, 6], 2), row([1, 2, 3, 7, 8], 1), row([1, 2, 9, 9, 9, 9, 9], 4)]


def test_work_counts_the_common_beginning_once_and_nothing_after_the_last_prediction() -> None:
    work = minimal_work(SHAPE, ROWS, rank=2)
    assert common_prefix(ROWS) == 2
    assert work.tokens == 2 + (5 - 2) + (4 - 2) + (6 - 2)
    assert work.trained == 2 + 1 + 4
    linear = 3 * (8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 12)
    assert work.gemm_flops == 4 * linear * work.tokens + 4 * 50 * 8 * work.trained
    adapter = 6 * 2 * 3 * (16 + 12 + 12 + 16 + 3 * 20) * work.tokens
    pairs = 3 + sum(n * 2 + n * (n + 1) // 2 for n in (3, 2, 4))
    assert work.flops == work.gemm_flops + adapter + 12 * 8 * 3 * pairs


def test_rows_that_are_one_and_the_same_keep_a_token_of_their_own() -> None:
    same = [row([1, 2, 3, 4], 1), row([1, 2, 3, 4], 1)]
    assert common_prefix(same) == 2
    assert common_prefix(same[:1]) == 0


def test_fewer_layers_have_as_much_less_vocabulary() -> None:
    cut = Shape().at_depth(6)
    whole = Shape()
    share = [s.vocabulary * s.hidden / (s.layers * sum(i * o for i, o in s.linears())) for s in (cut, whole)]
    assert share[0] == pytest.approx(share[1], rel=0.01)


def test_rows_apart_share_nothing_and_keep_their_lengths() -> None:
    separate = apart(ROWS)
    assert common_prefix(separate) == 0
    assert [len(r.input_ids) for r in separate] == [len(r.input_ids) for r in ROWS]
    assert [r.labels for r in separate] == [r.labels for r in ROWS]


def test_padding_is_never_trained_and_cuts_no_row() -> None:
    columns = pad(ROWS, 8)
    assert columns["input_ids"].shape == (3, 8)
    assert int((columns["labels"] != IGNORED).sum()) == 7
    assert columns["attention_mask"].sum(1).tolist() == [6, 5, 7]
    with pytest.raises(AssertionError):
        pad(ROWS, 6)


def test_steps_take_every_row_once_before_any_twice() -> None:
    rows = [row([n, n, n], 1) for n in range(32)]
    assert sorted(n for step in draw_steps(rows, 2) for n in step) == list(range(32))


def test_rounds_in_which_the_machine_was_slow_are_not_counted() -> None:
    quick, slow = Round(calibrations={"a": 100.0, "b": 95.0}), Round(calibrations={"a": 100.0, "b": 100 * FALL - 1})
    assert kept_rounds([quick, slow]) == [quick]


def test_losses_are_compared_at_their_worst_in_fp32_and_by_the_median_in_bf16() -> None:
    found, expected = [1.0, 2.0, 3.3], [1.0, 2.0, 3.0]
    assert largest_difference(found, expected, "fp32") == pytest.approx(0.1)
    assert largest_difference(found, expected, "bf16") == 0.0


def setting() -> Setting:
    task = Task("", "", "", "", "", 3, 3, 0, 2, "fp32", "cpu", 1e-4, 0)
    return Setting(SHAPE, [minimal_work(SHAPE, ROWS, 2)] * 2, task, Path())


def figures(seconds: float, loss: float) -> Figures:
    return Figures(losses=[loss] * 3, seconds=[9.0, seconds, seconds], tokens=[1, 1, 1], peak_bytes=2 * 10**9)


def test_a_ratio_counts_only_where_losses_agree_and_the_first_step_never() -> None:
    arms = {"plain": figures(8.0, 1.0), "trl_tuned": figures(4.0, 1.1), "postil": figures(2.0, 1.0)}
    rounds = [Round(figures=arms, calibrations=dict.fromkeys(arms, 1e9))]
    result = summary(setting(), rounds, list(arms), {})
    assert result["ratios"] == {"plain": 4.0, "trl_tuned": 2.0}
    assert [name for name, arm in result["arms"].items() if not arm["losses_agree"]] == ["trl_tuned"]
    assert not result["losses_agree"]
    assert [(line["name"], line["met"]) for line in bars("B1", result)] == [
        ("plain / postil", True),
        ("useful-MFU", False),
        ("least peak memory / postil", True),
    ]


def test_useful_mfu_is_the_least_work_by_time_and_rate() -> None:
    arms = {"postil": figures(2.0, 1.0)}
    work = setting().work[0]
    rounds = [Round(figures=arms, calibrations={"postil": work.flops})]
    assert summary(setting(), rounds, ["postil"], {})["arms"]["postil"]["useful_mfu"] == 0.5


def test_unknown_arms_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--arms", "plain,magic"])
    assert "magic" in capsys.readouterr().err


@pytest.mark.parametrize(("at_least", "met"), [(True, False), (False, True)])
def test_a_bar_is_a_floor_or_a_ceiling(at_least: bool, met: bool) -> None:
    assert Figure("", 0.5, "", 1.0, at_least).is_met is met
