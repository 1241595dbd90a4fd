import csv
from datetime import date, datetime, time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.files import tables
from postil.data.files.tables import (
    Row,
    cell_text,
    column_index,
    column_letter,
    find_delimiter,
    read_csv_rows,
)
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


@pytest.mark.parametrize("after", ["", '5,"good, quoted"\n', '5,"good\nquoted"\n'])
def test_a_quote_that_opens_in_a_later_line_of_its_row_is_found_there(tmp_path: Path, after: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text('q,a,b\n1,"two\nlines ""so""","open\n2,x,y\n' + after)
    (problem,) = [r for r in read_csv_rows(path, "utf-8", ",") if isinstance(r, Problem)]
    assert (problem.place.row, problem.values) == (2, {"line": 3})
    assert "line 3" in problem.message
    rows = [r for r in rows_of(path) if not isinstance(r, str)]
    assert rows[:2] == [(1, ("q", "a", "b")), (4, ("2", "x", "y"))]
    assert len(rows) == (3 if after else 2)


def test_quotes_inside_unquoted_cells_are_letters(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('q,a\nselect "yes",a 5" screen\nb,c\n')
    assert rows_of(path)[1:] == [(2, ('select "yes"', 'a 5" screen')), (3, ("b", "c"))]


def test_a_cell_that_is_too_long_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a\n1," + "x" * 1_000_001 + "\n2,y\n")
    assert rows_of(path)[1:] == ["cell_too_long", (3, ("2", "y"))]
    # Also where another library has lifted the limit of the whole process.
    previous = csv.field_size_limit(10_000_000)
    try:
        assert rows_of(path)[1:] == ["cell_too_long", (3, ("2", "y"))]
    finally:
        csv.field_size_limit(previous)


def test_a_line_without_end_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_CHARS", 100)
    path = tmp_path / "a.csv"
    path.write_text("q,a\n1," + "x," * 500 + "\n2,y\n")
    assert rows_of(path)[1:] == ["cell_too_long", (3, ("2", "y"))]


def test_an_open_quote_does_not_hold_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_RECORD_CHARS", 50)
    path = tmp_path / "a.csv"
    path.write_text('q,a\n1,"open\n' + "2,y\n" * 40)
    assert rows_of(path)[1:3] == ["cell_too_long", (3, ("2", "y"))]
    assert len(rows_of(path)) == 42


def test_nul_characters_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"q,a\n1,x\0y\n2,z\n")
    assert rows_of(path)[1:] == ["nul_character", (3, ("2", "z"))]


def test_cells_made_harmless_are_read_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a\n'=1+1,'tis\n")
    assert rows_of(path)[1:] == [(2, ("=1+1", "'tis"))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", ["问题{}答案", "role{}content", "text{}label", "产品问答\n\n备注\n问题{}答案"])
def test_delimiter_is_found_by_the_header(tmp_path: Path, header: str, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(header.format(delimiter) + f"\na, b; c{delimiter}d, e; f\n", encoding="utf-8")
    assert find_delimiter(path, "utf-8") == (delimiter, True)


def test_delimiter_without_known_columns_is_the_most_even(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a title\none;two\n1, 2;3\n4;5\n")
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
        (1.234567890123457e18, "1234567890123457000"),
        (float(2**53), "9007199254740992"),
        (1e30, "1e+30"),
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


def test_columns_have_letters() -> None:
    assert [column_letter(i) for i in (0, 25, 26, 701, 702, 16383)] == ["A", "Z", "AA", "ZZ", "AAA", "XFD"]
    assert all(column_index(column_letter(i)) == i for i in range(2000))


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='ab,"\n\r', max_size=60))
def test_any_text_is_read_to_its_end(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Every letter of the text is in a row that was read, or behind a problem: nothing loops, nothing is raised."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(text, newline="")
    rows = list(read_csv_rows(path, "utf-8", ","))
    numbers = [r.number if isinstance(r, Row) else r.place.row for r in rows]
    assert numbers == sorted(set(numbers))
    if not any(isinstance(r, Problem) for r in rows):
        letters = "".join(cell for r in rows if isinstance(r, Row) for cell in r.cells)
        assert [c for c in letters if c in "ab"] == [c for c in text if c in "ab"]
