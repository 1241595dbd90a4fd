import datetime
from pathlib import Path

import pytest
import xlwt

from postil.data.files.old_workbooks import SheetNames, old_workbook_sheets, ole_kind, read_old_workbook
from postil.data.files.tables import Row
from postil.errors import DataError
from postil.problems import Problem
from tests.data.files.office import FAR_CELL, write_ods, write_ole, write_xlsb, write_xlsx_parts

ROWS = [["question", "answer"], ["怎么退货？", "七天内"], ["How long?", "two\ndays"]]


def cells(path: Path, *sheets: str) -> list[tuple[int, ...] | tuple[str, ...]]:
    return [(row.number, *row.cells) for _, row in read_old_workbook(path, sheets) if isinstance(row, Row)]


def write_xls(path: Path) -> Path:
    book = xlwt.Workbook()
    sheet = book.add_sheet("问答")
    for number, row in enumerate(ROWS, start=2):
        for column, text in enumerate(row, start=1):
            sheet.write(number, column, text)
    hidden = book.add_sheet("draft")
    hidden.visibility = 1
    hidden.write(0, 0, "x")
    values = book.add_sheet("values")
    values.write(0, 0, 12.0)
    values.write(1, 0, 3.25)
    values.write(2, 0, True)
    values.write(3, 0, datetime.datetime(2024, 1, 2), xlwt.easyxf(num_format_str="yyyy-mm-dd"))
    values.write(4, 0, 12345678901234567.0)
    values.write(5, 0, 23456789012345678.0)
    merged = book.add_sheet("merged")
    merged.write_merge(0, 2, 0, 0, "chat 1")
    merged.write_merge(3, 3, 0, 1, "wide")
    for number in range(3):
        merged.write(number, 1, str(number))
    book.save(str(path))
    return path


def test_xls_rows_stand_where_excel_shows_them(tmp_path: Path) -> None:
    path = write_xls(tmp_path / "a.xls")
    assert old_workbook_sheets(path) == SheetNames(("问答", "values", "merged"), ("draft",))
    assert cells(path, "问答") == [(n, "", *row) for n, row in enumerate(ROWS, start=3)]


def test_values_become_text(tmp_path: Path) -> None:
    found = [item for _, item in read_old_workbook(write_xls(tmp_path / "a.xls"), ["values"])]
    assert [r.cells[0] for r in found if isinstance(r, Row)][:4] == ["12", "3.25", "TRUE", "2024-01-02"]
    (problem,) = (p for p in found if isinstance(p, Problem))
    assert (problem.code, problem.place.row, problem.column) == ("lost_precision", 5, "A")
    assert problem.values["count"] == 2


def test_merged_cells_are_filled(tmp_path: Path) -> None:
    rows = [row for _, row in read_old_workbook(write_xls(tmp_path / "a.xls"), ["merged"]) if isinstance(row, Row)]
    assert [row.cells for row in rows] == [("chat 1", "0"), ("chat 1", "1"), ("chat 1", "2"), ("wide", "wide")]
    assert [row.continued for row in rows] == [(), (0,), (0,), ()]
    assert rows[3].spread == (1,)


def test_ods_and_xlsb(tmp_path: Path) -> None:
    sheets = {"One": [*ROWS[:2], [], ROWS[2]], "Off": [["x"]], "Two": [["y"]]}
    ods = write_ods(tmp_path / "a.ods", sheets, hidden=["Off"])
    assert old_workbook_sheets(ods) == SheetNames(("One", "Two"), ("Off",))
    assert cells(ods, "One", "Two") == [(1, *ROWS[0]), (2, *ROWS[1]), (4, "How long?", "two\ndays"), (1, "y")]
    xlsb = write_xlsb(tmp_path / "a.xlsb", ROWS)
    assert old_workbook_sheets(xlsb) == SheetNames(("S",), ())
    assert cells(xlsb, "S") == [(n, *row) for n, row in enumerate(ROWS, start=1)]


def test_a_sheet_that_kills_its_reader_is_a_problem(tmp_path: Path) -> None:
    """The workbook of 2 KB that aborts the process that opens it; here it aborts the child."""
    path = write_xlsx_parts(tmp_path / "bomb.xls", FAR_CELL)
    ((sheet, problem),) = read_old_workbook(path, ["S"])
    assert isinstance(problem, Problem)
    assert (sheet, problem.code, problem.severity, problem.place.sheet) == ("S", "unreadable", "error", "S")
    assert "memory" in problem.message and "bomb.xls" in problem.message and str(tmp_path) not in problem.message
    assert "stray cell" in problem.hint


def test_sheets_after_a_deadly_one_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die_on_b(job: str, arguments: dict[str, object]) -> object:
        for title in arguments["only"]:  # type: ignore[attr-defined]
            yield {"sheet": title, "merged": []}
            if title == "b":
                raise DataError("data.reader_died", path="p", reason="SIGSEGV")
            yield {"rows": [(1, [title])]}

    monkeypatch.setattr("postil.data.files.old_workbooks.run_in_child", die_on_b)
    found = list(read_old_workbook(tmp_path / "a.xls", ["a", "b", "c"]))
    assert [(title, getattr(item, "code", "row")) for title, item in found] == [
        ("a", "row"),
        ("b", "unreadable"),
        ("c", "row"),
    ]


@pytest.mark.parametrize(
    ("streams", "kind"),
    [
        (("Workbook",), "xls"),
        (("EncryptionInfo", "EncryptedPackage"), "password"),
        (("WordDocument",), "doc"),
        (("PowerPoint Document",), "ppt"),
        ((), "unknown"),
    ],
)
def test_ole_files_are_known_by_their_streams(tmp_path: Path, streams: tuple[str, ...], kind: str) -> None:
    assert ole_kind(write_ole(tmp_path / "a", *streams)) == kind


def test_a_real_xls_is_an_xls(tmp_path: Path) -> None:
    assert ole_kind(write_xls(tmp_path / "a")) == "xls"


@pytest.mark.parametrize("size", [8, 100, 511, 600, 1100])
def test_truncated_ole_files_are_unknown(tmp_path: Path, size: int) -> None:
    path = write_xls(tmp_path / "a.xls")
    path.write_bytes(path.read_bytes()[:size])
    assert ole_kind(path) == "unknown"


def test_a_circle_of_sectors_ends(tmp_path: Path) -> None:
    path = write_ole(tmp_path / "a")
    data = bytearray(path.read_bytes())
    data[512 + 4 : 512 + 8] = (1).to_bytes(4, "little")
    path.write_bytes(data)
    assert ole_kind(path) == "unknown"


def test_a_damaged_workbook_says_so(tmp_path: Path) -> None:
    path = write_xls(tmp_path / "a.xls")
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(DataError) as caught:
        old_workbook_sheets(path)
    assert caught.value.key == "data.broken_workbook"
