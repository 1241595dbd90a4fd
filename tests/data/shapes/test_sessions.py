"""Rows put together to chats: by a key, by merged or blank keys, by who speaks."""

from collections.abc import Sequence

import pytest

from postil.data.files.tables import Row
from postil.data.options import ReadOptions
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Record
from postil.data.shapes.sheet_plans import table_records
from postil.problems import Problem

PAIRS = ("会话ID", "问题", "答案")
LOG = ("会话ID", "角色", "内容")


def read(*lines: Sequence[str] | Row, single_turn: bool = False) -> list[Record | Problem]:
    rows = [line if isinstance(line, Row) else Row(i, tuple(line)) for i, line in enumerate(lines, start=1)]
    return list(table_records("f.xlsx", (("S", row) for row in rows), ReadOptions(single_turn=single_turn)))


def chats(items: Sequence[Record | Problem]) -> list[str]:
    """The messages of every record on one line each."""
    return [" ".join(m.content for m in read_messages(r).messages) for r in items if isinstance(r, Record)]


def problems(items: Sequence[Record | Problem]) -> list[Problem]:
    found = [item for item in items if isinstance(item, Problem)]
    return found + [p for item in items if isinstance(item, Record) for p in read_messages(item).problems]


def test_one_session_is_one_chat_wherever_its_rows_stand() -> None:
    items = read(PAIRS, ("a", "1", "2"), ("b", "5", "6"), ("a", "3", "4"))
    assert chats(items) == ["1 2 3 4", "5 6"]
    first, second = (item for item in items if isinstance(item, Record))
    assert (first.place.row, first.rows, first.num_rows) == (2, (2, 4), 2)
    assert [draft.place.row for draft in first.turns if draft.place] == [2, 2, 4, 4]
    assert (second.rows, second.num_rows, second.turns) == ((), 1, ())
    assert problems(items) == []


@pytest.mark.parametrize("key", ["session_id", "Conversation ID", "对话编号", "dialog_id", "工单号", "会话"])
def test_keys_of_chats_go_by_many_names(key: str) -> None:
    assert chats(read((key, "question", "answer"), ("a", "1", "2"), ("a", "3", "4"))) == ["1 2 3 4"]


def test_rows_are_kept_apart_if_asked() -> None:
    items = read(PAIRS, ("a", "1", "2"), ("a", "3", "4"), single_turn=True)
    assert chats(items) == ["1 2", "3 4"]


@pytest.mark.parametrize("continued", [(), (0,)])
def test_a_blank_or_merged_session_continues(continued: tuple[int, ...]) -> None:
    key = "a" if continued else ""
    items = read(PAIRS, ("a", "1", "2"), Row(3, (key, "3", "4"), continued=continued), ("b", "5", "6"))
    assert chats(items) == ["1 2 3 4", "5 6"]


@pytest.mark.parametrize("continued", [(), (0,)])
@pytest.mark.parametrize("key", ["序号", "编号", "No.", "id"])
def test_a_number_above_several_rows_is_a_chat(key: str, continued: tuple[int, ...]) -> None:
    def following(number: int, text: str, *pair: str) -> Row:
        return Row(number, (text if continued else "", *pair), continued=continued)

    items = read(
        (key, "问题", "答案"),
        ("1", "1", "2"),
        following(3, "1", "3", "4"),
        ("2", "5", "6"),
        following(5, "2", "7", "8"),
    )
    assert chats(items) == ["1 2 3 4", "5 6 7 8"]
    (warning,) = problems(items)
    assert (warning.code, warning.values) == ("rows_joined", {"column": key, "chats": 2, "rows": 4})
    assert "--single-turn" in warning.hint


