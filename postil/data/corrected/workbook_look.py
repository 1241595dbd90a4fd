"""A workbook with its look: the original's cells, with an overlay's changes in place and without the rows that go.

Imported only where a workbook is written.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from itertools import groupby
from pathlib import Path
from typing import Any

from openpyxl.styles import PatternFill
from openpyxl.worksheet.cell_range import CellRange

from postil.data.checks.text_fixes import mask_personal_data
from postil.data.corrected.changes import Change
from postil.data.corrected.table_edits import TableEdits
from postil.data.corrected.workbook_opening import open_whole, remove_sheets
from postil.data.corrected.workbook_rows import drop_outside_formulas, take_out_rows
from postil.data.corrected.workbook_shifts import RowShift
from postil.data.corrected.workbooks import CHANGED_COLOUR, cell_number, write_changes, written_text
from postil.data.files.formulas import is_risky
from postil.data.files.tables import Row, cell_text
from postil.data.files.workbooks import MAX_EXACT, is_changes_sheet, read_sheet_rows
from postil.problems import Problem

MAX_CHARS = 200_000_000
"""A text stands once in a workbook for all its cells, but is written out for each of them."""


class TooMuchText(Exception):
    """The cells of a workbook hold more text than may be written."""


def write_with_look(
    source: Path, target: Path, sheets: Sequence[str], edits: TableEdits, changes: Sequence[Change]
) -> bool:
    """Writes the .xlsx file at `source` with the changes in it, and a sheet that lists them.

    Args:
        sheets: titles of those whose rows the edits know.

    Returns:
        Whether rules or names were left out because they reach other workbooks, programs or addresses.

    Raises:
        DataError: a text is longer than a workbook's cell can hold.
        Exception: whatever openpyxl meets in a damaged or unusual workbook.
    """
    book = open_whole(source)
    remove_sheets(book, [sheet for sheet in book.worksheets if is_changes_sheet(sheet.title)])
    shifts: dict[str, RowShift] = {}
    for title, group in groupby(read_sheet_rows(source, sheets), key=lambda pair: pair[0]):
        shifts[title] = _edit_sheet(book[title], (row for _, row in group), edits)
    has_dropped = drop_outside_formulas(book)
    if any(shifts.values()):
        take_out_rows(book, shifts)
    _make_harmless(book)
    if any(change.action == "mask_personal_data" for change in changes):
        for sheet in book.worksheets:
            _mask_beside_cells(sheet)
    if changes:
        write_changes(book, changes)
    book.save(target)
    return has_dropped


def _edit_sheet(sheet: Any, items: Iterable[Row | Problem], edits: TableEdits) -> RowShift:
    """Writes the changed texts where they stand; returns which rows are to leave."""
    pen, merged, dropped = _Pen(sheet), _MergedTexts(sheet), set()
    for item in items:
        number = item.number if isinstance(item, Row) else item.place.row
        if edits.drops(sheet.title, number):
            dropped.add(number)
        elif isinstance(item, Row):
            cells, changed = edits.cells_of(sheet.title, item)
            merged.note(item, cells, changed)
            for column in changed.difference(item.continued):
                pen.write(number, column, cells[column])
    shift = RowShift(dropped)
    merged.settle(shift, pen)
    _end_renamed_tables(sheet, pen.written)
    return shift


def _end_renamed_tables(sheet: Any, written: set[tuple[int, int]]) -> None:
    """A table whose header says something else than its columns' names would make the file a damaged one."""
    for table in list(sheet.tables.values()):
        area = CellRange(table.ref)
        columns = range(area.min_col, area.max_col + 1)
        if table.headerRowCount and any((area.min_row, column) in written for column in columns):
            del sheet.tables[table.name]


class _MergedTexts:
    """What merged cells over several rows say in each row: one may have been changed by itself."""

    def __init__(self, sheet: Any):
        self._sheet = sheet
        self._ranges: dict[int, list[CellRange]] = defaultdict(list)
        for merged in sorted(sheet.merged_cells.ranges, key=lambda merged: merged.min_row):
            if merged.max_row > merged.min_row:
                self._ranges[merged.min_col - 1].append(merged)
        # (column, first row) -> (row, its text or None where it goes on with the text above, whether it was changed)
        self._texts: dict[tuple[int, int], list[tuple[int, str | None, bool]]] = defaultdict(list)

    def note(self, row: Row, cells: Sequence[str], changed: set[int]) -> None:
        """Takes the texts of a row that stays, as they are after the edits."""
        for column, ranges in self._ranges.items():
            at = bisect_right(ranges, row.number, key=lambda merged: merged.min_row) - 1
            if at < 0 or ranges[at].max_row < row.number or column >= len(cells):
                continue
            top, is_changed = ranges[at].min_row, column in changed
            if column in row.continued:
                text = cells[column] if cells[column] or is_changed else None
                self._texts[column, top].append((row.number, text, is_changed))
            elif top == row.number:
                self._texts[column, top].append((top, cells[column], False))

    def settle(self, shift: RowShift, pen: "_Pen") -> None:
        """Moves texts down from first rows that leave, and takes cells apart that say several things now."""
        apart = []
        for column, ranges in self._ranges.items():
            for merged in ranges:
                head = shift.staying(merged.min_row)
                if head > merged.max_row:
                    continue
                if head > merged.min_row:
                    pen.move(merged.min_row, head, column)
                texts = self._texts.get((column, merged.min_row), [])
                if len({text for _, text, _ in texts if text is not None}) > 1:
                    apart.append(merged)
                    _write_each(texts, merged.min_row, column, pen)
                elif head > merged.min_row and any(is_changed for *_, is_changed in texts):
                    pen.write(head, column, next(text for _, text, _ in texts if text is not None))
        if apart:
            self._sheet.merged_cells.ranges = self._sheet.merged_cells.ranges.difference(apart)


