import json
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from postil.data.shapes import drafts, formats
from postil.data.records import read_records
from postil.data.validation import ValidationReport, validate_dataset
from postil.language import has_sentence, use_language


def check(path: Path, *records: Any, system: str | None = None) -> ValidationReport:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return validate_dataset(read_records(path), system)


def pair(question: str, answer: str, **others: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **others}


def codes(report: ValidationReport) -> list[tuple[str, int]]:
    return [(p.code, p.place.row) for p in report.problems if p.code != "too_few_rows"]


def test_the_ledger_adds_up_and_good_rows_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(pair("q1", "a1")), "{broken", json.dumps(pair("q2", "")), "[1]", json.dumps(pair("q3", "a3"))]
    path.write_text("\n".join(lines))
    report = validate_dataset(read_records(path))
    assert (report.records_in, report.kept, report.fixed, report.dropped) == (5, 2, 0, 3)
    assert [c.answer for c in report.conversations] == ["a1", "a3"]
    assert [str(c.place) for c in report.conversations] == ["a.jsonl:1", "a.jsonl:5"]
    assert codes(report) == [("broken_json", 2), ("missing_answer", 3), ("not_an_object", 4)]
    assert len(report.errors) == 3 and len(report.warnings) == 1


def test_duplicates_and_conflicts_are_warnings(tmp_path: Path) -> None:
    rows = [pair("How?", "so"), pair("How?", "so"), pair("how ", "else"), pair("Why", "because")]
    report = check(tmp_path / "a.jsonl", *rows)
    assert codes(report) == [("conflicting_answers", 1), ("duplicate", 2)] and not report.errors
    conflict, duplicate = (p for p in report.problems if p.place.row)
    assert conflict.values == {"answers": 2, "rows": "1, 3"}
    assert duplicate.values == {"first": "1"}
    assert report.kept == 4


def test_the_same_question_under_another_system_message_is_no_conflict(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("Q", "x", system="S"), pair("Q", "y", system="T"))
    assert codes(report) == []


def test_placeholders_and_control_characters(tmp_path: Path) -> None:
    rows = [pair("q1", "I am {{name}} of {{ 公司 }}"), pair("q2", "a\x00b"), pair("q3", "{{}} {{1}} a\tb\r\n{x}")]
    report = check(tmp_path / "a.jsonl", *rows)
    assert codes(report) == [("placeholder", 1), ("control_characters", 2)]
    assert "{{name}}" in report.problems[1].message and "\\x00" in report.problems[2].message


def test_a_system_message_is_added_where_there_is_none(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("q1", "a1"), pair("q2", "a2", system="own"), system="given")
    assert [c.messages[0].content for c in report.conversations] == ["given", "own"]


def test_few_rows_are_a_warning_and_none_an_error(tmp_path: Path) -> None:
    few = check(tmp_path / "a.jsonl", *(pair(f"q{i}", f"a{i}") for i in range(99)))
    assert [p.code for p in few.problems] == ["too_few_rows"] and not few.errors
    assert not check(tmp_path / "b.jsonl", *(pair(f"q{i}", f"a{i}") for i in range(100))).problems
    (tmp_path / "c.csv").write_text("question,answer\n\n,\n")
    none = validate_dataset(read_records(tmp_path / "c.csv"))
    assert [p.code for p in none.errors] == ["no_rows"] and none.records_in == 0


@pytest.mark.parametrize(
    ("header", "code"),
    [("response", "no_question_column"), ("question", "no_answer_column"), ("text,category", "no_pair_columns")],
)
def test_a_table_without_the_columns_names_those_it_has(tmp_path: Path, header: str, code: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\nx\ny\n")
    report = validate_dataset(read_records(path))
    assert [p.code for p in report.problems] == [code]
    assert header.split(",")[0] in report.errors[0].message
    assert (report.records_in, report.dropped) == (2, 2)


def test_sheets_without_questions_are_named_not_refused(tmp_path: Path) -> None:
    book = Workbook()
    book.active.title = "说明"
    book.active.append(["填写说明"])
    book.active.append(["请在第二页填写"])
    for title in ("售前", "售后"):
        sheet = book.create_sheet(title)
        sheet.append(["问题", "答案", "编号"])
        sheet.append([f"{title}问题", 400800, 7])
    book.create_sheet("旧").sheet_state = "hidden"
    book.save(tmp_path / "a.xlsx")
    report = validate_dataset(read_records(tmp_path / "a.xlsx"))
    assert (report.records_in, report.kept, report.dropped) == (3, 2, 1)
    assert report.sheets == ("说明", "售前", "售后") and not report.errors
    assert [c.answer for c in report.conversations] == ["400800", "400800"]
    assert str(report.conversations[1].place) == "a.xlsx 售后:2"
    assert {p.code for p in report.warnings} == {"no_pair_columns", "hidden_sheet", "too_few_rows"}


def test_a_second_column_of_questions_is_named(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("q", "a", query="other"), pair("q2", "a2", query="other"))
    assert [p.values for p in report.problems if p.code == "ignored_column"] == [
        {"used": "question", "ignored": "query"}
    ]


def test_the_report_is_json(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("q1", "a1"), pair("q2", ""))
    shown = json.loads(json.dumps(report.as_dict()))
    assert shown["records_in"] == 2 and shown["kept"] == 1 and shown["num_errors"] == 1
    assert shown["problems"][1]["row"] == 2 and shown["problems"][1]["hint"]


def test_every_code_has_its_sentences() -> None:
    """Codes that reach a Problem through a variable, which the catalogs' own test cannot see."""
    source = "".join(Path(str(module.__file__)).read_text("utf-8") for module in (drafts, formats))
    found = {part.split('"')[1] for part in source.split("findings.add(")[1:] if part.lstrip().startswith('"')}
    more = {"missing_question", "missing_answer", "empty_message", "placeholder", "control_characters"}
    columns = {"no_pair_columns", "no_question_column", "no_answer_column"}
    assert len(found) > 8
    for code in found | more | columns:
        for language in ("en", "zh"):
            assert has_sentence(f"problems.{code}", language) and has_sentence(f"problems.{code}.hint", language)


def test_sentences_follow_the_language(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("q1", ""))
    use_language("zh")
    assert report.errors[0].message == "缺少答案。"
