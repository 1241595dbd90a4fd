"""Rows of .xlsx workbooks as text cells: values, merged cells, and what a cell could not keep."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postil.data.files.tables import MAX_CELL_CHARS, Row, cell_text, column_letter
from postil.data.files.workbook_xml import MergedCells, SheetNotes, scan_sheet
from postil.errors import DataError
from postil.language import say_in_all
from postil.problems import Place, Problem

MAX_COLUMNS = 1000
MAX_EXACT = 10**15
"""Excel keeps 15 digits: a number from here on may have lost its last ones."""


def is_changes_sheet(title: str) -> bool:
    """True for the sheet in which a corrected workbook lists its changes, in whichever language: it is never read."""
    return title in say_in_all("data.changes.title")


def workbook_sheets(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the visible and of the hidden sheets. That the archive is no bomb was seen to before (`archive_kind`).

    Raises:
        DataError: the workbook is damaged as a whole.
    """
    # Without its texts, which may take seconds and are read with the rows.
    with _opened(path, with_texts=False) as reader:
        found = [
            (title, visible) for title, (_, visible) in _parts(reader, path).items() if not is_changes_sheet(title)
        ]
    return tuple(t for t, visible in found if visible), tuple(t for t, visible in found if not visible)


def read_sheet_rows(path: Path, sheets: Sequence[str]) -> Iterator[tuple[str, Row | Problem]]:
    """Rows of the named sheets in order, each with its sheet. A damaged sheet ends with a problem.

    Rows without a cell are left out; far corners and wrong dimensions cost nothing.

    Raises:
        DataError: the workbook is damaged as a whole.
    """
    with _opened(path, with_texts=True) as reader:
        parts = _parts(reader, path)
        for title in sheets:
            reading = _SheetReading(path.name, title)
            try:
                for item in reading.rows(reader, parts[title][0]):
                    yield title, item
            except Exception:  # openpyxl lets whatever its parsers meet escape
                yield title, Problem("broken_sheet", "error", Place(path.name, reading.number + 1, title))
            for problem in reading.remarks():
                yield title, problem


@contextmanager
def _opened(path: Path, *, with_texts: bool) -> Iterator[Any]:
    """openpyxl's reader with only what rows need: charts, themes and properties may be as damaged as they like."""
    from openpyxl.reader.excel import ExcelReader
    from openpyxl.styles.stylesheet import apply_stylesheet

    # The open file, not its path: of that openpyxl would believe the extension.
    with ExitStack() as stack:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # remarks on extensions and styles, which carry no text
                file = stack.enter_context(path.open("rb"))
                reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
                stack.enter_context(reader.archive)
                reader.read_manifest()
                if with_texts:
                    reader.read_strings()
                reader.read_workbook()
                apply_stylesheet(reader.archive, reader.wb)
        except Exception as error:  # openpyxl lets whatever its parsers meet escape
            raise DataError("data.broken_workbook", path=str(path)) from error
        yield reader


def _parts(reader: Any, path: Path) -> dict[str, tuple[str, bool]]:
    """Title -> (path in the archive, is visible) of every sheet of cells."""
    try:
        found = list(reader.parser.find_sheets())
    except Exception as error:  # relations are read only here, and may be as damaged as the rest
        raise DataError("data.broken_workbook", path=str(path)) from error
    return {
        sheet.name: (rel.target, sheet.state == "visible")
        for sheet, rel in found
        if rel.target in reader.valid_files and "chartsheet" not in rel.Type and "dialogsheet" not in rel.Type
    }


@dataclass(slots=True)
class _SheetReading:
    """One sheet while it is read.

    Args:
        number: the row read last.
        imprecise: column -> (first row, its text, how many) of numbers that lost digits.
        far: the first cell beyond the columns that are read.
    """

    file: str
    title: str
    number: int = 0
    imprecise: dict[int, tuple[int, str, int]] = field(default_factory=dict)
    far: tuple[int, int] | None = None

    def rows(self, reader: Any, part: str) -> Iterator[Row | Problem]:
        from postil.data.files.workbook_cells import CellParser

        with reader.archive.open(part) as source:
            notes = scan_sheet(source)
        merged = MergedCells(notes.merged) if notes.merged else None
        book = reader.wb
        with reader.archive.open(part) as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser = CellParser(
                source,
                reader.shared_strings,
                data_only=True,
                epoch=book.epoch,
                date_formats=book._date_formats,
                timedelta_formats=book._timedelta_formats,
            )
            for self.number, cells in parser.parse():
                texts = self._texts(cells)
                if texts or self.number in notes.uncalculated:
                    yield self._row(texts, notes, merged)

    def _texts(self, cells: Sequence[tuple[int, Any]]) -> dict[int, str]:
        texts: dict[int, str] = {}
        for index, value in cells:
            if index >= MAX_COLUMNS:
                self.far = self.far or (self.number, index)
            elif value.__class__ is str:
                texts[index] = cell_text(value) if "_x00" in value else value
            elif value.__class__ is float and -MAX_EXACT < value < MAX_EXACT:
                texts[index] = format(value, ".15g")
            else:
                texts[index] = cell_text(value)
                self._note_precision(index, value, texts[index])
        return texts

    def _note_precision(self, index: int, value: Any, text: str) -> None:
        if value.__class__ in (int, float) and abs(value) >= MAX_EXACT:
            row, first, count = self.imprecise.get(index, (self.number, text, 0))
            self.imprecise[index] = row, first, count + 1

    def _row(self, texts: dict[int, str], notes: SheetNotes, merged: MergedCells | None) -> Row | Problem:
        uncalculated: tuple[int, ...] = ()
        if notes.uncalculated and (no_value := notes.uncalculated.get(self.number)):
            uncalculated = tuple(c for c in no_value if c < MAX_COLUMNS and not texts.get(c))
        continued: tuple[int, ...] = ()
        spread: tuple[int, ...] = ()
        if merged is not None and any(map(str.strip, texts.values())):
            continued, spread = merged.fill(self.number, texts)
        cells = _dense(texts, max((*texts, *uncalculated), default=-1) + 1)
        if cells and max(map(len, cells)) > MAX_CELL_CHARS:  # Excel stops at 32,767; other programs may not
            excerpt = max(cells, key=len)[:80]
            return Problem("cell_too_long", "error", Place(self.file, self.number, self.title), excerpt=excerpt)
        return Row(self.number, cells, continued, spread, uncalculated)

    def remarks(self) -> Iterator[Problem]:
        """What the sheet as a whole could not keep."""
        for index, (row, text, count) in sorted(self.imprecise.items()):
            place = Place(self.file, row, self.title)
            column = column_letter(index)
            yield Problem(
                "lost_precision", "warning", place, column, excerpt=text, values={"column": column, "count": count}
            )
        if self.far is not None:
            row, index = self.far
            values = {"cell": f"{column_letter(index)}{row}", "last": column_letter(MAX_COLUMNS - 1)}
            yield Problem("far_cell", "warning", Place(self.file, row, self.title), values=values)


def _dense(texts: dict[int, str], width: int) -> tuple[str, ...]:
    if tuple(texts) == tuple(range(width)):
        return tuple(texts.values())
    return tuple([texts.get(i, "") for i in range(width)])
