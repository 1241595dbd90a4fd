"""Metrics: known values, and unrelated texts that must not pass as right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.evaluation.metrics import RIGHT_F1, character_f1, exact_match, is_right


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("退货", "退货", 1.0),
        ("货退", "退货", 1.0),
        ("退款", "退货", 0.5),
        ("七天内", "七天", 0.8),
        ("", "退货", 0.0),
        ("", "", 1.0),
        ("We ship  on\nMonday.", "We ship on Monday.", 1.0),
        ("We ship on Friday.", "We ship on Monday.", 0.8),
        ("满 99 元包邮", "满99元包邮", 1.0),
    ],
)
def test_known_values(answer: str, expected: str, f1: float) -> None:
    assert character_f1(answer, expected) == pytest.approx(f1)


def test_two_unrelated_english_sentences_are_not_near() -> None:
    """Letter by letter they would share four fifths."""
    one = "You can return the lamp within thirty days if it is still in its box."
    other = "The train to the coast leaves at noon and it has a small restaurant inside."
    assert character_f1(one, other) < 0.5 < RIGHT_F1


@given(st.text(max_size=30), st.text(max_size=30))
def test_symmetric_and_between_zero_and_one(left: str, right: str) -> None:
    f1 = character_f1(left, right)
    assert 0 <= f1 <= 1
    assert f1 == character_f1(right, left)
    assert character_f1(left, left) == 1


def test_exact_match_ignores_white_space_only() -> None:
    assert exact_match(" 您好，\n请稍等 ", "您好， 请稍等")
    assert not exact_match("您好", "您好！")


def test_another_number_is_another_answer() -> None:
    expected = "The guarantee lasts 9 months from the day of delivery, and the receipt is enough."
    assert is_right(expected, expected) and is_right(expected.replace("lasts", "is"), expected)
    assert not is_right(expected.replace("9", "27"), expected)
    assert not is_right("满 99 元包邮，两天送到。", "满 199 元包邮，两天送到。")
    assert not is_right("Something else altogether.", expected)