def _write_each(texts: Iterable[tuple[int, str | None, bool]], top: int, column: int, pen: "_Pen") -> None:
    for row, text, is_changed in texts:
        if text is not None and row != top:
            pen.take_look(top, row, column)
            pen.write(row, column, text, is_changed=is_changed)


class _Pen:
    """Writes texts into a sheet's cells and colours them; otherwise they keep their look."""

    def __init__(self, sheet: Any):
        self._sheet = sheet
        self._coloured: dict[Any, Any] = {}
        self.written: set[tuple[int, int]] = set()

    def write(self, row: int, column: int, text: str, *, is_changed: bool = True) -> None:
        """Writes a cell: a number where a number stood and stands, else a text.

        Args:
            column: counted from 0, as everywhere outside openpyxl.

        Raises:
            DataError: the text is too long for a cell.
        """
        self.written.add((row, column + 1))
        cell = self._sheet.cell(row, column + 1)
        had_number = cell.data_type == "n" and cell._value is not None
        number = cell_number(text) if had_number else None
        cell._value = written_text(text) or None if number is None else number
        cell.data_type = "s" if text and number is None else "n"
        if is_changed:
            self._colour(cell)

    def move(self, row: int, to: int, column: int) -> None:
        """Moves a cell into a row where nothing is written."""
        cell = self._sheet._cells.get((row, column + 1))
        below = self._sheet._cells.get((to, column + 1))
        if cell is not None and (below is None or below._value is None):
            cell.row = to
            self._sheet._cells[to, column + 1] = cell
            del self._sheet._cells[row, column + 1]

    def take_look(self, row: int, to: int, column: int) -> None:
        """Gives a cell the look of one above it, where it has none of its own."""
        cell, below = self._sheet.cell(row, column + 1), self._sheet.cell(to, column + 1)
        if not below.has_style:
            below._style = copy(cell._style)

    def _colour(self, cell: Any) -> None:
        """Made once for each look: to make it for each cell takes longer than everything else."""
        look = tuple(cell._style or ())
        if look not in self._coloured:
            cell.fill = PatternFill("solid", fgColor=CHANGED_COLOUR)
            self._coloured[look] = cell._style
        cell._style = copy(self._coloured[look])


def _make_harmless(book: Any) -> None:
    """Every cell is a value: what begins like a formula says that it is a text, numbers keep all their digits."""
    num_chars = 0
    for cell in (cell for sheet in book.worksheets for cell in sheet._cells.values()):
        kind, value = cell.data_type, cell._value
        if value is None:
            cell.data_type = "n"
        elif kind == "n":
            if abs(value) >= MAX_EXACT:
                cell._value, cell.data_type = cell_text(value), "s"
        elif kind not in ("b", "d", "e"):
            text = str(value)
            num_chars += len(text)
            if num_chars > MAX_CHARS:
                raise TooMuchText
            if kind != "s":  # a foreign file may call a text a formula
                cell._value, cell.data_type = text, "s"
            if is_risky(text):
                cell.quotePrefix = True


def _mask_beside_cells(sheet: Any) -> None:
    """What is masked in cells does not stand in comments, links, rules and margins either."""
    for cell in sheet._cells.values():
        if cell._comment is not None:
            cell._comment.content = mask_personal_data(cell._comment.content)
        link = cell._hyperlink
        if link is not None and any(map(_is_personal, (link.target, link.location, link.tooltip, link.display))):
            cell._hyperlink = None
    validations = sheet.data_validations
    validations.dataValidation = [
        v for v in validations.dataValidation if not any(map(_is_personal, (v.formula1, v.formula2, v.prompt, v.error)))
    ]
    for auto_filter in (sheet.auto_filter, *(table.autoFilter for table in sheet.tables.values())):
        if auto_filter is not None:
            auto_filter.filterColumn = []
    for name in sheet.HeaderFooter.__elements__:
        for side in ("left", "center", "right"):
            part = getattr(getattr(sheet.HeaderFooter, name), side)
            part.text = part.text and mask_personal_data(part.text)


def _is_personal(text: str | None) -> bool:
    return text is not None and mask_personal_data(text) != text
