"""Real files as their sources published them, read as their index says a careful reader would."""

from collections import Counter
from pathlib import Path

import pytest

from postil.data.records import read_records
from postil.data.splits import split_conversations
from postil.data.validation import ValidationReport, validate_dataset
from postil.errors import DataError


def read(shared: Path, name: str) -> ValidationReport:
    (path,) = (shared / "data").glob(f"{name}*")
    return validate_dataset(read_records(path))


# name, format, conversations, answers, conversations with a system message, counts of problems besides too_few_rows
GOOD = [
    ("o01", "json", 1000, 1000, 0, {"duplicate": 8}),
    ("o02", "json", 999, 999, 0, {"duplicate": 14}),
    ("o03", "json", 91, 91, 0, {"placeholder": 85, "conflicting_answers": 2}),
    ("o04", "jsonl", 500, 500, 0, {"placeholder": 50, "duplicate": 1, "conflicting_answers": 2}),
    ("o07", "json", 500, 1000, 0, None),
    ("o08", "jsonl", 128, 128, 25, {}),
    ("o09_swift_alpaca.csv", "csv", 3, 3, 1, {}),
    ("o09_swift_alpaca2.csv", "csv", 3, 3, 0, None),
    ("o09_swift_alpaca.jsonl", "jsonl", 3, 4, 1, {}),
    ("o09_swift_chatml", "jsonl", 3, 5, 1, None),
    ("o09_swift_conversations", "jsonl", 3, 5, 1, None),
    ("o09_swift_sharegpt", "jsonl", 3, 5, 1, {}),
    ("o09_swift_s_multi", "jsonl", 3, 5, 1, {}),
    ("o09_swift_s_single.csv", "csv", 3, 3, 1, None),
    ("o09_swift_s_single.jsonl", "jsonl", 3, 3, 1, None),
    ("o10", "jsonl", 300, 300, 0, {"conflicting_answers": 77}),
    ("o11", "jsonl", 240, 240, 240, None),
    ("o12", "jsonl", 800, 800, 800, None),
    ("o13", "json", 1439, 3808, 1439, {}),
    ("o14", "jsonl", 240, 240, 0, {}),
    ("o15", "json", 240, 240, 240, {}),
    ("o16", "json", 85, 85, 0, None),
    ("o17", "xlsx", 246, 246, 0, {"duplicate": 3, "conflicting_answers": 5}),
    ("o18", "json", 100, 100, 0, {"duplicate": 4, "conflicting_answers": 1}),
    ("o21", "csv", 15, 15, 0, {}),
    ("o22", "csv", 5, 5, 0, {}),
    ("o25", "xlsx", 20, 20, 0, {"conflicting_answers": 2}),
    ("o27", "csv", 6459, 6459, 0, None),
    ("o28", "json", 1, 10, 0, {}),
    ("o30", "jsonl", 52, 52, 0, None),
    ("o31", "csv", 31, 31, 0, {}),
    ("o34", "jsonl", 10, 10, 10, {}),
]


@pytest.mark.parametrize(("name", "kind", "rows", "answers", "systems", "problems"), GOOD, ids=[g[0] for g in GOOD])
def test_good_files(
    shared: Path, name: str, kind: str, rows: int, answers: int, systems: int, problems: dict[str, int] | None
) -> None:
    report = read(shared, name)
    assert report.format == kind
    assert (report.records_in, report.kept, report.errors) == (rows, rows, ())
    assert sum(c.num_turns for c in report.conversations) == answers
    assert sum(c.messages[0].role == "system" for c in report.conversations) == systems
    found = Counter(p.code for p in report.problems)
    assert found.pop("too_few_rows", 0) == (rows < 100)
    if problems is not None:
        assert found == problems


@pytest.mark.parametrize(
    ("name", "records", "kept", "code", "count"),
    [
        ("o05", 300, 100, "tool_call", 200),
        ("o06", 300, 0, "preference_data", 300),
        ("o09_swift_s_pre", 3, 0, "no_question_column", 1),
        ("o23", 10003, 0, "no_pair_columns", 1),
        ("o24", 11987, 0, "no_pair_columns", 1),
        ("o26", 17, 0, "no_pair_columns", 1),
        ("o29", 64, 0, "preference_data", 64),
    ],
)
def test_files_with_rows_that_cannot_train(
    shared: Path, name: str, records: int, kept: int, code: str, count: int
) -> None:
    report = read(shared, name)
    assert (report.records_in, report.kept, report.dropped) == (records, kept, records - kept)
    assert Counter(p.code for p in report.errors) == {code: count}


@pytest.mark.parametrize("name", ["o19", "o20", "o32", "o35"])
def test_plain_text_is_refused_for_now(shared: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read(shared, name)
    assert caught.value.key == "data.unsupported_kind" and ".xlsx" in caught.value.hint


def test_numeric_workbook_names_its_columns(shared: Path) -> None:
    (problem,) = read(shared, "o33").errors
    assert problem.code == "no_pair_columns" and "HouseAge" in problem.message


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