def test_numbers_that_count_rows_make_no_chats() -> None:
    assert chats(read(("序号", "问题", "答案"), ("1", "1", "2"), ("2", "3", "4"))) == ["1 2", "3 4"]
    # ... nor do rows added at the end without a number, numbers of long sections, or numbers that come again.
    assert chats(read(("序号", "问题", "答案"), ("1", "1", "2"), ("2", "3", "4"), ("", "5", "6"))) == [
        "1 2",
        "3 4",
        "5 6",
    ]
    section = [("", str(i), "x") for i in range(30)]
    assert len(chats(read(("序号", "问题", "答案"), ("1", "1", "2"), *section, ("2", "3", "4")))) == 32


def test_a_question_merged_with_its_number_is_no_chat() -> None:
    rows = [("1", "q1", "x"), Row(3, ("1", "q1", "y"), continued=(0, 1)), ("2", "q2", "z")]
    assert chats(read(("序号", "问题", "答案"), *rows)) == ["q1 x", "q1 y", "q2 z"]


def test_speakers_take_turns_in_the_order_of_time() -> None:
    header = ("session_id", "time", "role", "content")
    items = read(
        header,
        ("1", "2024-01-01 10:05", "agent", "d"),
        ("1", "2024-01-01 10:01", "customer", "a"),
        ("2", "2024-01-02 09:00", "customer", "e"),
        ("1", "2024-01-01 10:02", "agent", "b"),
        ("2", "2024-01-02 09:01", "agent", "f"),
        ("1", "2024-01-01 10:04", "customer", "c"),
    )
    assert chats(items) == ["a b c d", "e f"]
    assert problems(items) == []


@pytest.mark.parametrize(
    "times",
    [
        ("2024/5/1 9:30", "2024/5/1 10:05"),
        ("9:30 AM", "1:05 PM"),
        ("上午9:30", "下午1:05"),
        ("05/01/2024 23:59", "05/02/2024 00:01"),
        ("2024年5月1日 9时", "2024年5月1日 10时"),
    ],
)
def test_times_are_compared_by_their_numbers(times: tuple[str, str]) -> None:
    header = ("会话ID", "时间", "角色", "内容")
    assert chats(read(header, ("1", times[1], "客服", "b"), ("1", times[0], "客户", "a"))) == ["a b"]


def test_newest_first_is_turned_round_also_within_a_minute() -> None:
    header = ("会话ID", "时间", "角色", "内容")
    rows = [
        ("1", t, r, c)
        for t, r, c in (("10:03", "客服", "d"), ("10:02", "客户", "c"), ("10:01", "客服", "b"), ("10:01", "客户", "a"))
    ]
    assert chats(read(header, *rows)) == ["a b c d"]


def test_times_that_cannot_be_compared_leave_the_rows_as_they_stand() -> None:
    header = ("会话ID", "时间", "角色", "内容")
    assert chats(read(header, ("1", "later", "客户", "a"), ("1", "10:01", "客服", "b"))) == ["a b"]


@pytest.mark.parametrize(
    "lines",
    [
        [("客户", "a"), ("客服", "b"), (), ("客户", "c"), ("客服", "d")],
        [("user", "a"), ("assistant", "b"), ("user", "你好 c"), ("assistant", "d")],
        [("系统", "s"), ("用户", "a"), ("助手", "b"), ("系统", "s"), ("用户", "c"), ("助手", "d")],
    ],
)
def test_speakers_without_a_key_begin_anew(lines: list[tuple[str, ...]]) -> None:
    items = read(("角色", "内容"), *lines)
    found = chats(items)
    assert len(found) == 2 and found[0].endswith("a b") and found[1].endswith("d")
    (warning,) = problems(items)
    assert (warning.code, warning.values["chats"]) == ("chats_without_key", 2)


def test_speakers_with_a_merged_number() -> None:
    header = ("序号", "角色", "内容")
    rows = [("1", "客户", "a"), ("", "客服", "b"), ("2", "客户", "c"), ("", "客服", "d")]
    assert chats(read(header, *rows)) == ["a b", "c d"]


