"""Text that a spreadsheet would take for a formula stays text in every table that we write."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl

from postil.data.records import read_records
from postil.data.validation import validate_dataset
from tests.cli.conftest import Shell

RISKY = ("=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")')


def risky_table(path: Path) -> None:
    """Formulas in the header, in both columns, in a row to be mended and in one to be left out."""
    rows = [("question", "answer", "=1+2")]
    rows += [(f"{risky} {n}?", f"{risky} <b>x</b>", risky) for n, risky in enumerate(RISKY)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([*rows, *((f"{risky}{n}", "", risky) for n, risky in enumerate(RISKY))])


def risky_workbook(path: Path) -> None:
    risky_table(path.with_suffix(".csv"))
    book = openpyxl.Workbook()
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            for column, value in enumerate(row, start=1):
                cell = book.active.cell(number, column)
                cell.value, cell.data_type = value, "s"
    book.save(path)


def cells_of_workbook(path: Path) -> Iterator[Any]:
    for sheet in openpyxl.load_workbook(path):
        for row in sheet.iter_rows():
            yield from (cell for cell in row if cell.value is not None)


def cells_of_csv(path: Path) -> Iterator[Any]:
    """As a spreadsheet has them that opens the file."""
    book = openpyxl.Workbook()
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.reader(file):
            book.active.append(row)
    for row in book.active.iter_rows():
        yield from (cell for cell in row if cell.value is not None)


def test_no_cell_of_a_corrected_workbook_or_of_its_list_of_changes_is_a_formula(shell: Shell, tmp_path: Path) -> None:
    risky_workbook(tmp_path / "a.xlsx")
    assert shell("fix", "a.xlsx", "-o", "b.xlsx")[0] == 0
    found = list(cells_of_workbook(tmp_path / "b.xlsx"))
    assert len(openpyxl.load_workbook(tmp_path / "b.xlsx").sheetnames) == 2
    assert {cell.data_type for cell in found} <= {"s", "n"}
    risky = [cell for cell in found if str(cell.value).startswith(("=", "+", "-", "@"))]
    assert len(risky) > 3 * len(RISKY) and {cell.data_type for cell in risky} == {"s"}


def test_no_cell_of_a_corrected_table_is_a_formula(shell: Shell, tmp_path: Path) -> None:
    risky_table(tmp_path / "a.csv")
    assert shell("fix", "a.csv", "-o", "b.csv")[0] == 0
    found = list(cells_of_csv(tmp_path / "b.csv"))
    assert len(found) == 3 * (len(RISKY) + 1)
    assert {cell.data_type for cell in found} == {"s"}
    assert not any(cell.value.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in found)
    # Read again they say what they said.
    answers = [c.answer for c in validate_dataset(read_records(tmp_path / "b.csv")).conversations]
    assert answers == [f"{risky.strip()} x" for risky in RISKY]


def test_no_cell_of_the_list_of_problems_is_a_formula(shell: Shell, tmp_path: Path) -> None:
    risky_table(tmp_path / "=cmd.csv")
    assert shell("check", "=cmd.csv", "--all", "list.csv")[0] == 65
    found = list(cells_of_csv(tmp_path / "list.csv"))
    assert sum(str(cell.value) == "'=cmd.csv" for cell in found) > len(RISKY)
    assert {cell.data_type for cell in found} == {"s"}
    assert not any(cell.value.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in found)
