"""Sheets as people really lay them out, in Chinese and English, and what is made of each."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.files.tables import Row
from postil.data.options import ReadOptions
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Record
from postil.data.shapes.sheet_plans import table_records
from postil.problems import Problem

Line = Sequence[str] | Row

RETURN = ("怎么退货？", "七天内联系客服即可办理。")
HOURS = ("几点开门？", "早上九点开门，晚上六点关门。")
PARKING = ("有停车场吗", "有的，在地下一层，前两小时免费。")
ASKED = [
    ("How do I return an item?", "Contact us within seven days and we send a label."),
    ("When do you open?", "We open at nine in the morning on every weekday."),
    ("Is there parking?", "Yes, the first two hours are free."),
]


NO_OPTIONS = ReadOptions()


def read(*lines: Line, options: ReadOptions = NO_OPTIONS, sheet: str | None = "S") -> list[Record | Problem]:
    rows = [line if isinstance(line, Row) else Row(i, tuple(line)) for i, line in enumerate(lines, start=1)]
    return list(table_records("f.xlsx", ((sheet, row) for row in rows), options))


def said(items: Sequence[Record | Problem]) -> list[tuple[str, ...]]:
    """The messages of every record, in order."""
    records = [item for item in items if isinstance(item, Record)]
    return [tuple(m.content for m in read_messages(record).messages) for record in records]


def codes(items: Sequence[Record | Problem]) -> list[tuple[str, int]]:
    return [(item.code, item.place.row) for item in items if isinstance(item, Problem)]


def records(items: Sequence[Record | Problem]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


# --- Where the header is ---------------------------------------------------------------------------------------------

GOOD: dict[str, tuple[list[Line], list[tuple[str, int]]]] = {
    "plain": ([("问题", "答案"), RETURN, HOURS], []),
    "english": ([("Question", "Answer"), RETURN, HOURS], []),
    "any order": ([("备注", "答案", "问题"), ("x", RETURN[1], RETURN[0]), ("", HOURS[1], HOURS[0])], []),
    "title above": ([("产品问答知识库",), (), ("问题", "答案"), RETURN, HOURS], [("skipped_row", 1)]),
    "title, notes, date above": (
        [("FAQ 2024",), ("Updated by: Li", "2024-05-01"), ("注：仅供内部使用",), ("q", "a"), RETURN, HOURS],
        [("skipped_row", 1), ("skipped_row", 2), ("skipped_row", 3)],
    ),
    "merged banner above": (
        [Row(1, ("常见问题", "常见问题"), spread=(1,)), ("问题", "答案"), RETURN, HOURS],
        [("skipped_row", 1)],
    ),
    "header in row 20": (
        [*[("note",)] * 19, ("问题", "答案"), RETURN, HOURS],
        [("skipped_row", i) for i in range(1, 20)],
    ),
    "blank rows between": ([(), ("问题", "答案"), (), RETURN, ("", " "), HOURS], []),
    "total row": ([("序号", "问题", "答案"), ("1", *RETURN), ("2", *HOURS), ("合计", "2", "")], [("skipped_row", 4)]),
    "grand total": (
        [("No.", "Question", "Answer"), ("1", *RETURN), ("2", *HOURS), ("Total", "", "2")],
        [("skipped_row", 4)],
    ),
    "header repeated": ([("问题", "答案"), RETURN, ("问题", "答案"), HOURS], [("skipped_row", 3)]),
    "header in two languages": ([("question", "answer"), ("问题", "答案"), RETURN, HOURS], [("skipped_row", 2)]),
    "form hints": ([("问题", "答案"), ("必填", "必填，不超过500字"), RETURN, HOURS], [("skipped_row", 2)]),
    "note below": ([("问题", "答案"), RETURN, HOURS, ("注：以上内容以门店公告为准。", "")], [("skipped_row", 4)]),
    "sections": (
        [("问题", "答案"), Row(2, ("一、售后", "一、售后"), spread=(1,)), RETURN, ("二、门店", ""), HOURS],
        [("skipped_row", 2), ("skipped_row", 4)],
    ),
    "numbers filled in advance": (
        [("序号", "问题", "答案"), ("1", *RETURN), ("2", *HOURS), ("3", "", ""), ("4",)],
        [("skipped_row", 4), ("skipped_row", 5)],
    ),
    "names in two languages": ([("Question\n问题", "答案/Answer"), RETURN, HOURS], []),
    "no header": ([RETURN, HOURS], [("no_header", 1)]),
    "no header, title above": ([("门店问答",), RETURN, HOURS, PARKING], [("no_header", 2), ("skipped_row", 1)]),
    "names that lie": ([("name", "location", "n"), (*RETURN, "1"), (*HOURS, "2")], [("columns_by_content", 1)]),
    "answers under another name": (
        [("问题", "位置", "价格"), (*RETURN, "1"), (*HOURS, "2")],
        [("columns_by_content", 1)],
    ),
    "answer column empty": (
        [("问题", "答案", "处理"), (RETURN[0], "", RETURN[1]), (HOURS[0], "", HOURS[1]), (PARKING[0], "", PARKING[1])],
        [("columns_by_content", 1)],
    ),
    "name twice": ([("问题", "答案", "答案"), (*RETURN, "x"), (*HOURS, "y")], [("repeated_column", 1)]),
    "text beyond the header": ([("问题", "答案"), (*RETURN, "", "a note"), HOURS], []),
    "category beside": ([("分类", "问题", "答案"), ("售后", *RETURN), ("门店", *HOURS)], []),
    "marked in one column": (
        [("问：" + RETURN[0],), ("答：" + RETURN[1],), ("问：" + HOURS[0],), ("答：" + HOURS[1],)],
        [],
    ),
    "marked, with a header": (
        [("内容",), ("Q: " + RETURN[0],), ("A: " + RETURN[1],), ("Q: " + HOURS[0],), ("A: " + HOURS[1],)],
        [],
    ),
    "markers in one cell": (
        [("FAQ",), (f"问：{RETURN[0]}\n答：{RETURN[1]}",), (f"问：{HOURS[0]}\n答：{HOURS[1]}",)],
        [],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_two_questions_are_found(name: str) -> None:
    lines, problems = GOOD[name]
    items = read(*lines)
    pairs = [pair for pair in said(items) if pair != PARKING]
    assert pairs == [RETURN, HOURS]
    assert sorted(codes(items)) == sorted(problems)


def test_sheets_without_header_use_letters() -> None:
    items = read(*ASKED)
    assert said(items) == ASKED
    layout = records(items)[0].layout
    assert layout is not None and (layout.question, layout.answer, layout.reason) == ("A", "B", "no_header")
    assert layout.confidence < 0.9
    assert codes(items) == [("no_header", 1)]


def test_a_first_row_of_questions_is_no_header_whatever_its_columns() -> None:
    assert len(said(read(*[(str(i), q, a) for i, (q, a) in enumerate(ASKED, start=1)]))) == 3


def test_two_columns_of_sentences_without_any_question_mark() -> None:
    lines = [
        ("Invoice sent but not listed in the flow", "Check whether the voucher was created and certify it."),
        ("Wrong approver receives the invoice", "Change the location under edit job and save it again."),
        ("Bank details differ between portals", "Both portals need to be synchronised by the master team."),
    ]
    assert said(read(*lines)) == lines


# --- What is refused -------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[list[Line], str, int]] = {
    "numbers": ([("x", "y", "z"), ("1", "2", "3.5"), ("4", "5", "6")], "no_pair_columns", 2),
    "numbers without names": ([("1", "2"), ("3", "4"), ("5", "6")], "no_pair_columns", 3),
    "addresses": (
        [
            ("姓名", "地址", "电话"),
            ("张三", "北京市朝阳区建国路1号", "13800000000"),
            ("李四", "上海市世纪大道2号", "139"),
        ],
        "no_pair_columns",
        2,
    ),
    "english addresses": (
        [
            ("name", "address"),
            ("John Smith", "12 Main Street, Springfield, IL 62704"),
            ("Ann Lee", "5 Long Road, Boston"),
        ],
        "no_pair_columns",
        2,
    ),
    "products": (
        [
            ("商品", "描述", "价格"),
            ("红裙", "这是一条很漂亮的裙子，适合夏天。", "1"),
            ("衬衫", "商务衬衫，舒适。", "2"),
        ],
        "no_pair_columns",
        2,
    ),
    "a calendar": ([("date", "event"), ("2024-01-01", "New Year"), ("2024-05-01", "Labour Day")], "no_pair_columns", 2),
    "answers only": ([("response",), ("11",), ("aaa",), ("bbb",)], "no_question_column", 3),
    "questions only": ([("问题", "分类"), ("怎么退货？", "售后"), ("几点开门？", "门店")], "no_answer_column", 2),
    "a note": ([("This workbook is about our products.",), ("Ask Li.",)], "no_pair_columns", 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_question_and_answer_is_refused_not_guessed(name: str) -> None:
    lines, code, rows = REFUSED[name]
    (problem,) = read(*lines)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.severity, problem.place.row, problem.place.sheet) == (code, "error", 0, "S")
    assert problem.values["rows"] == rows
    assert problem.message and problem.hint


def test_a_refusal_names_what_is_there() -> None:
    (problem,) = read(("lat", "lon", "town"), ("1", "2", "Bonn"), ("3", "4", "Ulm"))
    assert isinstance(problem, Problem)
    assert (problem.values["numeric"], problem.values["total"]) == (2, 3)
    assert len(problem.values["names"]) == 3
    assert "lat, lon, town" in problem.message


def test_every_sheet_has_its_own_plan() -> None:
    sheets = {
        "封面": [("知识库",)],
        "问答": [("问题", "答案"), RETURN],
        "英文": [("标题",), ("Answer", "Question"), ASKED[0][::-1]],
        "数据": [("x", "y"), ("1", "2")],
    }
    rows = [(sheet, Row(i, line)) for sheet, lines in sheets.items() for i, line in enumerate(lines, start=1)]
    items = list(table_records("f.xlsx", iter(rows), ReadOptions()))
    assert said(items) == [RETURN, ASKED[0]]
    refused = [item.place.sheet for item in items if isinstance(item, Problem) and item.code == "no_pair_columns"]
    assert refused == ["封面", "数据"]


# --- Classification --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        (("label", "review"), 1, 0),
        (("文本", "类别"), 0, 1),
        (("query", "intent"), 0, 1),
        (("id", "text", "label"), 1, 2),
    ],
)
def test_texts_with_labels(header: tuple[str, ...], text: int, label: int) -> None:
    line = [""] * len(header)
    line[text], line[label] = "很快，好吃", "1"
    items = read(header, line)
    assert said(items) == [("很快，好吃", "1")]
    assert read_messages(records(items)[0]).kind == "classification"


def test_labels_found_by_content() -> None:
    lines = [(f"The {i % 3} item broke soon, and nobody answers.", "bad" if i % 2 else "good") for i in range(3)]
    texts = [f"{w} item broke soon, and nobody answers me." for w in "abcdefghijklmno"]
    lines = [(text, "bad" if i % 2 else "good") for i, text in enumerate(texts)]
    items = read(("t", "c"), *lines)
    assert said(items) == lines
    assert records(items)[0].layout is not None and records(items)[0].layout.kind == "classification"
    assert codes(items) == [("columns_by_content", 1)]


def test_a_faq_with_a_category_is_no_classification() -> None:
    items = read(("question", "answer", "category"), (*ASKED[0], "returns"))
    assert read_messages(records(items)[0]).kind == "qa"


# --- Merged cells, errors and formulas -------------------------------------------------------------------------------


def test_a_merged_category_makes_no_chat() -> None:
    items = read(("分类", "问题", "答案"), ("售后", *RETURN), Row(3, ("售后", *HOURS), continued=(0,)))
    assert said(items) == [RETURN, HOURS]


def test_rows_that_only_continue_belong_to_the_one_above() -> None:
    repeat = Row(3, (*RETURN, "另一个备注"), continued=(0, 1))
    items = read(("问题", "答案", "备注"), (*RETURN, "x"), repeat, (*HOURS, ""))
    assert said(items) == [RETURN, HOURS]
    assert [r.rows for r in records(items)] == [(2, 3), ()]


def test_a_merged_answer_answers_each_question() -> None:
    items = read(("问题", "答案"), RETURN, Row(3, ("能退吗？", RETURN[1]), continued=(1,)))
    assert said(items) == [RETURN, ("能退吗？", RETURN[1])]


def test_error_values_are_kept_and_named() -> None:
    items = read(("问题", "答案", "库存"), (RETURN[0], "#N/A", "#REF!"), HOURS)
    assert said(items)[0] == (RETURN[0], "#N/A")
    (problem,) = [item for item in items if isinstance(item, Problem)]
    assert (problem.code, problem.severity, problem.place.row) == ("cell_error", "warning", 2)
    assert (problem.column, problem.values) == ("答案", {"cell": "B2", "found": "#N/A"})


def test_a_formula_that_was_never_calculated() -> None:
    items = read(
        ("问题", "答案", "价格"), Row(2, (RETURN[0], ""), uncalculated=(1,)), Row(3, (*HOURS, ""), uncalculated=(2,))
    )
    assert codes(items) == [("formula_not_calculated", 2)]
    assert said(items) == [HOURS]


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_a_csv_row_with_too_many_cells_is_an_error() -> None:
    items = read(("question", "answer"), ("q1", "well", " it depends"), (), ("q2", "a2", "", ""), ("q3",), sheet=None)
    assert codes(items) == [("too_many_cells", 2)]
    assert [dict(r.fields) for r in records(items)] == [
        {"question": "q2", "answer": "a2"},
        {"question": "q3", "answer": ""},
    ]


# --- The user's word -------------------------------------------------------------------------------------------------


def mapped(**columns: str) -> ReadOptions:
    return ReadOptions(columns=columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "columns",
    [
        {"question": "b1", "answer": "c1"},
        {"question": " B1 ", "answer": "C1"},
        {"question": "B", "answer": "C"},
        {"question": "b1", "answer": "C"},
    ],
)
def test_columns_are_named_by_the_user(columns: dict[str, str]) -> None:
    items = read(("a1", "b1", "c1"), ("x", *RETURN), ("y", *HOURS), options=mapped(**columns))
    assert said(items) == [RETURN, HOURS]
    assert all(r.layout is not None and r.layout.reason == "mapped" for r in records(items))


def test_the_users_word_counts_more_than_names() -> None:
    items = read(("问题", "答案", "话术"), ("怎么退", "旧", "新"), options=mapped(answer="话术"))
    assert said(items) == [("怎么退", "新")]


def test_letters_where_there_is_no_header() -> None:
    items = read(("1", *RETURN), ("2", *HOURS), options=mapped(question="c", answer="b"))
    assert said(items) == [RETURN[::-1], HOURS[::-1]]


def test_a_column_that_is_not_there_is_one_error() -> None:
    (problem,) = read(("问题", "答案"), RETURN, HOURS, options=mapped(question="提问", answer="答案"))
    assert isinstance(problem, Problem)
    assert (problem.code, problem.severity, problem.column) == ("unknown_column", "error", "提问")
    assert problem.values["rows"] == 2 and "问题, 答案" in problem.message and "提问" in problem.message


def test_names_may_be_any_and_cells_json() -> None:
    chat = '[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]'
    assert said(read(("id", "messages"), ("1", chat))) == [("q", "a")]


# --- Everything is accounted for -------------------------------------------------------------------------------------

_CELL = st.sampled_from(
    [
        "",
        "",
        " ",
        "1",
        "2024",
        "问题",
        "答案",
        "怎么退？",
        "七天内可以退。",
        "合计",
        "用户",
        "客服",
        "会话ID",
        "note: x",
        "#N/A",
        "Q: a?",
        "A: b",
    ]
)
_ROWS = st.lists(st.lists(_CELL, max_size=4), max_size=14)
_HEADERS = st.sampled_from(
    [
        [],
        ["问题", "答案"],
        ["序号", "问题", "答案"],
        ["会话ID", "角色", "内容"],
        ["角色", "内容"],
        ["text", "label"],
        ["x", "y"],
        ["内容"],
    ]
)


@settings(max_examples=300, deadline=None)
@given(_HEADERS, _ROWS, st.booleans(), st.booleans(), st.integers(0, 3), st.booleans())
def test_every_row_ends_in_one_record_or_one_problem(
    header: list[str], lines: list[list[str]], is_csv: bool, single_turn: bool, merged: int, has_merged: bool
) -> None:
    rows = [Row(1, tuple(header))]
    for number, cells in enumerate(lines, start=2):
        above = rows[-1].cells
        if has_merged and number % 3 and merged < min(len(above), len(cells)) and number > 2:
            texts = (*cells[:merged], above[merged], *cells[merged + 1 :])
            rows.append(Row(number, texts, continued=(merged,) if above[merged].strip() else ()))
        else:
            rows.append(Row(number, tuple(cells)))
    items = list(table_records("f", ((None if is_csv else "S", r) for r in rows), ReadOptions(single_turn=single_turn)))
    written = [row.number for row in rows if not row.is_blank]
    ends = Counter[int]()
    for item in items:
        if isinstance(item, Record):
            ends.update(item.rows or (item.place.row,))
            read_messages(item)
        elif item.place.row and (item.severity == "error" or item.code in ("skipped_row", "another_table")):
            ends[item.place.row] += 1
    assert all(count == 1 for count in ends.values())
    lost = [number for number in written if number not in ends]
    counted: list[Any] = [
        i.values.get("rows", i.values.get("lines"))
        for i in items
        if isinstance(i, Problem) and i.severity == "error" and not i.place.row
    ]
    if counted:
        assert not ends and len(written) - sum(counted) in (0, 1)
    else:
        assert len(lost) <= 1  # the header


# --- Another table lower in the sheet --------------------------------------------------------------------------------

SWAPPED = (RETURN[1], RETURN[0])
LOWER: dict[str, list[Line]] = {
    "other order, no blank row": [("问题", "答案"), HOURS, ("答案", "问题"), SWAPPED],
    "other order, after blank rows": [("问题", "答案"), HOURS, (), (), ("答案", "问题"), SWAPPED],
    "other names": [("Question", "Answer"), HOURS, (), ("回复", "备注", "提问"), (RETURN[1], "见官网", RETURN[0])],
    "under a title": [("问题", "答案"), HOURS, (), ("售后常见问题",), (), ("序号", "问题", "答案"), ("1", *RETURN)],
    "under a title without a gap": [("问题", "答案"), HOURS, ("售后",), ("序号", "问题", "答案"), ("1", *RETURN)],
    "beside unknown names, after a gap": [
        ("序号", "问题", "答案"),
        ("1", *HOURS),
        (),
        ("问题（必填）", "适用门店", "答案（必填）"),
        (RETURN[0], "全部", RETURN[1]),
    ],
    "two languages in one name": [("问题", "答案"), HOURS, (), ("答案/Answer", "问题/Question"), SWAPPED],
    "further columns": [("问题", "答案"), HOURS, ("问题", "备注", "答案"), (RETURN[0], "", RETURN[1])],
    "shifted to the right": [("问题", "答案"), HOURS, (), ("", "", "问题", "答案"), ("", "", *RETURN)],
}


@pytest.mark.parametrize("name", LOWER)
def test_another_table_is_read_by_its_own_header(name: str) -> None:
    items = read(*LOWER[name])
    assert said(items) == [HOURS, RETURN]
    (another,) = (item for item in items if isinstance(item, Problem) and item.code == "another_table")
    assert another.place.row == len(LOWER[name]) - 1
    assert {code for code, _ in codes(items)} <= {"another_table", "skipped_row"}


def test_every_table_of_a_sheet_is_read() -> None:
    items = read(("问题", "答案"), HOURS, (), ("答案", "问题"), SWAPPED, (), ("序号", "问题", "答案"), ("1", *PARKING))
    assert said(items) == [HOURS, RETURN, PARKING]
    assert [r.place.row for r in records(items)] == [2, 5, 8]
    assert [r.layout.header_row for r in records(items) if r.layout] == [1, 4, 7]


def test_a_table_of_chats_below_one_of_questions() -> None:
    log = [("会话ID", "角色", "内容"), ("s1", "用户", "在吗"), ("s1", "客服", "在的，请讲。")]
    items = read(("问题", "答案"), HOURS, (), *log)
    assert said(items) == [HOURS, ("在吗", "在的，请讲。")]


@pytest.mark.parametrize(
    "line",
    [
        ("客服", "客户"),  # a glossary
        ("q", "a"),
        ("答案在哪", "见问题栏"),
        ("意见", "回复"),
        ("2024-05-01", "答案"),
    ],
)
def test_entries_of_short_words_are_no_header(line: tuple[str, str]) -> None:
    items = read(("问题", "答案"), HOURS, line, RETURN)
    assert said(items) == [HOURS, line, RETURN] or codes(items) == [("skipped_row", 3)]
    assert said(items)[0] == HOURS and said(items)[-1] == RETURN


def test_who_speaks_in_a_chat_is_no_header() -> None:
    rows = [
        ("角色", "内容"),
        ("客户", "你好"),
        ("客服", "您好，请讲。"),
        (),
        ("客户", "客服"),
        ("客服", "我在的，请讲。"),
    ]
    items = read(*rows)
    assert "another_table" not in [code for code, _ in codes(items)]
    assert said(items) == [("你好", "您好，请讲。"), ("客服", "我在的，请讲。")]


def test_notes_above_the_first_header_are_no_table() -> None:
    items = read(("答疑说明", "第一版"), ("内容", "分类"), (), ("问题", "答案"), HOURS, RETURN)
    assert said(items) == [HOURS, RETURN]
    assert "another_table" not in [code for code, _ in codes(items)]


def test_mapped_columns_hold_for_the_whole_sheet() -> None:
    options = ReadOptions(columns={"question": "问题", "answer": "答案"})
    items = read(("问题", "答案"), HOURS, ("答案", "问题"), RETURN, options=options)
    assert said(items)[-1] == RETURN
    assert "another_table" not in [code for code, _ in codes(items)]


def test_lines_of_a_csv_leave_no_gap() -> None:
    rows = [Row(1, ("问题", "答案")), Row(2, ("几点开门？", "九点\n开门")), Row(4, ("什么答案", "门店"))]
    assert [code for code, _ in codes(read(*rows, sheet=None))] == []
    assert len(said(read(*rows, sheet=None))) == 2
