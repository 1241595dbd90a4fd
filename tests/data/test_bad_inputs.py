"""Every bad input that we know of, from the file to what `postil check` says of it: named, located, nothing worse."""

import importlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from postil.data.files.sandbox import check_file, limits_in_force
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.errors import DataError
from tests.cli.conftest import Shell
from tests.data.files.office import FAR_CELL, write_docx, write_xlsx_parts, write_zip
from tools.fuzz.binary_workbooks import binary_workbook

Make = Callable[[Path], object]

GOOD = '{"question": "How long?", "answer": "Two days."}'
OTHER = '{"question": "Is it free?", "answer": "Yes, it is."}'
BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {later} "{f"&{one};" * 10}">' for one, later in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
LAUGHING_SHEET = (
    BILLION_LAUGHS + "<worksheet><sheetData>"
    '<row r="1"><c r="A1" t="inlineStr"><is><t>question</t></is></c></row>'
    '<row r="2"><c r="A2" t="inlineStr"><is><t>&i;</t></is></c></row></sheetData></worksheet>'
)


def text(content: str | bytes) -> Make:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def jsonl(line: str) -> Make:
    return text(f"{GOOD}\n{line}\n{OTHER}\n")


def json_list(item: str) -> Make:
    return text(f"[{GOOD},\n{item},\n{OTHER}]")


def far_binary_workbook(path: Path) -> None:
    if not limits_in_force()["memory"]:
        pytest.skip("this system cannot limit memory")
    path.write_bytes(binary_workbook({(0, 0): "question", (1_048_575, 16_383): "far"}))


def zip_bomb(path: Path) -> None:
    write_zip(path, {"[Content_Types].xml": "<Types/>", "xl/worksheets/sheet1.xml": b"<c/>" * 2_000_000})


def laughing_document(path: Path) -> None:
    write_docx(path, "")
    with zipfile.ZipFile(path) as archive:
        document = archive.read("word/document.xml").decode()
    body = document.replace("<w:body>", "<w:body><w:p><w:r><w:t>&i;</w:t></w:r></w:p>")
    write_zip(path, {"[Content_Types].xml": "<Types/>", "word/document.xml": BILLION_LAUGHS + body})


def workbook(*rows: tuple[object, ...]) -> Make:
    def make(path: Path) -> None:
        book = openpyxl.Workbook()
        for row in (("question", "answer", "order"), *rows):
            book.active.append(row)
        book.save(path)

    return make


# name of the file, how it is made, exit code, problem, severity, sheet, row, rows kept
BAD_INPUTS: dict[str, tuple[str, Make, int, str, str, str | None, int, int]] = {
    "far cell": (
        *("a.xlsx", lambda path: write_xlsx_parts(path, FAR_CELL)),
        *(65, "far_cell", "warning", "S", 1_048_576, 0),
    ),
    "far cell under an old name": (
        *("a.xls", lambda path: write_xlsx_parts(path, FAR_CELL)),
        *(65, "far_cell", "warning", "S", 1_048_576, 0),
    ),
    "far cell, binary workbook": ("a.xlsb", far_binary_workbook, 65, "unreadable", "error", "S", 0, 0),
    "zip bomb": ("a.xlsx", zip_bomb, 65, "unreadable", "error", None, 0, 0),
    "zip bomb, plain archive": (
        *("a.zip", lambda path: write_zip(path, {"a.csv": bytes(10 << 20)})),
        *(65, "unreadable", "error", None, 0, 0),
    ),
    "billion laughs in a sheet": (
        *("a.xlsx", lambda path: write_xlsx_parts(path, LAUGHING_SHEET)),
        *(65, "broken_sheet", "error", "S", 2, 0),
    ),
    "billion laughs in a document": ("a.docx", laughing_document, 65, "unreadable", "error", None, 0, 0),
    "NUL": ("a.csv", text(b"question,answer\nq,a\0b\nr,c\n"), 65, "nul_character", "error", None, 2, 1),
    "field too long": (
        *("a.csv", text("question,answer\nq," + "x" * 1_000_001 + "\nr,c\n")),
        *(65, "cell_too_long", "error", None, 2, 1),
    ),
    "unclosed quote": (
        *("a.csv", text('question,answer\nq,a\nr,"open\ns,c\nt,d\n')),
        *(65, "broken_csv", "error", None, 3, 3),
    ),
    "depth bomb": ("a.json", text("[" * 200_000 + "]" * 200_000), 65, "json_too_deep", "error", None, 1, 0),
    "depth bomb in a line": (
        *("a.jsonl", jsonl(f'{{"question": {"[" * 100_000}{"]" * 100_000}, "answer": "a"}}')),
        *(65, "json_too_deep", "error", None, 2, 2),
    ),
    "NaN": ("a.jsonl", jsonl('{"question": "q", "answer": NaN}'), 65, "json_not_a_number", "error", None, 2, 2),
    "lone surrogate": (
        *("a.jsonl", jsonl('{"question": "q", "answer": "a\\ud83d"}')),
        *(65, "json_lone_surrogate", "error", None, 2, 2),
    ),
    "trailing comma": (
        *("a.json", json_list('{"question": "q", "answer": "a",}')),
        *(65, "json_comma_too_many", "error", None, 2, 2),
    ),
    "single quotes": (
        *("a.jsonl", jsonl("{'question': 'q', 'answer': 'a'}")),
        *(65, "json_single_quotes", "error", None, 2, 2),
    ),
    "duplicate keys": (
        *("a.json", json_list('{"question": "q", "answer": "a", "answer": "b"}')),
        *(0, "duplicate_keys", "warning", None, 2, 3),
    ),
    "broken JSON in the middle": (
        *("a.json", json_list('{"question": "q", "answer": }')),
        *(65, "broken_json", "error", None, 2, 2),
    ),
    "unfinished line in the middle": (
        *("a.jsonl", jsonl('{"question": "q", "ans')),
        *(65, "json_unfinished", "error", None, 2, 2),
    ),
    "long number": (
        *("a.xlsx", workbook(("q", "a", 1234567890123456789), ("r", "b", 7))),
        *(0, "lost_precision", "warning", "Sheet", 2, 2),
    ),
    "formula that was never calculated": (
        *("a.xlsx", workbook(("q", '=A1&"x"', 1), ("r", "b", 2))),
        *(65, "formula_not_calculated", "error", "Sheet", 2, 1),
    ),
    "error value": ("a.xlsx", workbook(("q", "#N/A", 1), ("r", "b", 2)), 0, "cell_error", "warning", "Sheet", 2, 2),
    "missing": ("a.csv", lambda path: None, 66, "unreadable", "error", None, 0, 0),
    "empty": ("a.jsonl", text(""), 65, "unreadable", "error", None, 0, 0),
    "binary": ("a.csv", text(bytes(range(256))), 65, "unreadable", "error", None, 0, 0),
    "no answer column": (
        *("a.csv", text("question,price\nHow much is it?,5\nAnd that?,7\n")),
        *(65, "no_answer_column", "error", None, 0, 0),
    ),
}


