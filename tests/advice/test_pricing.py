"""What a run costs, in whole micro-yuan."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.advice.pricing import RATE_MICRO_PER_1000, Prices, billable_tokens, free_rows_used, price_micro, spell_micro

ROWS = st.lists(st.integers(0, 5000), max_size=40)


def test_the_first_rows_of_the_file_are_free_and_the_rest_pay_for_every_pass() -> None:
    assert billable_tokens([100, 200, 300], 1, 3) == 1500
    assert billable_tokens([100, 200, 300], 0, Fraction(1, 2)) == 300
    assert billable_tokens([100, 200, 300], 3, 12) == 0
    assert free_rows_used(1500, 400) == 400 and free_rows_used(100, 400) == 100


def test_the_source_prices() -> None:
    """A thousand rows are free; a thousand more of 333 tokens, seen once, come to the source's "not 10 yuan"."""
    prices = Prices()
    tokens = billable_tokens([333] * 2000, prices.free_rows_per_month, 1)
    assert prices.rate_micro == RATE_MICRO_PER_1000 == 30_000
    assert price_micro(tokens) == 9_990_000


@given(rows=ROWS, free=st.integers(0, 50), passes=st.integers(0, 20))
def test_whole_passes_are_exact_and_more_free_rows_never_cost_more(rows: list[int], free: int, passes: int) -> None:
    tokens = billable_tokens(rows, free, passes)
    assert tokens == sum(rows[free:]) * passes
    assert billable_tokens(rows, free + 1, passes) <= tokens


@given(first=ROWS, second=ROWS, free=st.integers(0, 60))
def test_two_files_one_after_the_other_cost_what_one_long_file_does(
    first: list[int], second: list[int], free: int
) -> None:
    left = free - free_rows_used(len(first), free)
    apart = billable_tokens(first, free, 2) + billable_tokens(second, left, 2)
    assert apart == billable_tokens([*first, *second], free, 2)


@given(tokens=st.integers(0, 10**12), rate=st.integers(0, 10**7))
def test_a_price_is_whole_and_rounded_down(tokens: int, rate: int) -> None:
    price = price_micro(tokens, rate)
    assert price * 1000 <= tokens * rate < (price + 1) * 1000


def test_negative_numbers_are_refused() -> None:
    for arguments in (([1], -1, 1), ([1], 0, -1), ([-1], 0, 1)):
        with pytest.raises(ValueError, match="not negative"):
            billable_tokens(*arguments)
    with pytest.raises(ValueError, match="not negative"):
        price_micro(-1)


def test_sums_are_spelled_with_two_places() -> None:
    amounts = (0, 30, 3_104_999, 3_105_000, 999_995_000, -1_500_000)
    assert [spell_micro(m) for m in amounts] == ["0.00", "0.00", "3.10", "3.11", "1000.00", "-1.50"]
    assert spell_micro(30_000, 3) == "0.030"
