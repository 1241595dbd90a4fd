import json
import re
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

import postil.data
from postil.data.checks import near_duplicates
from postil.data.checks.overlay import Edit, Overlay, overlay_of
from postil.data.records import read_records
from postil.data.validation import ValidationReport, validate_dataset
from postil.language import has_sentence, use_language
from postil.problems import FixAction, Place


def check(path: Path, *records: Any, system: str | None = None) -> ValidationReport:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return validate_dataset(read_records(path), system)


def pair(question: str, answer: str, **others: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **others}


def chat(*texts: str, system: str = "") -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    return {"messages": messages + [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]}


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
    assert [row for _, row in codes(report)] == [2, 2, 3, 4] and report.errors[-1].code == "not_an_object"
    assert all(p.fix and p.fix.action == "drop_row" and p.fix.places == (p.place,) for p in report.errors)
    assert len(report.errors) == 4 and len(report.warnings) == 1  # two faults in the broken line, and too few rows


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
    [("response", "no_question_column"), ("question", "no_answer_column"), ("width,weight", "no_pair_columns")],
)
def test_a_table_without_the_columns_names_those_it_has(tmp_path: Path, header: str, code: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n1,2\n3,4\n" if "," in header else f"{header}\nx\ny\n")
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
    assert (report.records_in, report.kept, report.dropped) == (4, 2, 2)
    assert report.sheets == ("说明", "售前", "售后") and report.hidden_sheets == ("旧",) and not report.errors
    assert [(r.sheet, r.columns, r.records) for r in report.readings] == [
        (sheet, {"question": "问题", "answer": "答案"}, 1) for sheet in ("售前", "售后")
    ]
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


def test_the_report_counts_what_every_surface_shows(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("q1", "a1"), chat("q2", "a2", "q3", "a3"), pair("q4", ""))
    shown = report.as_dict()
    counts = {"records_in": 3, "kept": 2, "fixed": 0, "dropped": 1, "conversations": 2, "multi_turn": 1, "turns": 3}
    assert counts.items() <= shown.items()
    assert (shown["file"], shown["format"], shown["kind"], shown["encoding"]) == ("a.jsonl", "jsonl", "qa", "utf-8")
    assert shown["shape"] == "question/answer + messages" and shown["sheets"] == shown["hidden_sheets"] == []
    (reading,) = shown["readings"]
    assert reading["columns"] == {"question": "question", "answer": "answer"} and reading["records"] == 3
    assert reading["confidence"] == 1.0 and reading["reason"] == "named"


def test_nothing_understood_is_no_question_and_answer(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", {"x": 1}, {"y": 2})
    assert (report.kind, report.shape, report.readings) == ("not_qa", "", ())
    assert [p.code for p in report.errors] == ["unknown_shape"] * 2


def many(path: Path) -> Path:
    """Rows with every kind of problem, some of which the end of the file only shows."""
    rows = [pair(f"{i * 7919 % 9973} or what?", f"{i * 104729 % 999983} it is") for i in range(120)]
    rows[20:23] = [pair("same", "same answer"), pair("same", "same answer"), pair("Same?", "another answer")]
    rows[40] = pair("bad", "")
    rows[50] = pair("call me", "13812345678")
    rows[60] = pair("how", " yes, you can  ")
    rows[70] = pair("which", "?")
    rows[80] = chat("a", "b one", "c", "d two")
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def test_without_the_conversations_the_report_is_the_same(tmp_path: Path) -> None:
    records = read_records(many(tmp_path / "a.jsonl"))
    held, counted = validate_dataset(records, near=True), validate_dataset(records, near=True, keep=False)
    assert held.as_dict() == counted.as_dict() and counted.conversations == ()
    assert held.examples == counted.examples == held.conversations[:3]
    assert codes(held) == [
        ("outer_blanks", 0),
        ("conflicting_answers", 21),
        ("duplicate", 22),
        ("missing_answer", 41),
        ("personal_data", 51),
        ("answer_too_short", 71),
    ]
    assert [p.excerpt for p in counted.problems if p.place.row in (21, 22)] == ["same", "same"]


def test_blanks_around_answers_are_one_warning_that_mends_all(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("q1", "a1\n"), pair(" q2 ", "a2"), pair("q3", " a3"))
    (problem,) = (p for p in report.problems if p.code == "outer_blanks")
    assert problem.place.row == 0 and problem.values == {"rows": 2}
    assert problem.fix and problem.fix.action == "trim" and [p.row for p in problem.fix.places] == [1, 3]


def test_short_answers_are_named_only_where_others_are_longer(tmp_path: Path) -> None:
    long = [pair(f"q{i}", f"a longer answer {i}") for i in range(20)]
    few = check(tmp_path / "a.jsonl", *long, pair("q", "A"))
    assert codes(few) == [("answer_too_short", 21)] and "(A)" in few.problems[-1].message
    assert codes(check(tmp_path / "b.jsonl", *long, *(pair(f"choose {i}", "ABCD"[i % 4]) for i in range(20)))) == []


def test_personal_data_is_masked_in_the_report_and_the_companys_own_is_kept(tmp_path: Path) -> None:
    own = [pair(f"q{i}", "Write to wang@firm.cn") for i in range(3)]
    report = check(tmp_path / "a.jsonl", *own, pair("q", "wang@firm.cn or li@firm.cn"))
    (problem,) = (p for p in report.problems if p.code == "personal_data")
    assert problem.place.row == 4 and problem.values == {"found": "l***@firm.cn"}
    assert problem.fix and not problem.fix.automatic and problem.fix.values == {"keep": ["wang@firm.cn"]}
    assert "li@firm.cn" not in json.dumps([p.as_dict() for p in report.problems if not p.fix or p is not problem])


def test_text_warnings_say_where_in_the_record(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", chat("q", "As an AI, I cannot do that", "q", "{{name}}"))
    found = [(p.code, p.column, p.json_path, p.fix and p.fix.action) for p in report.problems if p.place.row]
    assert found == [
        ("placeholder", "messages", "messages[3].content", None),
        ("refusal", "messages", "messages[1].content", "drop_row"),
    ]


def test_an_overlay_changes_and_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    broken = validate_dataset(read_records(many(path)))
    overlay = overlay_of(broken.problems)
    report = validate_dataset(read_records(path), overlay=overlay)
    assert not report.errors and (report.records_in, report.kept, report.fixed, report.dropped) == (120, 117, 1, 2)
    assert "yes, you can" in [c.answer for c in report.conversations]
    assert codes(report) == [("conflicting_answers", 21), ("personal_data", 51), ("answer_too_short", 71)]


def test_an_overlay_leaves_out_what_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "q", "answer": "a"}\n{broken\n')
    overlay = overlay_of(validate_dataset(read_records(path)).problems)
    report = validate_dataset(read_records(path), overlay=overlay)
    assert not report.errors and (report.records_in, report.kept, report.dropped) == (2, 1, 1)


@pytest.mark.parametrize(
    "edit", [("drop_row", {}), ("set_text", {"path": "answer", "value": "three"})], ids=["left out", "corrected"]
)
def test_a_warning_of_a_cell_ends_with_the_edit_of_its_row_or_cell(
    tmp_path: Path, edit: tuple[FixAction, dict[str, str]]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answer\nq1,#N/A\nq2,#N/A\n")
    overlay = Overlay().plus([Edit(Place("a.csv", 2), edit[0], "by_hand", edit[1])])
    report = validate_dataset(read_records(path), overlay=overlay)
    assert [p.place.row for p in report.problems if p.code == "cell_error"] == [3]
    elsewhere = Overlay().plus([Edit(Place("a.csv", 2), "set_text", "by_hand", {"path": "question", "value": "q"})])
    report = validate_dataset(read_records(path), overlay=elsewhere)
    assert [p.place.row for p in report.problems if p.code == "cell_error"] == [2, 3]


def test_single_turn_splits_chats(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [chat("q1", "a1", "q2", "a2", system="S"), pair("q3", "a3")]
    rows[0]["messages"][2]["weight"] = 0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = validate_dataset(read_records(path), single_turn=True)
    assert [[m.content for m in c.messages] for c in report.conversations] == [["S", "q2", "a2"], ["q3", "a3"]]
    assert (report.records_in, report.kept, report.num_conversations, report.multi_turn, report.turns) == (
        2,
        2,
        2,
        0,
        2,
    )


def test_answers_marked_as_bad_never_train(tmp_path: Path) -> None:
    rows = [pair(f"q{i}", f"a{i}", kto_tag=i % 2 == 0) for i in range(4)]
    report = check(tmp_path / "a.jsonl", *rows)
    assert (report.kind, report.kept, report.dropped, report.num_conversations) == ("preference", 2, 2, 4)
    assert codes(report) == [("preference_data", 0), ("rejected_answer", 2), ("rejected_answer", 4)]
    assert report.problems[0].values == {"conversations": 2, "rejected": 2} and len(report.errors) == 2


def test_what_is_said_of_comparisons_counts_what_trains(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "chosen": "good" if i else "", "rejected": "bad"} for i in range(3)]
    report = check(tmp_path / "a.jsonl", *rows)
    (said,) = (p for p in report.problems if p.code == "preference_data")
    assert said.values == {"conversations": 2, "rejected": 0}
    assert (report.kept, report.dropped) == (2, 1)


def test_texts_with_labels_are_one_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "label,text\n" + "".join(f"{'good' if i % 2 else 'bad'},I find number {i} so-so\n" for i in range(120))
    )
    report = validate_dataset(read_records(path))
    assert (report.kind, report.kept, codes(report)) == ("classification", 120, [("classification", 0)])
    assert report.problems[0].values == {"question": "text", "answer": "label", "labels": 2}


def test_nearly_the_same_rows_are_looked_for_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "You can return it within thirty days of delivery; open the order page and press the button."
    path = tmp_path / "a.jsonl"
    rows = [pair("How do I return it?", long), pair("What now?", long), pair("How do I return it, please?", long)]
    check(path, *rows)
    report = validate_dataset(read_records(path), near=True)
    assert [(p.place.row, p.values["first"]) for p in report.problems if p.code == "near_duplicate"] == [(3, "1")]
    monkeypatch.setattr(near_duplicates, "MAX_ROWS", 2)
    report = validate_dataset(read_records(path), near=True)
    assert [p.values for p in report.problems if p.code == "near_duplicates_unchecked"] == [{"rows": 2}]


def test_every_code_has_its_sentences() -> None:
    """Codes that reach a Problem through a variable, which the catalogs' own test cannot see."""
    folder = Path(postil.data.__file__).parent
    text_codes = set(re.findall(r'mark\("([a-z_]+)"', (folder / "checks" / "text_checks.py").read_text("utf-8")))
    added = {
        code
        for path in folder.rglob("*.py")
        for code in re.findall(r'findings\.add\(\s*"([a-z_]+)"', path.read_text("utf-8"))
    }
    more = {"missing_question", "missing_answer", "empty_message"}
    assert len(text_codes) > 8 and len(added) > 8
    for code in text_codes | added | more:
        for language in ("en", "zh"):
            assert has_sentence(f"problems.{code}", language) and has_sentence(f"problems.{code}.hint", language), code


def test_sentences_follow_the_language(tmp_path: Path) -> None:
    report = check(tmp_path / "a.jsonl", pair("q1", ""))
    use_language("zh")
    assert report.errors[0].message == "缺少答案。"
