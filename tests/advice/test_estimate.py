"""Time, memory and price before the start, and the grade afterwards."""

import json
from dataclasses import replace

import pytest

from postil.advice.cards import CARDS, rates_of_card
from postil.advice.counting import training_flop
from postil.advice.estimate import Actual, Estimate, Grade, estimate_memory, estimate_run, grade
from postil.advice.facts import BaseFacts
from postil.advice.rates import Range, Rates
from postil.advice.recommend import recommend
from postil.advice.wording import amount_range, duration_range
from postil.advice.work import plan_work
from postil.config import RunConfig
from postil.errors import UnavailableError
from postil.language import use_language
from postil.models.catalog import STARTER_ENTRY, find_entry
from tests.advice.facts import data_of

STARTER = BaseFacts.of_entry(STARTER_ENTRY)
ENTRY_14B = find_entry("Qwen/Qwen2.5-14B-Instruct")
assert ENTRY_14B is not None
QWEN_14B = BaseFacts.of_entry(ENTRY_14B, "cuda", "bf16")
RATES = Rates(
    hardware="a test",
    launch_seconds=3,
    startup_seconds=2,
    step_tokens_per_second=Range(900, 1100),
    first_step_seconds=1,
    reading_tokens_per_second=Range(3000, 3000),
    decode_seconds=Range(0.01, 0.02),
    save_seconds=0.1,
    peak_memory_bytes=800_000_000,
)


def config_of(**settings: object) -> RunConfig:
    changes = {"training.epochs": 5.0, "training.batch_rows": 8, "evaluation.evaluate_every": 25, **settings}
    return RunConfig().replace(changes)


def test_work_is_counted_as_the_loop_does_it() -> None:
    work = plan_work(data_of(100), config_of())
    assert (work.steps, work.passes, work.tokens, work.measurements) == (65, 5.0, 5 * 6000, 4)
    assert plan_work(data_of(100), config_of(**{"training.max_steps": 13, "training.epochs": None})).passes == 1.0
    assert plan_work(data_of(100), config_of(**{"evaluation.num_samples": 0})).measurements == 3
    assert plan_work(data_of(100, heldout_rows=0, heldout_questions=0), config_of()).measurements == 0


def test_time_is_the_sum_of_its_phases() -> None:
    estimate = estimate_run(data_of(100), STARTER, config_of(), RATES)
    assert sum(p.low for p in estimate.phases.values()) == pytest.approx(estimate.seconds.low)
    train = estimate.phases["train"]
    assert train.low < 30_000 / 1000 < train.high  # tokens over their rate
    assert estimate.phases["start"].holds(5)
    assert estimate.memory_bytes is not None and estimate.memory_bytes.holds(800_000_000)
    assert Estimate.from_dict(estimate.as_dict()) == estimate
    assert Rates.from_dict(RATES.as_dict()) == RATES


@pytest.mark.parametrize(
    ("dtype", "rows", "tokens_per_row", "longest", "calibrated", "used"),
    [
        ("fp32", 77, 39, 66, 634e6, 646e6),
        ("bf16", 77, 39, 66, 742e6, 895e6),
        ("bf16", 74, 43, 102, 759e6, 837e6),
        ("bf16", 450, 74, 135, 859e6, 1085e6),
        ("bf16", 221, 88, 163, 943e6, 1062e6),
    ],
)
def test_memory_of_runs_that_were_measured(
    dtype: str, rows: int, tokens_per_row: int, longest: int, calibrated: float, used: float
) -> None:
    """The starter, 8 rows a step, packs of up to 4096 tokens that no step fills; docs/results/demo.md."""
    base = BaseFacts.of_entry(STARTER_ENTRY, "cpu", dtype)
    config = config_of(**{"training.max_tokens_per_pack": 4096})
    data = data_of(rows, tokens_per_row=tokens_per_row, longest_tokens=longest)
    for measured in (None, int(calibrated)):
        said = estimate_memory(base, config, data, measured)
        assert said is not None and said.holds(used) and said.high < 2.5 * said.low, (said, measured)


def test_memory_is_that_of_the_rows_that_a_step_holds_at_once() -> None:
    base = BaseFacts.of_entry(STARTER_ENTRY, "cpu", "fp32")
    large = config_of(**{"training.max_tokens_per_pack": 4096})
    few, many = (estimate_memory(base, large, data_of(n, longest_tokens=100)) for n in (4, 4000))
    small_packs = estimate_memory(
        base, config_of(**{"training.max_tokens_per_pack": 128}), data_of(4000, longest_tokens=100)
    )
    assert few is not None and many is not None and small_packs is not None
    assert few.high < many.high and small_packs.high < many.high


