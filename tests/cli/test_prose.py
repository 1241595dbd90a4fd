"""Lines break where a reader expects it, in Chinese and in English, and never exceed the width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from postil.cli.prose import wrap


def test_chinese_breaks_between_characters_but_not_before_punctuation() -> None:
    assert list(wrap("您好，退货请在七天内。", 10)) == ["您好，退货", "请在七天", "内。"]
    assert list(wrap("Postil 把一份问答文件变成适配器", 14)) == ["Postil 把一份", "问答文件变成适", "配器"]


def test_english_breaks_at_spaces() -> None:
    assert list(wrap("one two three four", 9)) == ["one two", "three", "four"]


@given(st.text(st.sampled_from("ab 中文，。（）\n./-"), max_size=80), st.integers(4, 30))
def test_nothing_is_lost_and_no_line_is_too_wide(text: str, width: int) -> None:
    lines = list(wrap(text, width))
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize("text", ["", "\n", "   "])
def test_empty_text_is_one_or_more_empty_lines(text: str) -> None:
    assert all(line == "" for line in wrap(text, 10))
