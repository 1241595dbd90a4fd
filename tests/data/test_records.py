import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xlwt
from openpyxl import Workbook
from pyarrow import parquet

from postil.data.options import ReadOptions
from postil.data.records import Record, Records, read_records
from postil.errors import DataError, MissingInputError
from postil.problems import Problem
from tests.data.files.office import (
    FAR_CELL,
    paragraph,
    table,
    write_docx,
    write_ods,
    write_ole,
    write_xlsb,
    write_xlsx_parts,
    write_zip,
)

ROWS = [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]
TABLE = [["question", "answer"], ["q1", "a1"], ["q2", "a2"]]
LINES = "".join(json.dumps(r) + "\n" for r in ROWS)
CSV = "question,answer\nq1,a1\nq2,a2\n"
FAQ = "Q: How long does it take, roughly?\nA: Two days, sometimes three.\n\nQ: Is it free?\nA: Yes, it is.\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def fields_of(source: Path | Records) -> list[Any]:
    """Fields of the records, (code, row) of the problems."""
    records = source if isinstance(source, Records) else read_records(source)
    return [r.fields if isinstance(r, Record) else (r.code, r.place.row) for r in records]


def places_of(records: Records) -> list[tuple[str, int]]:
    return [(item.place.file, item.place.row) for item in records]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.jsonl", LINES, "jsonl"),
        ("a.json", LINES, "jsonl"),
        ("a.txt", LINES, "jsonl"),
        ("a.jsonl", json.dumps(ROWS, indent=2), "json"),
        ("a.json", json.dumps(ROWS), "json"),
        ("a.csv", json.dumps(ROWS), "json"),
        ("a.csv", CSV, "csv"),
        ("a.docx", CSV, "csv"),
        ("a.txt", "question\tanswer\nq1\ta1\nq2\ta2\n", "csv"),
        ("a.tsv", "question\tanswer\nq1\ta1\nq2\ta2\n", "csv"),
        ("a", "question;answer\nq1;a1\nq2;a2\n", "csv"),
        ("a.xlsx", CSV, "csv"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_content_decides_not_the_name(tmp_path: Path, name: str, text: str, kind: str, encoding: str) -> None:
    path = write(tmp_path / name, text, encoding)
    assert read_records(path).format == kind
    assert fields_of(path) == ROWS


def make(kind: str, path: Path) -> None:
    match kind:
        case "xlsx":
            book = Workbook()
            for row in TABLE:
                book.active.append(row)
            book.save(path)
        case "xls":
            old = xlwt.Workbook()
            sheet = old.add_sheet("S")
            for number, row in enumerate(TABLE):
                for column, text in enumerate(row):
                    sheet.write(number, column, text)
            old.save(str(path))
        case "xlsb":
            write_xlsb(path, TABLE)
        case "ods":
            write_ods(path, {"S": TABLE})
        case "docx":
            write_docx(path, table(TABLE))
        case "parquet":
            parquet.write_table(pa.Table.from_pylist(ROWS), path)


KINDS = ["xlsx", "xls", "xlsb", "ods", "docx", "parquet"]


OTHER_NAMES = [("xlsx", "xls"), ("xlsx", "zip"), ("xls", "xlsx"), ("docx", "zip"), ("ods", "csv")]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *((kind, kind) for kind in KINDS),
        ("xlsx", "xls"),
        ("xlsx", "zip"),
        ("xls", "xlsx"),
        ("docx", "zip"),
        ("ods", "csv"),
    ],
)
def test_every_kind_opens_under_any_name(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    make(kind, tmp_path / "made")
    shutil.move(tmp_path / "made", path)
    records = read_records(path)
    assert (records.format, records.files) == (kind, (path.name,))
    assert [r.fields for r in records if isinstance(r, Record)] == ROWS
    assert {item.place.file for item in records} == {path.name}


@pytest.mark.parametrize("name", ["faq.txt", "faq.md", "faq", "faq.csv", "faq.json"])
def test_a_text_of_questions_is_no_table_for_its_commas(tmp_path: Path, name: str) -> None:
    records = read_records(write(tmp_path / name, FAQ))
    assert records.format == ("md" if name.endswith(".md") else "txt")
    assert [r.fields["question"] for r in records if isinstance(r, Record)] == [
        "How long does it take, roughly?",
        "Is it free?",
    ]


def test_a_table_without_known_names_is_no_text(tmp_path: Path) -> None:
    rows = "".join(f"How do I order item {i}?,Press the button {i}\n" for i in range(20))
    assert read_records(write(tmp_path / "a.txt", rows)).format == "csv"
    assert read_records(write(tmp_path / "b.txt", rows.replace(",", "\t"))).format == "csv"


def test_a_line_longer_than_any_text_should_be_is_no_matter_of_the_format(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", json.dumps({"question": "q", "answer": "a" * 900_000, "n": " " * 500_000}) + "\n" + LINES
    )
    records = read_records(path)
    assert records.format == "jsonl" and sum(isinstance(item, Record) for item in records) == 3


def test_prose_is_read_as_text_and_says_that_it_has_no_questions(tmp_path: Path) -> None:
    prose = (
        "We are a small shop, and we sell tea.\nOur tea, which is green, comes from the hills.\nCome, and see.\n" * 3
    )
    records = read_records(write(tmp_path / "a.txt", prose))
    assert records.format == "txt"
    assert [p.severity for p in records if isinstance(p, Problem)] == ["error"]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_object_is_one_record(tmp_path: Path, indent: int | None) -> None:
    path = write(tmp_path / "a.json", json.dumps(ROWS[0], indent=indent))
    assert read_records(path).format == "json"
    assert fields_of(path) == ROWS[:1]


@pytest.mark.parametrize("kind", ["xls", "docx", "parquet", "zip", "folder"])
def test_records_can_be_iterated_twice(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "zip":
        write_zip(path, {"a.csv": CSV})
    elif kind == "folder":
        write(path / "a.csv", CSV)
    else:
        make(kind, path)
    records = read_records(path)
    assert list(records) == list(records) != []


def test_a_broken_line_is_located_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", LINES + "\n{'question': \n" + '["no object"]\n' + LINES)
    found = fields_of(path)
    assert [item for item in found if item in ROWS] == [*ROWS, *ROWS]
    assert {item[1] for item in found if isinstance(item, tuple)} == {4, 5}


def test_a_broken_first_line_does_not_hide_the_rest(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json"):
        problem, *rows = fields_of(write(tmp_path / name, '{"question": "q0",\n' + LINES))
        assert problem[1] == 1 and rows == ROWS


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"answer": 3.10, "question": 12345678901234567890123}\n' + LINES)
    fields = fields_of(path)[0]
    assert (str(fields["answer"]), str(fields["question"])) == ("3.10", "12345678901234567890123")


@pytest.mark.parametrize(
    ("name", "data", "key"),
    [
        ("a.jsonl", b"", "data.empty_file"),
        ("a.jsonl", b" \n\n\t\n", "data.empty_file"),
        ("a.txt", b"\n" * 100_000, "data.empty_file"),
        ("a.csv", b"\xef\xbb\xbf", "data.empty_file"),
        ("a.xlsx", b"PK\x03\x04 no archive", "data.broken_archive"),
        ("a.docx", b"PK\x03\x04", "data.broken_archive"),
        ("a.zip", b"PK\x05\x06" + bytes(18), "data.empty_folder"),
        ("a.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "data.broken_workbook"),
        ("a.parquet", b"PAR1PAR1", "data.broken_parquet"),
        ("a.jsonl", bytes(range(256)), "data.binary"),
        ("a.pdf", b"%PDF-1.7\n", "data.unsupported_kind"),
        ("a.doc", b"{\\rtf1 text}", "data.unsupported_kind"),
        ("a.xls", b"<html><table><tr><td>question</td></tr></table></html>", "data.web_page"),
        ("a.xls", '<?xml version="1.0"?><Workbook/>'.encode("utf-16"), "data.web_page"),
        ("a.gz", b"\x1f\x8b\x08\x00", "data.unsupported_kind"),
    ],
)
def test_files_that_cannot_be_read_say_so(tmp_path: Path, name: str, data: bytes, key: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert caught.value.key == key
    assert str(path) in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("streams", "key", "words"),
    [
        (["EncryptionInfo", "EncryptedPackage"], "data.password_protected", "protected by a password"),
        (["WordDocument"], "data.old_document", ".docx"),
        (["PowerPoint Document"], "data.unsupported_kind", "PowerPoint"),
    ],
)
def test_other_office_files_say_what_to_do(tmp_path: Path, streams: list[str], key: str, words: str) -> None:
    path = write_ole(tmp_path / "a.xlsx", *streams)
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert caught.value.key == key and words in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_refused_or_located(tmp_path: Path, kind: str) -> None:
    make(kind, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    path = tmp_path / f"a.{kind}"
    for size in (1, 9, 100, len(data) // 2):
        path.write_bytes(data[:size])
        # One byte may even be text; whatever it is taken for, it is said.
        found = _entries_or_error(path)
        assert any(isinstance(i, DataError) or (isinstance(i, Problem) and i.severity == "error") for i in found), size


def _entries_or_error(path: Path) -> list[Record | Problem | DataError]:
    try:
        return list(read_records(path))
    except DataError as error:
        return [error]


def test_the_far_cell_harms_neither_way_of_reading(tmp_path: Path) -> None:
    for name in ("a.xlsx", "a.xls"):
        write_xlsx_parts(tmp_path / name, FAR_CELL)
        assert all(isinstance(item, Problem | Record) for item in read_records(tmp_path / name))


def test_a_document_is_read_in_order_and_whole(tmp_path: Path) -> None:
    body = paragraph("Q: first?") + paragraph("A: one") + table(TABLE) + paragraph("Q: last?") + paragraph("A: two")
    records = read_records(write_docx(tmp_path / "a.docx", body))
    assert records.sheets == ("Table 1",)
    assert [r.fields["question"] for r in records if isinstance(r, Record)] == ["first?", "q1", "q2", "last?"]
    assert [(i.place.sheet, i.place.row) for i in records if isinstance(i, Record)] == [
        (None, 1),
        ("Table 1", 2),
        ("Table 1", 3),
        (None, 3),
    ]


def test_a_description_beside_tables_is_named(tmp_path: Path) -> None:
    body = paragraph("Our shop") + paragraph("The table was made in May.") + table(TABLE)
    found = fields_of(write_docx(tmp_path / "a.docx", body))
    assert found[0] == ("text_beside_tables", 1) and found[-2:] == ROWS


def test_an_empty_document_is_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        read_records(write_docx(tmp_path / "a.docx", "<w:p/>"))


def test_an_uncertain_encoding_is_a_warning_unless_it_was_named(tmp_path: Path) -> None:
    row = {"question": "Un café crème ?", "answer": "Déjà servi"}
    path = write(tmp_path / "a.csv", "question,answer\nUn café crème ?,Déjà servi\n", "latin-1")
    assert fields_of(path) == [("encoding_guessed", 0), row]
    assert fields_of(read_records(path, ReadOptions(encoding="latin-1"))) == [row]


def test_the_named_encoding_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question,answer\nà,é\n", "latin-1")
    assert read_records(path, ReadOptions(encoding="cp1251")).encoding == "cp1251"
    with pytest.raises(DataError) as caught:
        read_records(path, ReadOptions(encoding="utf-8"))
    assert caught.value.key == "data.other_encoding"


def test_a_table_may_begin_with_a_bracket(tmp_path: Path) -> None:
    assert read_records(write(tmp_path / "a.csv", "[draft],question,answer\nx,q,a\n")).format == "csv"
    assert read_records(write(tmp_path / "b.csv", "[draft],text\nx,q\n")).format == "csv"


@pytest.fixture
def mixed(tmp_path: Path) -> dict[str, bytes]:
    """Files by name, as a user might keep them together."""
    make("xls", tmp_path / "old")
    return {
        "b/faq.txt": FAQ.encode(),
        "a.csv": CSV.encode("utf-16"),
        "b/old.xls": (tmp_path / "old").read_bytes(),
        "c.jsonl": LINES.encode() + b"oops\n",
        "logo.png": b"\x89PNG\r\n\x1a\n",
        ".draft.csv": CSV.encode(),
        ".DS_Store": b"\x00\x01",
        "__MACOSX/._a.csv": b"\x00\x01",
        "~$old.xls": b"\x00\x01",
    }


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_many_files_are_read_as_one(tmp_path: Path, mixed: dict[str, bytes], kind: str) -> None:
    source = tmp_path / "source"
    if kind == "zip":
        write_zip(source, mixed)
    else:
        for name, data in mixed.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    records = read_records(source)
    assert (records.format, records.path, records.name) == (kind, source, "source")
    assert records.files == ("a.csv", "b/faq.txt", "b/old.xls", "c.jsonl")
    found = list(records)
    per_file = {name: sum(isinstance(i, Record) and i.place.file == name for i in found) for name in records.files}
    assert per_file == {"a.csv": 2, "b/faq.txt": 2, "b/old.xls": 2, "c.jsonl": 2}
    problems = {(p.place.file, p.code) for p in found if isinstance(p, Problem) and p.place.file not in records.files}
    assert problems == {(".draft.csv", "hidden_file"), ("logo.png", "unreadable")}
    (picture,) = (p for p in found if p.place.file == "logo.png")
    assert isinstance(picture, Problem) and "PNG" in picture.message and str(tmp_path) not in picture.message
    (broken,) = (p for p in found if isinstance(p, Problem) and p.place.file == "c.jsonl")
    assert broken.place.row == 3 and all(place.file == "c.jsonl" for place in (broken.fix.places if broken.fix else ()))


def test_a_zip_in_a_zip_is_refused_by_name_and_one_in_a_folder_is_read(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "in" / "inner.zip" if (tmp_path / "in").mkdir() is None else tmp_path, {"a.csv": CSV})
    outer = write_zip(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes(), "a.csv": CSV})
    problem = next(item for item in read_records(outer) if isinstance(item, Problem))
    assert (problem.code, problem.place.file) == ("nested_archive", "inner.zip")
    assert places_of(read_records(tmp_path / "in")) == [("inner.zip/a.csv", 2), ("inner.zip/a.csv", 3)]


def test_a_workbook_in_a_zip_is_a_member(tmp_path: Path) -> None:
    make("xlsx", tmp_path / "made")
    records = read_records(write_zip(tmp_path / "a.zip", {"表格.xlsx": (tmp_path / "made").read_bytes()}))
    assert places_of(records) == [("表格.xlsx", 2), ("表格.xlsx", 3)]


def test_chats_in_a_folder_name_the_file_in_every_turn(tmp_path: Path) -> None:
    write(tmp_path / "all" / "in" / "chat.txt", "User: hi\nAI: hello\nUser: how?\nAI: so\n")
    (chat,) = (r for r in read_records(tmp_path / "all") if isinstance(r, Record))
    assert {turn.place.file for turn in chat.turns if turn.place} == {"in/chat.txt"} and chat.turns


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_names_that_are_no_utf8_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode("常见问题.csv".encode("gb18030"))).write_text(CSV)
    assert read_records(tmp_path).files == ("常见问题.csv",)
    (path,) = tmp_path.iterdir()
    assert read_records(path).name == "常见问题.csv"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[2024-01-01 10:00] 用户: 你好，在吗\n[2024-01-01 10:01] 客服: 您好，在的\n" * 3, "txt"),
        ("【问】怎么退货？\n【答】七天内，联系客服。\n【问】包邮吗？\n【答】包邮。\n", "txt"),
        ("1. How do I pay, please?\nBy card, or cash.\n\n2. Do you ship, too?\nYes, we do.\n\n3. Free?\nNo.\n", "txt"),
        ("| question | answer |\n| --- | --- |\n| q1 | a1 |\n| q2 | a2 |\n", "txt"),
        ("question|answer\nq1|a1\nq2|a2\n", "csv"),
        ("user,hello there\nassistant,good morning\nuser,bye\nassistant,bye\n", "csv"),
    ],
)
def test_what_only_looks_like_something_else(tmp_path: Path, text: str, kind: str) -> None:
    assert read_records(write(tmp_path / "a.txt", text)).format == kind


def test_folders_without_a_file_to_read(tmp_path: Path) -> None:
    write(tmp_path / ".hidden", CSV)
    with pytest.raises(DataError) as caught:
        read_records(tmp_path)
    assert caught.value.key == "data.empty_folder"


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.data.records.MAX_FOLDER_FILES", 2)
    for name in "abc":
        write(tmp_path / name, CSV)
    with pytest.raises(DataError, match="more than 2 files"):
        read_records(tmp_path)


def test_what_was_unpacked_goes_with_the_records(tmp_path: Path) -> None:
    records = read_records(write_zip(tmp_path / "a.zip", {"a.csv": CSV}))
    (member,) = records.members
    assert isinstance(member, Records) and member.path.exists()
    unpacked = member.path
    del records, member
    assert not unpacked.exists()


def from_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Records:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    return read_records(Path("-"))


def test_the_standard_input_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = from_stdin(monkeypatch, CSV.encode())
    assert (records.format, records.name) == ("csv", "stdin")
    assert fields_of(records) == ROWS and places_of(records) == [("stdin", 2), ("stdin", 3)]
    make("xls", tmp_path / "made")
    assert from_stdin(monkeypatch, (tmp_path / "made").read_bytes()).format == "xls"
    with pytest.raises(DataError) as caught:
        from_stdin(monkeypatch, b"")
    assert caught.value.message == "stdin is empty."
    monkeypatch.setattr("postil.data.records.MAX_STDIN_BYTES", 10)
    with pytest.raises(DataError) as caught:
        from_stdin(monkeypatch, CSV.encode())
    assert caught.value.key == "data.stdin_too_big"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="ordinary file"):
        read_records(tmp_path / "pipe")
    (problem,) = read_records(tmp_path)
    assert isinstance(problem, Problem) and problem.place.file == "pipe"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no file"):
        read_records(tmp_path / "none.csv")


def test_a_file_that_goes_away_while_it_is_read_is_a_problem(tmp_path: Path) -> None:
    records = read_records(write(tmp_path / "a.csv", CSV))
    (tmp_path / "a.csv").unlink()
    (problem,) = records
    assert isinstance(problem, Problem) and problem.code == "unreadable" and "a.csv" in problem.message


def test_reading_data_needs_no_torch() -> None:
    code = (
        "import sys, postil.data.validation, postil.data.splits;"
        "print([m for m in ('torch', 'transformers', 'peft', 'datasets', 'openpyxl', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
