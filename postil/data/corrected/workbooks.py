"""A workbook again: every sheet's rows as values, changed cells coloured, and a sheet that lists the changes."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from postil.data.corrected.changes import Change
from postil.data.corrected.table_edits import TableEdits
from postil.data.files.formulas import is_risky
from postil.data.files.tables import Row, cell_text
from postil.errors import DataError
from postil.language import say
from postil.problems import Problem

MAX_CELL_CHARS = 32_767
"""What a cell of a workbook holds at most."""
_MOST_GAP_ROWS = 20
_WIDEST, _NARROWEST = 60, 8
CHANGED_COLOUR = "FFF2CC"
_HEADER_COLOUR = "D9E1F2"
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d+)?")
# What XML cannot hold is written as Office does it.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_COLUMNS = ("sheet", "row", "column", "what", "code", "before", "after")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet to write: its rows come as they were read."""

    title: str
    rows: Sequence[Row]
    is_hidden: bool = False


def sheets_of(rows: Iterable[tuple[str | None, Row | Problem]], hidden: Sequence[str]) -> Iterator[Sheet]:
    """Rows grouped by the sheet in which they stand; what could not be read is not there to be written."""
    for title, group in groupby(rows, key=lambda pair: pair[0]):
        name = title or "Sheet1"
        yield Sheet(name, [row for _, row in group if isinstance(row, Row)], name in hidden)


def write_workbook(target: Path, sheets: Iterable[Sheet], edits: TableEdits, changes: Sequence[Change]) -> None:
    """Writes an .xlsx file.

    Raises:
        DataError: a text is longer than a workbook's cell can hold.
    """
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    for sheet in sheets:
        _write_sheet(book, sheet, edits)
    if changes:
        write_changes(book, changes)
    if not any(sheet.sheet_state == "visible" for sheet in book.worksheets):
        book.create_sheet("Sheet1", 0)
    book.save(target)


def _write_sheet(book: Any, sheet: Sheet, edits: TableEdits) -> None:
    written = book.create_sheet(sheet.title)
    written.sheet_state = "hidden" if sheet.is_hidden else "visible"
    _set_widths(written, [row.cells for row in sheet.rows])
    maker, last = _Cells(written), 0
    for row in sheet.rows:
        for _ in range(min(row.number - last - 1, _MOST_GAP_ROWS)):
            written.append([])
        last = row.number
        if not edits.drops(sheet.title, row.number):
            cells, changed = edits.cells_of(sheet.title, row)
            written.append([maker.make(text, is_changed=i in changed) for i, text in enumerate(cells)])


def write_changes(book: Any, changes: Sequence[Change]) -> None:
    """Adds the sheet that lists the changes, named in the user's language."""
    written = book.create_sheet(say("data.changes.title"))
    header = [say(f"data.changes.{name}") for name in _COLUMNS]
    lines = [
        (
            change.place.sheet or change.place.file,
            str(change.place.row),
            change.column or "",
            say(f"problems.fix.{change.action}"),
            change.code,
            change.before,
            change.after or "",
        )
        for change in changes
    ]
    _set_widths(written, [header, *lines])
    written.freeze_panes = "A2"
    maker = _Cells(written)
    written.append([maker.make(text, is_header=True) for text in header])
    for line in lines:
        written.append([maker.make(text[:MAX_CELL_CHARS]) for text in line])


class _Cells:
    """Makes a sheet's cells, which wrap; a text stays one whatever it begins with, a number is one where it may be."""

    def __init__(self, sheet: Any):
        from openpyxl.cell import Cell

        self._sheet, self._cell = sheet, Cell
        self._plain = _style(sheet)
        self._changed = _style(sheet, colour=CHANGED_COLOUR)
        self._header = _style(sheet, colour=_HEADER_COLOUR, bold=True)

    def make(self, text: str, *, is_changed: bool = False, is_header: bool = False) -> Any:
        """A cell with a text, or with the number that reads the same.

        Raises:
            DataError: the text is too long for a cell.
        """
        value = written_text(text)
        style = self._header if is_header else self._changed if is_changed else self._plain
        cell = self._cell(self._sheet, row=1, column=1, value=cell_number(text), style_array=style)
        if cell.value is None and text:
            cell.value = value
            cell.data_type = "s"
            if is_risky(text):
                cell.quotePrefix = True
        return cell


def _style(sheet: Any, colour: str = "", bold: bool = False) -> Any:
    """How a cell looks, made once: to make it for each cell takes longer than everything else."""
    from openpyxl.cell import Cell
    from openpyxl.styles import Alignment, Font, PatternFill

    cell = Cell(sheet, row=1, column=1)
    cell.alignment = Alignment(wrap_text=True, vertical="top")
    if bold:
        cell.font = Font(bold=True)
    if colour:
        cell.fill = PatternFill("solid", fgColor=colour)
    return cell._style


def written_text(text: str) -> str:
    """The text as a workbook's XML can hold it.

    Raises:
        DataError: it is too long for a cell.
    """
    if len(text) > MAX_CELL_CHARS:
        raise DataError("data.text_too_long_for_cell", chars=len(text), most=MAX_CELL_CHARS, excerpt=text[:40])
    return _UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def cell_number(text: str) -> float | int | None:
    """The number that reads as the text does; None where there is none."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if cell_text(number) == text else None


def _set_widths(sheet: Any, rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest line among the first rows, within bounds."""
    from openpyxl.utils import get_column_letter

    widths: dict[int, int] = {}
    for cells in islice(rows, 300):
        for i, text in enumerate(cells):
            longest = max((_width(line) for line in text[:500].split("\n")), default=0)
            widths[i] = max(widths.get(i, _NARROWEST), longest + 2)
    for i, width in widths.items():
        sheet.column_dimensions[get_column_letter(i + 1)].width = min(width, _WIDEST)


def _width(line: str) -> int:
    """Columns of a fixed-width font: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)