# Every row of the design's table of bad inputs, and what proves it: cases above, or tests by module and name.
DESIGNED: dict[str, tuple[str, ...]] = {
    "cell at XFD1048576": ("far cell", "far cell under an old name", "far cell, binary workbook"),
    "zip bomb": ("zip bomb", "zip bomb, plain archive", "tests.data.files.test_archives:test_bombs_are_not_opened"),
    "billion laughs": ("billion laughs in a sheet", "billion laughs in a document"),
    "NUL in csv": ("NUL", "tests.data.files.test_tables:test_nul_characters_are_named"),
    "long field, endless line": (
        *("field too long", "tests.data.files.test_tables:test_a_line_without_end_is_read_in_pieces"),
    ),
    "unclosed quote": ("unclosed quote", "tests.data.files.test_tables:test_a_broken_quote_costs_one_row_not_the_rest"),
    "JSON depth bomb": ("depth bomb", "depth bomb in a line"),
    "NaN, lone surrogate, BOM, trailing comma, single quotes": (
        *("NaN", "lone surrogate", "trailing comma", "single quotes"),
        "tests.data.test_bad_inputs:test_marks_of_byte_order_say_nothing",
    ),
    "duplicate JSON keys": ("duplicate keys",),
    "19-digit ids": (
        "long number",
        "tests.data.files.test_workbooks:test_numbers_that_lost_digits_are_named_once_per_column",
    ),
    "formulas without cached value": ("formula that was never calculated",),
    "#N/A cells": ("error value",),
    "CSV injection": (
        "tests.data.test_formula_cells:test_no_cell_of_a_corrected_workbook_or_of_its_list_of_changes_is_a_formula",
        "tests.data.test_formula_cells:test_no_cell_of_a_corrected_table_is_a_formula",
        "tests.data.test_formula_cells:test_no_cell_of_the_list_of_problems_is_a_formula",
    ),
    "hostile file names": (
        "tests.data.test_hostile_names:test_a_file_of_any_name_is_checked_and_mended",
        "tests.data.test_hostile_names:test_members_that_lead_out_are_refused_and_none_garbles_the_screen",
        "tests.data.test_hostile_names:test_a_name_is_stored_on_every_system",
    ),
}


