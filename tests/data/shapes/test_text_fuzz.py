"""Texts put together at random: every line is accounted for, and no line is slow."""

import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.options import ReadOptions
from postil.data.shapes.record import Record
from postil.data.shapes.text_lines import BLANKS
from postil.data.shapes.text_questions import recognise_text, text_records
from postil.problems import Problem

OPTIONS = ReadOptions()
PIECES = (
    *("Q: ", "A: ", "问：", "答：", "【问】", "【答】", "Q1. ", "A1. ", "**Q:** ", "Question 2: ", "Answer: "),
    *(
        "User: ",
        "AI: ",
        "用户：",
        "客服：",
        "[10:30] 张三：",
        "2024-05-01 10:30:12 客服小王",
        "系统消息：",
        "**User**",
        "Bob: ",
    ),
    *(
        "1. ",
        "2. ",
        "3、",
        "（1）",
        "一、",
        "1.1 ",
        "- ",
        "# ",
        "## ",
        "### 1. ",
        "**Bold?**",
        "会话 3",
        "----",
        "***",
        "```",
    ),
    *(
        "怎么退货？",
        "七天内可退。",
        "How do I pay?",
        "By card.",
        "营业时间：10:30",
        "a|b",
        "Shipping",
        "  ",
        "\u200b",
        "\ufeff",
        "：",
        "?",
    ),
)
LINES = st.lists(st.lists(st.sampled_from(PIECES), max_size=4).map("".join) | st.text(max_size=30), max_size=40)


@settings(max_examples=200, deadline=None)
@given(LINES)
def test_every_line_ends_in_one_record_or_one_problem(lines: list[str]) -> None:
    lines = [" ".join(line.splitlines()) for line in lines]
    items = list(text_records("a.txt", enumerate(lines, start=1), OPTIONS))
    assert items == list(text_records("a.txt", enumerate(lines, start=1), OPTIONS))
    codes = [item.code for item in items if isinstance(item, Problem)]
    if "no_questions_in_text" in codes:
        assert len(items) == 1 and recognise_text(lines) is None
        return
    rows = [row for item in items if isinstance(item, Record) for row in item.rows]
    rows += [item.place.row for item in items if isinstance(item, Problem) and item.place.row]
    assert sorted(rows) == [number for number, line in enumerate(lines, start=1) if line.strip(BLANKS)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("你好货单"), st.sampled_from("可以不行")), min_size=2, max_size=9), st.booleans()
)
def test_what_is_marked_is_found_whole(marked: list[tuple[str, str]], english: bool) -> None:
    question, answer = ("Q: ", "A: ") if english else ("问：", "答：")
    lines = [line for q, a in marked for line in (question + q * 5, answer + a * 7, "", a * 20 + "。", "")]
    records = [r for r in text_records("a.txt", enumerate(lines, start=1), OPTIONS) if isinstance(r, Record)]
    expected = [{"question": q * 5, "answer": f"{a * 7}\n\n{a * 20}。"} for q, a in marked]
    assert [dict(record.fields) for record in records] == expected


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        " ",
        ":",
        "：",
        "*",
        "**",
        "1",
        "1.",
        "Q:",
        "? A",
        "答：? ",
        "[",
        "- ",
        "|",
        "|-",
        "什么",
        "10:30 ",
        "#",
        "`",
        "-",
        "=x",
    ],
)
def test_a_line_of_a_million_characters_is_quick(unit: str) -> None:
    long = unit * (1_000_000 // len(unit))
    for text in ([long + "x"], ["Q: " + long, "A: " + long], ["User: " + long, "AI: b"]):
        began = time.process_time()
        list(text_records("a.txt", enumerate(text, start=1), OPTIONS))
        assert time.process_time() - began < 2.5  # two lines, on a machine that does other things besides


@pytest.mark.parametrize(
    "lines",
    [
        ["Q: how?", "A: so", ""],
        ["1. how?", "so", "1. x", "2. y", ""],
        ["用户：x", "客服：y", ""],
        ["#"],
        ["```"],
        ["A: b"],
        ["", "Title"],
        ["## how?", "so"],
    ],
)
def test_time_grows_with_the_text_and_no_faster(lines: list[str]) -> None:
    def seconds(times: int) -> float:
        # The collector walks everything that earlier tests left behind: its time is not the reader's.
        gc.collect()
        gc.disable()
        try:
            began = time.process_time()
            text = ["Q: a", "A: b", *lines * times, "User: a", "AI: b"]
            list(text_records("a.txt", enumerate(text, start=1), OPTIONS))
            return time.process_time() - began
        finally:
            gc.enable()

    seconds(100)
    assert seconds(4000 // len(lines)) < 40 * max(seconds(400 // len(lines)), 0.01)
