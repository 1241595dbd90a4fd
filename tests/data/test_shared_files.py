"""Real files as their sources published them, read as their index says a careful reader would."""

import json
from collections import Counter
from pathlib import Path

import pytest

from postil.data.records import read_records
from postil.data.splits import split_conversations
from postil.data.validation import ValidationReport, validate_dataset


def read(shared: Path, name: str) -> ValidationReport:
    (path,) = (shared / "data").glob(f"{name}*")
    return validate_dataset(read_records(path))


# What the index says of each: name, format, kind, records, conversations, those with several turns, turns, those with a
# system message, and what must be named, with how many. Questions that differ in case or final punctuation are one.
FILES = [
    ("o01", "json", "qa", 1000, 1000, 0, 1000, 0, {"duplicate": 8}),
    ("o02", "json", "qa", 999, 999, 0, 999, 0, {"duplicate": 14}),
    ("o03", "json", "qa", 91, 91, 0, 91, 0, {"placeholder": 85, "conflicting_answers": 2}),
    ("o04", "jsonl", "qa", 500, 500, 0, 500, 0, {"placeholder": 50, "duplicate": 1, "conflicting_answers": 2}),
    ("o05", "json", "tool_calls", 300, 300, 221, 722, 0, {"tool_calls": 1, "duplicate": 43, "conflicting_answers": 9}),
    ("o07", "json", "chat", 500, 500, 333, 1000, 0, {"conflicting_answers": 153}),
    ("o08", "jsonl", "qa", 128, 128, 0, 128, 25, {}),
    ("o09_swift_alpaca.csv", "csv", "qa", 3, 3, 0, 3, 1, {}),
    ("o09_swift_alpaca2.csv", "csv", "qa", 3, 3, 0, 3, 0, {"conflicting_answers": 1}),
    ("o09_swift_alpaca.jsonl", "jsonl", "qa", 3, 3, 1, 4, 1, {}),
    ("o09_swift_chatml", "jsonl", "chat", 3, 3, 2, 5, 1, {"conflicting_answers": 1}),
    ("o09_swift_conversations", "jsonl", "chat", 3, 3, 2, 5, 1, {"conflicting_answers": 1}),
    ("o09_swift_sharegpt", "jsonl", "qa", 3, 3, 1, 5, 1, {}),
    ("o09_swift_s_multi", "jsonl", "qa", 3, 3, 1, 5, 1, {}),
    ("o09_swift_s_single.csv", "csv", "qa", 3, 3, 0, 3, 1, {"conflicting_answers": 1}),
    ("o09_swift_s_single.jsonl", "jsonl", "qa", 3, 3, 0, 3, 1, {"conflicting_answers": 1}),
    ("o10", "jsonl", "qa", 300, 300, 0, 300, 0, {"conflicting_answers": 77}),
    ("o11", "jsonl", "qa", 240, 240, 0, 240, 240, {"conflicting_answers": 91}),
    ("o12", "jsonl", "qa", 800, 800, 0, 800, 800, {"conflicting_answers": 129}),
    ("o13", "json", "chat", 1439, 1439, 1432, 3808, 1439, {}),
    ("o14", "jsonl", "qa", 240, 240, 0, 240, 0, {}),
    ("o15", "json", "qa", 240, 240, 0, 240, 240, {}),
    ("o16", "json", "qa", 85, 85, 0, 85, 0, {"duplicate": 1, "conflicting_answers": 4}),
    ("o17", "xlsx", "qa", 246, 246, 0, 246, 0, {"duplicate": 3, "conflicting_answers": 5}),
    ("o18", "json", "qa", 100, 100, 0, 100, 0, {"duplicate": 4, "conflicting_answers": 1}),
    ("o19", "txt", "qa", 14, 14, 0, 14, 0, {}),
    ("o20", "txt", "qa", 12, 12, 0, 12, 0, {"skipped_row": 2}),
    ("o21", "csv", "qa", 15, 15, 0, 15, 0, {}),
    ("o22", "csv", "qa", 5, 5, 0, 5, 0, {}),
    ("o23", "csv", "classification", 10003, 10003, 0, 10003, 0, {"classification": 1, "duplicate": 4}),
    ("o24", "csv", "classification", 11987, 11987, 0, 11987, 0, {"classification": 1, "conflicting_answers": 17}),
    ("o25", "xlsx", "qa", 20, 20, 0, 20, 0, {"conflicting_answers": 2}),
    ("o26", "xlsx", "qa", 18, 18, 0, 18, 0, {}),
    ("o27", "csv", "qa", 6459, 6459, 0, 6459, 0, {"duplicate": 329, "conflicting_answers": 11}),
    ("o28", "json", "chat", 1, 1, 1, 10, 0, {}),
    ("o29", "json", "preference", 64, 64, 0, 64, 0, {"preference_data": 1, "duplicate": 63}),
    ("o30", "jsonl", "qa", 52, 52, 0, 52, 0, {"conflicting_answers": 1}),
    ("o31", "csv", "qa", 31, 31, 0, 31, 0, {}),
    ("o34", "jsonl", "qa", 10, 10, 0, 10, 10, {}),
    ("o35", "txt", "chat", 1, 1, 1, 3, 0, {}),
]
MUST_BE_RIGHT = (
    *("duplicate", "conflicting_answers", "placeholder", "skipped_row"),
    *("preference_data", "tool_calls", "classification"),
)
# Remarks on style that the index does not speak of: true of the text, and few but for refusals, which were read one by
# one: "As an AI, I do not have ..." in the three files of instructions, "I cannot order a pizza" in the calls of tools.
REFUSALS = {"o01": 22, "o02": 22, "o04": 12, "o05": 23}
OTHERS = {
    *("outer_blanks", "answer_too_short", "answer_equals_question", "personal_data", "html"),
    *("control_characters", "call_in_text", "no_header", "too_few_rows"),
}


