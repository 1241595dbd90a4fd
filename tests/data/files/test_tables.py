from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from postil.data.files import tables
from postil.data.files.tables import Row, cell_text, find_delimiter, read_csv_rows, read_sheet_rows, workbook_sheets
from postil.errors import DataError
from postil.problems import Problem


def rows_of(path: Path, delimiter: str = ",") -> list[tuple[int, tuple[str, ...]] | str]:
    return [r.code if isinstance(r, Problem) else (r.number, r.cells) for r in read_csv_rows(path, "utf-8", delimiter)]


def test_rows_have_their_first_physical_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'q,a\r\n1,"x\r\ny\r\nz"\r\n\r\n2,00000\r\n')
    assert rows_of(path) == [(1, ("q", "a")), (2, ("1", "x\r\ny\r\nz")), (5, ()), (6, ("2", "00000"))]


@pytest.mark.parametrize("broken", ['2,"never closed', '2,"closed" too early'])
def test_a_broken_quote_costs_one_row_not_the_rest(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"q,a\n1,x\n{broken}\n3,y\n4,z\n")
    assert rows_of(path) == [(1, ("q", "a")), (2, ("1", "x")), "broken_csv", (4, ("3", "y")), (5, ("4", "z"))]


def test_a_broken_quote_before_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('q,a\n1,"open\n2,x\n3,"good, quoted"\n4,y\n')
    problems = [r for r in read_csv_rows(path, "utf-8", ",") if isinstance(r, Problem)]
    assert [p.place.row for p in problems] == [2]
    assert rows_of(path)[-2:] == [(4, ("3", "good, quoted")), (5, ("4", "y"))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found_by_the_header(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"问题{delimiter}答案\na, b; c{delimiter}d, e; f\n", encoding="utf-8")
    assert find_delimiter(path, "utf-8") == (delimiter, True)


def test_delimiter_without_known_columns_is_the_most_even(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("one;two\n1, 2;3\n4;5\n")
    assert find_delimiter(path, "utf-8") == (";", False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("00123", "00123"),
        (7, "7"),
        (7.0, "7"),
        (0.1 + 0.2, "0.3"),
        (3.3, "3.3"),
        (True, "TRUE"),
        (datetime(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 9, 30), "2024-05-01 09:30:00"),
        (date(2024, 5, 1), "2024-05-01"),
        (time(10, 30), "10:30:00"),
        ("a_x000D_\nb", "a\r\nb"),
        ("#N/A", "#N/A"),
        (" keep \n spaces ", " keep \n spaces "),
    ],
)
def test_cells_are_text(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_every_visible_sheet_is_read_at_its_true_rows(tmp_path: Path, save: Callable[[Workbook], Path]) -> None:
    book = Workbook()
    first = book.active
    first.title = "一月"
    first["A1"], first["B1"], first["A4"], first["B4"] = "问题", "答案", "q4", "a4"
    second = book.create_sheet("二月")
    second.append(["q", "a"])
    book.create_sheet("secret").sheet_state = "hidden"
    path = save(book)
    assert workbook_sheets(path) == (("一月", "二月"), ("secret",))
    rows = [
        (s, r.number, r.cells)
        for s, r in read_sheet_rows(path, ("一月", "二月"))
        if isinstance(r, Row) and not r.is_blank
    ]
    assert rows == [("一月", 1, ("问题", "答案")), ("一月", 4, ("q4", "a4")), ("二月", 1, ("q", "a"))]


def test_a_far_cell_does_not_widen_every_row(save: Callable[[Workbook], Path]) -> None:
    book = Workbook()
    book.active.append(["q", "a"])
    book.active.cell(row=5000, column=16384, value="far")
    widths = [len(r.cells) for _, r in read_sheet_rows(save(book), ("Sheet",)) if isinstance(r, Row)]
    assert widths[0] == 2 and sum(widths) < 17000 and len(widths) == 5000


def test_an_archive_that_unpacks_too_far_is_refused(
    save: Callable[[Workbook], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Workbook()
    book.active.append(["q", "a"])
    path = save(book)
    monkeypatch.setattr(tables, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(DataError) as caught:
        workbook_sheets(path)
    assert caught.value.key == "data.workbook_too_big"


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Workbook], Path]:
    def write(book: Workbook) -> Path:
        path = tmp_path / "book.xlsx"
        book.save(path)
        return path

    return write


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet='ab,"\n\r', max_size=60))
def test_any_text_is_read_to_its_end(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Every letter of the text is in a row that was read, or behind a problem: nothing loops, nothing is raised."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(text, newline="")
    rows = list(read_csv_rows(path, "utf-8", ","))
    if not any(isinstance(r, Problem) for r in rows):
        letters = "".join(cell for r in rows if isinstance(r, Row) for cell in r.cells)
        assert [c for c in letters if c in "ab"] == [c for c in text if c in "ab"]
