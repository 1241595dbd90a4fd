"""Rows of CSV files and workbooks as text cells, each with its true place."""

import csv
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, TextIO

from postil.data.shapes.columns import find_layout
from postil.errors import DataError
from postil.problems import Place, Problem

DELIMITERS = (",", "\t", ";", "|")
MAX_CELL_CHARS = 1_000_000
MAX_ARCHIVE_ENTRIES = 5000
MAX_UNPACKED_BYTES = 1 << 30
MAX_ARCHIVE_RATIO = 200
_SAMPLE_LINES = 60


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file; `number` counts from 1 (a CSV record's first physical line)."""

    number: int
    cells: tuple[str, ...]

    @property
    def is_blank(self) -> bool:
        """True when no cell holds anything but white space."""
        return not any(cell.strip() for cell in self.cells)


class _Lines:
    """Physical lines that can be handed back, so that one broken record does not swallow those after it."""

    def __init__(self, file: TextIO):
        self._file = file
        self._returned: list[str] = []
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._returned.pop() if self._returned else next(self._file)
        self.number += 1
        self.taken.append(line)
        return line

    def hand_back_all_but_first(self) -> None:
        """Undoes the reading of every line since `taken` was cleared, except its first."""
        again = self.taken[1:]
        self._returned.extend(reversed(again))
        self.number -= len(again)


def read_csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Row | Problem]:
    """Reads strictly; a record that breaks the rules of quoting is a problem, and reading goes on at the next line."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL_CHARS))
    with path.open(encoding=encoding, newline="") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            lines.taken.clear()
            start = lines.number + 1
            try:
                yield Row(start, tuple(next(reader)))
            except StopIteration:
                return
            except csv.Error as error:
                code = "cell_too_long" if "field larger" in str(error) else "broken_csv"
                excerpt = lines.taken[0].strip()[:80] if lines.taken else ""
                yield Problem(code, "error", Place(path.name, start), excerpt=excerpt)
                lines.hand_back_all_but_first()
                reader = csv.reader(lines, delimiter=delimiter, strict=True)


def find_delimiter(path: Path, encoding: str) -> tuple[str, bool]:
    """The delimiter of a text table.

    Returns:
        The delimiter, and whether the first row read with it names a question and an answer.
    """
    with path.open(encoding=encoding, newline="") as file:
        sample = [line for line, _ in zip(file, range(_SAMPLE_LINES), strict=False)]
    tables = {delimiter: _sample_rows(sample, delimiter) for delimiter in DELIMITERS}
    for delimiter, rows in tables.items():
        if rows and find_layout(tuple(rows[0])).is_pair:
            return delimiter, True
    return max(DELIMITERS, key=lambda delimiter: _evenness(tables[delimiter])), False


def _sample_rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row))
    except csv.Error:  # a cell over the limit: the strict reading names it
        return rows
    return rows


def _evenness(rows: Sequence[Sequence[str]]) -> float:
    """Share of rows as wide as the first, counted only where that is two cells or more."""
    if not rows or len(rows[0]) < 2:
        return 0.0
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows)


def workbook_sheets(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the visible and of the hidden sheets.

    Raises:
        DataError: the archive is damaged, or unpacks to more than the limits allow.
    """
    _check_archive(path)
    try:
        workbook = _open_workbook(path)
    except Exception as error:  # openpyxl lets whatever its parsers meet escape
        raise DataError("data.broken_workbook", path=str(path)) from error
    with_state = [(sheet.title, sheet.sheet_state == "visible") for sheet in workbook.worksheets]
    workbook.close()
    return tuple(t for t, visible in with_state if visible), tuple(t for t, visible in with_state if not visible)


def read_sheet_rows(path: Path, sheets: Sequence[str]) -> Iterator[tuple[str, Row | Problem]]:
    """Rows of the named sheets in order, each with its sheet. A damaged sheet ends with a problem."""
    workbook = _open_workbook(path)
    try:
        for title in sheets:
            sheet, number = workbook[title], 0
            # The stored dimension may be wrong, or name a far corner that would pad every row.
            sheet.reset_dimensions()
            try:
                for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
                    yield title, Row(number, tuple(cell_text(cell) for cell in cells))
            except Exception:  # openpyxl lets whatever its parsers meet escape
                yield title, Problem("broken_sheet", "error", Place(path.name, number + 1, title))
    finally:
        workbook.close()


def cell_text(value: Any) -> str:
    """A workbook's cell as text: whole numbers without a point, others with the 15 digits that Excel keeps."""
    match value:
        case None:
            return ""
        case str():
            # Office writes control characters as _x000D_ and the like.
            return re.sub(r"_x00([01][0-9A-Fa-f])_", lambda m: chr(int(m[1], 16)), value) if "_x00" in value else value
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(value, ".15g")
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime() | date() | time():
            return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
        case _:
            return str(value)


def _open_workbook(path: Path) -> Any:
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on styles and validation, which carry no text
        return load_workbook(path, read_only=True, data_only=True)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError("data.broken_workbook", path=str(path)) from error
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(sum(entry.compress_size for entry in entries), 1)
    if len(entries) > MAX_ARCHIVE_ENTRIES or unpacked > MAX_UNPACKED_BYTES or unpacked / packed > MAX_ARCHIVE_RATIO:
        raise DataError("data.workbook_too_big", path=str(path))