def test_whoever_is_in_most_chats_answers() -> None:
    rows = [("1", "小美", "b"), ("2", "小美", "d"), ("1", "张三", "e"), ("2", "李四", "f")]
    items = read(("会话ID", "发送人", "消息"), ("1", "张三", "a"), rows[0], ("2", "李四", "c"), rows[1])
    assert chats(items) == ["a b", "c d"]
    (warning,) = problems(items)
    assert (warning.code, warning.values) == ("speakers_guessed", {"user": "张三, 李四", "assistant": "小美"})


def test_several_persons_may_answer() -> None:
    talks = [("张三", "小美"), ("李四", "小丽"), ("王五", "小美"), ("赵六", "小丽"), ("钱七", "小丽")]
    rows = [(str(i), name, name) for i, talk in enumerate(talks) for name in talk]
    assert chats(read(("会话ID", "发送人", "消息"), *rows)) == [" ".join(talk) for talk in talks]


def test_two_persons_in_one_chat() -> None:
    items = read(("发送人", "消息"), ("Ann", "a"), ("Bob", "b"), ("Ann", "c"), ("Bob", "d"))
    assert chats(items) == ["a b c d"]
    assert [p.code for p in problems(items)] == ["speakers_guessed", "chats_without_key"]


def test_names_of_one_side_tell_the_other() -> None:
    items = read(
        ("会话ID", "发送人", "消息"),
        ("1", "王先生", "a"),
        ("1", "客服小美", "b"),
        ("2", "tom", "c"),
        ("2", "客服小美", "d"),
    )
    assert chats(items) == ["a b", "c d"]
    assert problems(items) == []


def test_a_bad_row_in_a_chat_stands_at_its_own_place() -> None:
    items = read(PAIRS, ("a", "1", "2"), ("a", "3", ""), ("b", "5", "6"))
    (problem,) = problems(items)
    assert (problem.code, problem.place.row, problem.place.sheet, problem.column) == ("missing_answer", 3, "S", "答案")
    items = read(LOG, ("a", "客户", "1"), ("a", "客服", "2"), ("a", "客户", "3"), ("a", "客服", ""), ("a", "客服", "5"))
    assert [(p.code, p.place.row) for p in problems(items)] == [("empty_message", 5), ("messages_joined", 5)]


@pytest.mark.parametrize(
    ("speakers", "said", "row", "joined"),
    [
        (("客户", "客户", "客服"), "1\n2 3", 2, 1),
        (("客户", "客服", "客服", "客服"), "1 2\n3\n4", 3, 2),
        (("客户", "客户", "客服", "客服", "客户", "客服"), "1\n2 3\n4 5 6", 2, 2),
        (("系统", "客户", "客户", "客服"), "1 2\n3 4", 3, 1),
    ],
)
def test_who_speaks_several_times_in_a_row_is_joined_and_told(
    speakers: tuple[str, ...], said: str, row: int, joined: int
) -> None:
    items = read(LOG, *(("a", name, str(i)) for i, name in enumerate(speakers, start=1)))
    assert chats(items) == [said]
    (problem,) = problems(items)
    assert (problem.code, problem.severity, problem.place.row) == ("messages_joined", "warning", row)
    assert problem.values == {"messages": joined}


def test_a_chat_may_have_a_system_message() -> None:
    header = ("会话ID", "系统", "问题", "答案")
    assert chats(read(header, ("a", "be kind", "1", "2"), ("a", "", "3", "4"))) == ["be kind 1 2 3 4"]


def test_notices_in_the_middle_of_a_chat_are_left_out_by_name() -> None:
    joined = ("a", "系统", "客服小美已接入会话")
    items = read(LOG, joined, ("a", "客户", "1"), joined, ("a", "系统", "x"), ("a", "客服", "2"))
    assert chats(items) == ["1 2"]
    assert [(p.code, p.place.row) for p in problems(items)] == [
        ("skipped_row", 2),
        ("skipped_row", 4),
        ("skipped_row", 5),
    ]