@pytest.mark.parametrize("row", DESIGNED)
def test_every_row_of_the_table_is_proved(row: str) -> None:
    for proof in DESIGNED[row]:
        module, _, name = proof.partition(":")
        assert callable(getattr(importlib.import_module(module), name)) if name else proof in BAD_INPUTS


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_a_bad_input_is_named_and_located_and_the_rest_is_kept(shell: Shell, tmp_path: Path, case: str) -> None:
    name, make, exit_code, code, severity, sheet, row, kept = BAD_INPUTS[case]
    make(tmp_path / name)
    found_code, out, _ = shell("check", name, "--json")
    report = json.loads(out)
    assert (found_code, report["exit_code"], report["kept"]) == (exit_code, exit_code, kept)
    assert report["records_in"] == report["kept"] + report["fixed"] + report["dropped"]
    (problem,) = (p for p in report["problems"] if p["code"] == code)
    found = [problem[key] for key in ("file", "severity", "sheet", "row")]
    assert found == [name, severity, sheet, row]
    assert problem["message"] and problem["hint"]
    # A person is told the same, and no other error.
    assert {p["code"] for p in report["problems"] if p["severity"] == "error"} <= {code, "no_answer_column"}
    told_code, out, err = shell("check", name)
    assert told_code == exit_code and (problem["message"] in out or name in err) and "Traceback" not in err


def test_a_child_reads_what_a_bad_sheet_leaves(tmp_path: Path) -> None:
    write_xlsx_parts(tmp_path / "a.xlsx", LAUGHING_SHEET)
    report = check_file(tmp_path / "a.xlsx")
    assert report["kept"] == 0 and report["dropped"] == report["records_in"] == 1
    (problem,) = (p for p in report["problems"] if p["code"] == "broken_sheet")
    assert (problem["sheet"], problem["row"]) == ("S", 2)


@pytest.mark.parametrize(
    ("case", "key"),
    [("zip bomb", "data.archive_too_big"), ("far cell, binary workbook", "data.reader_out_of_memory")],
)
def test_a_child_that_cannot_go_on_is_a_refusal(tmp_path: Path, case: str, key: str) -> None:
    name, make, *_ = BAD_INPUTS[case]
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        check_file(tmp_path / name)
    assert caught.value.key == key and name in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("NUL", ("NUL",)),
        ("unclosed quote", ("line 3",)),
        ("NaN", ("line 2", "NaN")),
        ("trailing comma", ("line 2", "comma too many")),
        ("single quotes", ("line 2", "single quotes")),
        ("broken JSON in the middle", ("line 2",)),
        ("duplicate keys", ("answer", "last")),
        ("long number", ("column C", "as text")),
        ("formula that was never calculated", ("never calculated", "answer")),
        ("error value", ("#N/A", "B2")),
        ("far cell", ("XFD1048576",)),
        ("field too long", ("million",)),
    ],
)
def test_what_is_said_names_the_fault(tmp_path: Path, case: str, words: tuple[str, ...]) -> None:
    name, make, _, code, *_ = BAD_INPUTS[case]
    make(tmp_path / name)
    report = validate_dataset(read_records(tmp_path / name))
    (problem,) = (p for p in report.problems if p.code == code)
    assert [word for word in words if word not in f"{problem.message} {problem.hint}"] == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_marks_of_byte_order_say_nothing(shell: Shell, tmp_path: Path, name: str) -> None:
    """One at the beginning, and one where two files were put together."""
    content = {
        ".jsonl": f"\ufeff{GOOD}\n\ufeff{OTHER}\n",
        ".json": f"\ufeff[{GOOD}, {OTHER}]",
        ".csv": "\ufeffquestion,answer\nHow long?,Two days.\nIs it free?,Yes.\n",
        ".txt": "\ufeffQ: How long?\nA: Two days.\n\nQ: Is it free?\nA: Yes, it is.\n",
    }[Path(name).suffix]
    text(content)(tmp_path / name)
    code, out, _ = shell("check", name, "--json")
    assert (code, json.loads(out)["kept"]) == (0, 2)
    questions = [c.question for c in validate_dataset(read_records(tmp_path / name)).conversations]
    assert questions == ["How long?", "Is it free?"]


def test_a_long_cell_within_the_limit_is_read_whole(tmp_path: Path) -> None:
    text("question,answer\nq," + "x" * 200_000 + "\n")(tmp_path / "a.csv")
    (conversation,) = validate_dataset(read_records(tmp_path / "a.csv")).conversations
    assert conversation.answer == "x" * 200_000


def test_an_output_that_exists_is_left_alone(shell: Shell, tmp_path: Path) -> None:
    text("question,answer\nq,a <b>x</b>\n")(tmp_path / "a.csv")
    text("mine")(tmp_path / "b.csv")
    assert shell("fix", "a.csv", "-o", "b.csv")[0] == 73
    assert shell("check", "a.csv", "--all", "b.csv")[0] == 73
    assert (tmp_path / "b.csv").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="a null device of another kind")
def test_what_is_no_file_is_not_waited_for(shell: Shell) -> None:
    assert shell("check", "/dev/null", "--json")[0] == 65