@pytest.mark.parametrize(
    ("name", "form", "kind", "records", "conversations", "multi_turn", "turns", "systems", "named"),
    FILES,
    ids=[row[0] for row in FILES],
)
def test_files_that_train_whole(
    shared: Path,
    name: str,
    form: str,
    kind: str,
    records: int,
    conversations: int,
    multi_turn: int,
    turns: int,
    systems: int,
    named: dict[str, int],
) -> None:
    report = read(shared, name)
    assert (report.format, report.kind, report.errors) == (form, kind, ())
    assert (report.records_in, report.kept, report.fixed, report.dropped) == (records, records, 0, 0)
    assert (report.num_conversations, report.multi_turn, report.turns) == (conversations, multi_turn, turns)
    assert len(report.conversations) == conversations
    assert sum(c.messages[0].role == "system" for c in report.conversations) == systems
    found = Counter(p.code for p in report.problems)
    assert {code: found.pop(code) for code in MUST_BE_RIGHT if code in found} == named
    assert found.pop("too_few_rows", 0) == (conversations < 100)
    assert found.pop("refusal", 0) == REFUSALS.get(name, 0)
    assert set(found) <= OTHERS and found.total() <= 2 + 0.01 * records


@pytest.mark.parametrize(
    ("name", "kind", "records", "kept", "conversations", "code", "count"),
    [
        ("o06", "preference", 300, 150, 300, "rejected_answer", 150),
        ("o09_swift_s_pre", "not_qa", 3, 0, 0, "no_question_column", 1),
        ("o32", "qa", 29, 0, 0, "missing_answer", 29),
        ("o33", "not_qa", 20640, 0, 0, "no_pair_columns", 1),
    ],
)
def test_files_with_rows_that_cannot_train(
    shared: Path, name: str, kind: str, records: int, kept: int, conversations: int, code: str, count: int
) -> None:
    report = read(shared, name)
    assert (report.kind, report.records_in, report.kept, report.dropped) == (kind, records, kept, records - kept)
    assert report.num_conversations == conversations
    assert Counter(p.code for p in report.errors) == {code: count}