def test_rows_without_a_speaker_go_on() -> None:
    items = read(LOG, ("a", "客户", "1"), ("a", "客服", "2"), ("a", "", "3"))
    (record,) = (item for item in items if isinstance(item, Record))
    assert [(draft.role, draft.content) for draft in record.turns][1:] == [("assistant", "2"), ("assistant", "3")]


@pytest.mark.parametrize("names", [("问题", "答案"), ("Q", "A"), ("问", "答")])
def test_questions_and_answers_named_in_a_column_beside(names: tuple[str, str]) -> None:
    lines = [
        (name, text) for name, text in zip(names * 2, ("怎么退货？", "七天内。", "几点开门？", "九点。"), strict=True)
    ]
    assert chats(read(*lines)) == ["怎么退货？ 七天内。", "几点开门？ 九点。"]


def test_speakers_without_a_header() -> None:
    items = read(("用户", "怎么退货？"), ("客服", "七天内。"), ("用户", "几点开门？"), ("客服", "九点。"))
    assert chats(items) == ["怎么退货？ 七天内。 几点开门？ 九点。"]
    assert {p.code for p in problems(items)} == {"speaker_columns_by_content", "chats_without_key"}


def test_an_empty_or_constant_session_makes_no_chat() -> None:
    assert chats(read(PAIRS, ("", "1", "2"), ("", "3", "4"))) == ["1 2", "3 4"]
    assert len(chats(read(PAIRS, *[("FAQ", str(i), "x") for i in range(30)]))) == 30
    assert chats(read(PAIRS, ("", "1", "2"), ("", "3", "4"), ("a", "5", "6"), ("a", "7", "8"))) == [
        "1 2",
        "3 4",
        "5 6 7 8",
    ]


def test_a_label_that_is_no_key_stays_what_it_is() -> None:
    assert len(chats(read(("category", "question", "answer"), ("a", "1", "2"), ("a", "3", "4")))) == 2


def test_chats_written_into_one_cell_each() -> None:
    items = read(("会话ID", "对话内容"), ("1", "用户：1\n客服：2\n用户：3\n客服：4"), ("2", "用户：5\n客服：6"))
    assert chats(items) == ["1 2 3 4", "5 6"]
    assert [item.place.row for item in items] == [2, 3]


def test_a_formula_without_a_value_in_a_chat() -> None:
    items = read(PAIRS, ("a", "1", "2"), Row(3, ("a", "3", ""), uncalculated=(2,)))
    assert [(p.code, p.severity, p.place.row) for p in problems(items)] == [
        ("formula_not_calculated", "warning", 3),
        ("missing_answer", "error", 3),
    ]


def test_one_who_answers_several_customers_is_found_and_each_has_a_chat() -> None:
    said = (("Li", "a"), ("Wang", "b"), ("Li", "c"), ("Wang", "d"), ("Zhao", "e"), ("Wang", "f"))
    items = read(
        ("发送人", "发送时间", "消息内容"), *((name, f"2024-03-01 10:0{i}", t) for i, (name, t) in enumerate(said))
    )
    assert chats(items) == ["a b c d", "e f"]
    guess = next(p for p in problems(items) if p.code == "speakers_guessed")
    assert (guess.values["user"], guess.values["assistant"]) == ("Li, Zhao", "Wang")


def test_whoever_only_greets_first_does_not_ask() -> None:
    said = (("Shop", "Welcome!"), ("Li", "Do you have tea?"), ("Shop", "Yes."), ("Li", "Which?"), ("Shop", "Green."))
    items = read(("发送人", "消息内容"), *said)
    guess = next(p for p in problems(items) if p.code == "speakers_guessed")
    assert (guess.values["user"], guess.values["assistant"]) == ("Li", "Shop")


@pytest.mark.parametrize(
    ("mark", "internal", "open_"), [("public", "false", "true"), ("is_internal", "1", "0"), ("是否公开", "否", "是")]
)
def test_notes_among_colleagues_are_told_and_not_learned(mark: str, internal: str, open_: str) -> None:
    rows = (("1", "user", "q", open_), ("1", "agent", "a", open_), ("1", "agent", "annoying", internal))
    items = read(("ticket_id", "role", "content", mark), *rows)
    assert chats(items) == ["q a"]
    (note,) = problems(items)
    assert (note.code, note.severity, note.place.row, note.excerpt) == ("internal_note", "warning", 4, "annoying")


