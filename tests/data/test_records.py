import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from postil.data.records import Record, read_records
from postil.errors import DataError, MissingInputError
from postil.problems import Problem

ROWS = [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]
LINES = "".join(json.dumps(r) + "\n" for r in ROWS)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def fields_of(path: Path) -> list[Any]:
    return [r.fields if isinstance(r, Record) else (r.code, r.place.row) for r in read_records(path)]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.jsonl", LINES, "jsonl"),
        ("a.json", LINES, "jsonl"),
        ("a.txt", LINES, "jsonl"),
        ("a.jsonl", json.dumps(ROWS, indent=2), "json"),
        ("a.json", json.dumps(ROWS), "json"),
        ("a.csv", json.dumps(ROWS), "json"),
        ("a.csv", "question,answer\nq1,a1\nq2,a2\n", "csv"),
        ("a.txt", "question\tanswer\nq1\ta1\nq2\ta2\n", "csv"),
        ("a.xlsx", "question,answer\nq1,a1\nq2,a2\n", "csv"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_content_decides_not_the_name(tmp_path: Path, name: str, text: str, kind: str, encoding: str) -> None:
    path = write(tmp_path / name, text, encoding)
    assert read_records(path).format == kind
    assert fields_of(path) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_object_is_one_record(tmp_path: Path, indent: int | None) -> None:
    path = write(tmp_path / "a.json", json.dumps(ROWS[0], indent=indent))
    assert read_records(path).format == "json"
    assert fields_of(path) == ROWS[:1]


def test_records_can_be_iterated_twice(tmp_path: Path) -> None:
    records = read_records(write(tmp_path / "a.jsonl", LINES))
    assert list(records) == list(records)


def test_a_broken_line_is_located_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", LINES + "\n{'question': 'q3'}\n" + '["no object"]\n' + LINES)
    assert fields_of(path) == [*ROWS, ("broken_json", 4), ("not_an_object", 5), *ROWS]


@pytest.mark.parametrize(
    "line", ['{"a": NaN}', '{"a": "\\ud800"}', '{"a": 1,}', '{"a": 1} {"b": 2}', "[" * 100_000, '{"a": "x\ty"}', "oops"]
)
def test_every_kind_of_broken_line_is_a_problem(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.jsonl", f"{LINES}{line}\n{LINES}")
    assert fields_of(path) == [*ROWS, ("broken_json", 3), *ROWS]


def test_a_broken_first_line_does_not_hide_the_rest(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json"):
        assert fields_of(write(tmp_path / name, '{"question": "q0",\n' + LINES)) == [("broken_json", 1), *ROWS]


def test_a_broken_array_is_one_problem_with_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[\n  {"question": "q1", "answer": "a1"},\n  {"question": "q2" "answer": 1}\n]')
    (problem,) = read_records(path)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.values) == ("broken_json", {"line": 3, "column": 21})
    assert "q2" in problem.excerpt and "line 3" in problem.message


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"answer": 3.10, "question": 12345678901234567890123}\n')
    (fields,) = fields_of(path)
    assert (str(fields["answer"]), str(fields["question"])) == ("3.10", "12345678901234567890123")


def test_a_table_row_that_is_too_wide_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question,answer\nq1,well, it depends\n\nq2,a2,,\nq3\n")
    assert fields_of(path) == [
        ("too_many_cells", 2),
        {"question": "q2", "answer": "a2"},
        {"question": "q3", "answer": ""},
    ]


def test_notes_beside_a_sheet_are_extra_columns(tmp_path: Path) -> None:
    book = Workbook()
    book.active.append(["question", "answer"])
    book.active.append(["q", "a", None, "a note"])
    book.save(tmp_path / "a.xlsx")
    assert fields_of(tmp_path / "a.xlsx") == [{"question": "q", "answer": "a"}]


def test_a_repeated_header_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question,answer,answer,,\nq,a,b,c,\n")
    assert fields_of(path)[0] == ("repeated_column", 1)
    assert fields_of(path)[1] == {"question": "q", "answer": "a", "answer (3)": "b"}


@pytest.mark.parametrize(
    ("name", "data", "key"),
    [
        ("a.jsonl", b"", "data.empty_file"),
        ("a.jsonl", b" \n\n\t\n", "data.empty_file"),
        ("a.csv", b"\xef\xbb\xbf", "data.empty_file"),
        ("a.xlsx", b"PK\x03\x04 no archive", "data.broken_workbook"),
        ("a.docx", b"PK\x03\x04", "data.unsupported_kind"),
        ("a.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "data.old_workbook"),
        ("a.txt", b"Q: how?\nA: so.\n", "data.unsupported_kind"),
        ("a.jsonl", bytes(range(256)), "data.binary"),
    ],
)
def test_files_that_cannot_be_read_say_so(tmp_path: Path, name: str, data: bytes, key: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert caught.value.key == key
    assert str(path) in caught.value.message and caught.value.hint


def test_an_uncertain_encoding_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question,answer\nUn café crème ?,Déjà servi\n", "latin-1")
    assert fields_of(path) == [("encoding_guessed", 0), {"question": "Un café crème ?", "answer": "Déjà servi"}]


def test_a_table_may_begin_with_a_bracket(tmp_path: Path) -> None:
    assert read_records(write(tmp_path / "a.csv", "[draft],question,answer\nx,q,a\n")).format == "csv"
    assert read_records(write(tmp_path / "b.csv", "[draft],text\nx,q\n")).format == "csv"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="ordinary file"):
        read_records(tmp_path / "pipe")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no file"):
        read_records(tmp_path / "none.csv")
    with pytest.raises(DataError, match="folder"):
        read_records(tmp_path)


def test_reading_data_needs_no_torch() -> None:
    code = (
        "import sys, postil.data.validation, postil.data.splits;"
        "print([m for m in ('torch', 'transformers', 'peft', 'datasets', 'openpyxl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