def test_every_file_is_in_one_of_the_two_lists(shared: Path) -> None:
    names = [path.name for path in (shared / "data").glob("o*")]
    tried = [row[0] for row in FILES] + ["o06", "o09_swift_s_pre", "o32", "o33"]
    assert len(names) == len(tried) == 44
    assert all(sum(name.startswith(start) for start in tried) == 1 for name in names)


def test_bad_answers_of_a_comparison_are_nowhere_in_what_trains(shared: Path) -> None:
    chosen = read(shared, "o29").conversations
    rejected = {record["reject"] for record in json.loads((shared / "data" / "o29_mlora_preference.json").read_text())}
    assert len(chosen) == 64 and not rejected & {m.content for c in chosen for m in c.messages}
    marked = read(shared, "o06")
    assert (marked.multi_turn, marked.turns, len(marked.conversations)) == (77, 487, 150)


def test_tool_calls_are_kept_with_their_answers(shared: Path) -> None:
    conversations = read(shared, "o05").conversations
    assert sum(len(m.tool_calls) for c in conversations for m in c.messages) == 216
    assert sum(m.role == "tool" for c in conversations for m in c.messages) == 218
    assert sum(bool(c.tools) for c in conversations) == 200


def test_the_first_row_of_a_table_without_header_is_data(shared: Path) -> None:
    report = read(shared, "o26")
    assert [c.place.row for c in report.conversations] == list(range(1, 19))
    (reading,) = report.readings
    assert reading.columns == {"question": "A", "answer": "B"} and reading.reason == "no_header"
    assert reading.confidence < 0.9


def test_titles_of_a_text_are_no_questions(shared: Path) -> None:
    questions = [c.question for c in read(shared, "o20").conversations]
    assert len(questions) == 12 and not any("@" in question for question in questions)


def test_numeric_workbook_names_its_columns(shared: Path) -> None:
    (problem,) = read(shared, "o33").errors
    assert problem.code == "no_pair_columns" and "HouseAge" in problem.message and "9" in problem.message


@pytest.mark.parametrize("name", ["o07", "o12", "o23"])
def test_nearly_the_same_rows_are_found_beside_the_exact_repeats(shared: Path, name: str) -> None:
    (path,) = (shared / "data").glob(f"{name}*")
    report = validate_dataset(read_records(path), near=True, keep=False)
    near = [p for p in report.problems if p.code == "near_duplicate"]
    exact = {p.place.row for p in report.problems if p.code == "duplicate"}
    assert not exact & {p.place.row for p in near} and all(int(p.values["first"]) < p.place.row for p in near)
    assert bool(near) == (name in ("o07", "o23"))


def test_digits_stay_as_written(shared: Path) -> None:
    first = read(shared, "o09_swift_alpaca.csv").conversations[0]
    assert [m.content for m in first.messages] == ["00000", "11111\n22222", "3.3"]


def test_gb18030_rows_stand_on_their_physical_lines(shared: Path) -> None:
    report = read(shared, "o27")
    assert report.encoding == "gb18030"
    assert report.conversations[0].question.startswith("我有高血压这两天女婿来的时候")
    assert report.conversations[-1].place.row == 6506
    after_multi_line = next(c for c in report.conversations if c.place.row == 1010)
    assert after_multi_line.answer.startswith("癫痫患者的生活要有规律")


def test_customer_service_chats_are_held_out_by_whole_questions(shared: Path) -> None:
    report = read(shared, "o12")
    questions = {c.question for c in report.conversations}
    split = split_conversations(report.conversations, 0.1, seed=0)
    assert len(questions) == 133
    assert 60 <= len(split.heldout) <= 80
    assert not {c.question for c in split.train} & {c.question for c in split.heldout}
    assert split.num_heldout_questions == len({c.question for c in split.heldout})
