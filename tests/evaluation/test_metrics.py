"""Metrics: known values, and unrelated texts that must not pass as right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.evaluation.metrics import RIGHT_F1, TellingWords, character_f1, exact_match, is_right


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


MADE_OF = {
    "Winter Hat": "acrylic",
    "Wool Scarf": "merino wool",
    "Rain Coat": "nylon",
    "Sun Hat": "straw",
    "Silk Tie": "silk",
    "Gym Bag": "canvas",
}


def test_another_fact_in_the_same_pattern_is_another_answer() -> None:
    """Answers of one pattern share nearly all their words; the one that carries the fact decides."""
    answers = [f"Hello! The {name} is made of {stuff}." for name, stuff in MADE_OF.items()]
    answers += [f"Hello! The {name} can be washed at 30 degrees." for name in MADE_OF]
    telling = TellingWords.of(answers * 4)
    expected, false = answers[0], "Hello! The Winter Hat is made of merino winter Hat."
    assert character_f1(false, expected) >= RIGHT_F1
    assert telling.missing(false, expected) == {"acrylic"}
    assert not is_right(false, expected, telling) and is_right(expected, expected, telling)
    assert is_right("Hi! The Winter Hat is made of Acrylic.", expected, telling)


def test_a_fact_that_a_few_answers_share_tells_as_well() -> None:
    colours = {"Hat": "red", "Scarf": "red", "Coat": "red", "Tie": "blue", "Bag": "blue"}
    answers = [f"Hello! The colour of our {name} is {colour}, sold now." for name, colour in colours.items()]
    answers += [f"Hello! The {name} costs {i} dollars." for i, name in enumerate(colours)]
    telling = TellingWords.of(answers)
    for wrong in (answers[0].replace("red", "blue"), answers[0].replace("Hat", "Bag")):
        assert is_right(wrong, answers[0]) and not is_right(wrong, answers[0], telling)


def test_telling_words_of_chinese_are_signs() -> None:
    colours = ["红", "白", "蓝", "黑", "灰", "绿", "紫", "粉", "青", "橙", "银"]
    telling = TellingWords.of(f"您好，这款书包目前只有{colour}色的现货，喜欢可以直接下单。" for colour in colours)
    expected = "您好，这款书包目前只有红色的现货，喜欢可以直接下单。"
    assert not is_right(expected.replace("红", "白"), expected, telling)
    assert is_right(expected.replace("您好，", ""), expected, telling)


def test_words_that_many_answers_have_tell_nothing() -> None:
    texts = [f"Item {letter}: sent by post today." for letter in "abcdefghijklmnopqrst"]
    telling = TellingWords.of([*texts, "Item z: sent by courier today."])
    assert telling.missing("Thing: brought now", texts[0]) == {"a"}
    assert telling.missing("", "Item z: sent by courier today.") == {"z", "courier"}
    two = TellingWords.of(["We are open on Sundays.", "We are closed on Sundays."])
    assert two.missing("We are closed on Sundays.", "We are open on Sundays.") == {"open"}
    alone = TellingWords.of(["Yes."] * 40)
    assert alone.missing("No.", "Yes.") == set()