def test_twice_the_passes_take_twice_the_training() -> None:
    one, two = (
        estimate_run(data_of(100), STARTER, config_of(**{"training.epochs": e}), replace(RATES, first_step_seconds=0))
        for e in (5.0, 10.0)
    )
    assert two.phases["train"].low == pytest.approx(2 * one.phases["train"].low)


def test_the_source_figure_of_about_ten_yuan() -> None:
    """ "1000 rows, a 14B model, about 10 yuan": rows of 300 tokens on an A100 at 10 yuan an hour, the usual settings.

    Ours computes no padding and nothing twice, so it should come out below, and within a factor of twenty.
    """
    data = data_of(1000, tokens_per_row=300)
    recommended = recommend(data, QWEN_14B)
    config = RunConfig().replace(recommended.changes()).replace({"evaluation.evaluate_every": recommended.steps // 4})
    rates = rates_of_card(CARDS["a100"], QWEN_14B, data, config.adapter.used_rank)
    estimate = estimate_run(data, QWEN_14B, config, rates, hourly_micro=10_000_000)
    assert not estimate.is_measured
    assert estimate.cost_micro is not None
    assert 0.5e6 < estimate.cost_micro.low < estimate.cost_micro.high < 10e6


def test_operations_are_four_a_weight_and_token_and_hardly_more() -> None:
    shape = ENTRY_14B.shape
    linear = shape.layers * sum(i * o for i, o in shape.linears)
    flop = training_flop(shape, 1000, 500, 16, 300)
    assert 1.0 < flop / (4 * linear * 1000 + 4 * shape.vocab * shape.hidden * 500) < 1.05


def test_a_base_whose_shape_is_not_known_cannot_be_counted() -> None:
    with pytest.raises(UnavailableError, match="shape"):
        rates_of_card(CARDS["4090"], replace(QWEN_14B, shape=None), data_of(100), 16)


def test_faster_cards_take_less_time() -> None:
    data, config = data_of(3000, tokens_per_row=400), config_of()
    seconds = [
        estimate_run(data, QWEN_14B, config, rates_of_card(CARDS[name], QWEN_14B, data, 16)).phases["train"].middle
        for name in ("4090", "a100", "h200")
    ]
    assert seconds == sorted(seconds, reverse=True)


def test_a_grade_is_one_sentence() -> None:
    said = replace(
        estimate_run(data_of(100), STARTER, config_of(), RATES), seconds=Range(720, 900), price_micro=3_100_000
    )
    right = grade(said, Actual(780, price_micro=3_020_000))
    assert right.text == "Forecast 12-15 min and 3.10, took 13 min and 3.02."
    assert right.is_within and right.seconds_error == pytest.approx((810 - 780) / 780)
    wrong = grade(said, Actual(2000))
    assert not wrong.is_within and wrong.seconds_error < -0.5
    use_language("zh")
    assert wrong.text == "预计 12-15 分钟，实际用了 33 分钟。"
    assert wrong.as_dict()["text"] == wrong.text
    kept = json.loads(json.dumps(right.as_dict()))
    assert Grade.from_dict(kept) == right and kept["text"].startswith("预计")


def test_what_was_free_is_graded_by_its_time_alone() -> None:
    said = replace(estimate_run(data_of(100), STARTER, config_of(), RATES), seconds=Range(32, 79), price_micro=0)
    assert grade(said, Actual(55, price_micro=0)).text == "Forecast 32-79 s, took 55 s."
    assert "0.00" in grade(said, Actual(55, price_micro=20_000)).text  # it was to be free, and was not


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (40, 61, "40-61 s"),
        (52.4, 52.4, "52 s"),
        (95, 140, "1.6-2.3 min"),
        (720, 900, "12-15 min"),
        (5000, 9000, "1.4-2.5 h"),
        (10, 3 * 86400, "0-3 days"),
    ],
)
def test_ranges_are_said_in_the_largest_unit_that_says_something(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


def test_times_that_stand_beside_each_other_are_told_in_the_unit_of_the_longest() -> None:
    ranges = [(32, 79), (48, 114), (60, 150), (900, 1080)]
    assert [duration_range(*one, 150) for one in ranges[:3]] == ["0.5-1.3 min", "0.8-1.9 min", "1-2.5 min"]
    assert duration_range(*ranges[0], 1080) == "0.5-1.3 min" and duration_range(*ranges[3], 1080) == "15-18 min"


def test_amounts_are_ranges_only_where_they_differ() -> None:
    assert amount_range(1_000_000, 1_001_000) == "1.00"
    assert amount_range(350_000, 900_000) == "0.35-0.90"