def test_what_is_not_yes_or_no_marks_nothing() -> None:
    items = read(
        ("ticket_id", "role", "content", "internal_note"), ("1", "user", "q", ""), ("1", "agent", "a", "call him")
    )
    assert chats(items) == ["q a"] and problems(items) == []


def test_columns_of_a_chat_that_are_found_by_content_are_said_as_such() -> None:
    rows = ((str(i // 2), ("客户", "客服")[i % 2], f"今天说的第{i}句话。") for i in range(6))
    (found,) = (p for p in problems(read(("Ticket", "Role", "Wortlaut"), *rows)) if p.code.endswith("by_content"))
    assert found.code == "speaker_columns_by_content"
    assert (found.values["speaker"], found.values["content"]) == ("Role", "Wortlaut")


@pytest.mark.parametrize(
    ("names", "key", "expected"),
    [
        (("会话", "用户", "客服"), ("A", "A", "A", "A", "B", "B"), ["q1 a1 q2 a2", "q3 a3"]),
        (("编号", "question", "answer"), ("1", "", "", "", "2", ""), ["q1 a1 q2 a2", "q3 a3"]),
        (("渠道", "问题", "答案"), ("",) * 6, ["q1 a1", "q2 a2", "q3 a3"]),
    ],
)
def test_questions_and_answers_in_rows_of_their_own(
    names: tuple[str, ...], key: tuple[str, ...], expected: list[str]
) -> None:
    sides = (("q1", ""), ("", "a1"), ("q2", ""), ("", "a2"), ("q3", ""), ("", "a3"))
    items = read(names, *((k, *side) for k, side in zip(key, sides, strict=True)))
    assert chats(items) == expected
    assert not [p for p in problems(items) if p.severity == "error"]
    first = next(item for item in items if isinstance(item, Record))
    assert [(d.place.row, d.column) for d in first.turns if d.place][:2] == [(2, names[1]), (3, names[2])]


def test_a_table_with_some_gaps_has_missing_answers() -> None:
    rows = (("q1", "a1"), ("q2", ""), ("q3", "a3"), ("", "a4"), ("q5", "a5"), ("q6", "a6"))
    found = [p.code for p in problems(read(("问题", "答案"), *rows)) if p.severity == "error"]
    assert sorted(found) == ["missing_answer", "missing_question"]


def test_rows_marked_q1_a1_are_pairs() -> None:
    rows = [(mark, f"这是第{i}句话。") for i, mark in enumerate(("Q1", "A1", "Q2", "A2", "Q3", "A3", "Q4", "A4"))]
    items = read(*rows)
    assert chats(items) == [f"这是第{i}句话。 这是第{i + 1}句话。" for i in (0, 2, 4, 6)]
    assert [p.code for p in problems(items)] == ["speaker_columns_by_content", "chats_without_key"]


@pytest.mark.parametrize("content", ["message_body", "Comment", "聊天消息", "Text of message"])
def test_what_is_said_is_found_by_a_part_of_its_name(content: str) -> None:
    names = ("conversation_id", "message_id", "author_type", content)
    items = read(
        names, ("1", "7", "user", "q"), ("1", "8", "admin", "a"), ("2", "9", "lead", "r"), ("2", "10", "bot", "b")
    )
    assert chats(items) == ["q a", "r b"] and problems(items) == []


def test_a_cell_of_nothing_but_colons_is_no_name() -> None:
    rows = [(str(i), "A" + ":A" * 20_000, f"今天说的第{i}句话。") for i in range(6)]
    assert [p.code for p in problems(read(("Ticket", "Wer", "Was"), *rows)) if p.severity == "error"]
