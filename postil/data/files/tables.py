"""Rows of tables as text cells, each with its true place; and how CSV files are read to them."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from postil.data.files.formulas import restore
from postil.data.shapes.columns import find_layout
from postil.problems import Place, Problem

DELIMITERS = (",", "\t", ";", "|")
MAX_CELL_CHARS = 1_000_000
MAX_LINE_CHARS = 4 * MAX_CELL_CHARS
MAX_RECORD_CHARS = 4 * MAX_LINE_CHARS
_SAMPLE_LINES = 60
_SAMPLE_CHARS = 200_000
_HEADER_ROWS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file; `number` counts from 1 (a CSV record's first physical line).

    Args:
        continued: columns (from 0) that are merged with the cell above, whose text they hold.
        spread: columns that are merged with the cell to their left, whose text they hold.
        uncalculated: columns whose formula was never calculated; their text is "".
    """

    number: int
    cells: tuple[str, ...]
    continued: tuple[int, ...] = ()
    spread: tuple[int, ...] = ()
    uncalculated: tuple[int, ...] = ()

    @property
    def is_blank(self) -> bool:
        """True when no cell holds anything but white space."""
        for cell in self.cells:
            if cell and not cell.isspace():
                return False
        return not self.uncalculated


def column_letter(index: int) -> str:
    """The letter of a column counted from 0: A, B ... Z, AA ..."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def column_index(letters: str) -> int:
    """The opposite of `column_letter`."""
    index = 0
    for letter in letters.upper():
        index = index * 26 + ord(letter) - 64
    return index - 1


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
            return _number_text(value)
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime() | date() | time():
            return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
        case _:
            return str(value)


def _number_text(value: float) -> str:
    if 1e15 <= abs(value) < 1e21:
        # Digits as the workbook stores them, with zeros for those that it lost.
        return format(Decimal(repr(value)).to_integral_value(), "f")
    return format(value, ".15g")


class _TooLong(csv.Error):
    """A line, or a record of many lines, that is longer than any should be."""


class _Lines:
    """Physical lines that can be handed back, so that one broken record does not swallow those after it."""

    def __init__(self, file: TextIO):
        self._file = file
        self._returned: list[str] = []
        self.taken: list[str] = []
        self._taken_chars = 0
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._returned.pop() if self._returned else self._file.readline(MAX_LINE_CHARS)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        self._taken_chars += len(line)
        if len(line) >= MAX_LINE_CHARS and not line.endswith(("\n", "\r")):
            self._skip_line()
            raise _TooLong
        if self._taken_chars > MAX_RECORD_CHARS:
            raise _TooLong
        return line

    def begin_record(self) -> None:
        self.taken.clear()
        self._taken_chars = 0

    def hand_back_after(self, count: int) -> None:
        """Undoes the reading of every line since the record began, except its first `count`."""
        again = self.taken[count:]
        self._returned.extend(reversed(again))
        self.number -= len(again)

    def _skip_line(self) -> None:
        while (piece := self._file.readline(MAX_LINE_CHARS)) and not piece.endswith(("\n", "\r")):
            pass


def read_csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Row | Problem]:
    """Reads strictly; a record that breaks the rules of quoting is a problem, and reading goes on at the next line."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL_CHARS))
    with path.open(encoding=encoding, newline="") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            lines.begin_record()
            start = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield _broken_record(path.name, start, delimiter, lines, error)
                reader = csv.reader(lines, delimiter=delimiter, strict=True)
                continue
            yield _judged(path.name, Row(start, tuple(restore(c) if c[:1] == "'" else c for c in cells)))


def _judged(file: str, row: Row) -> Row | Problem:
    """The row, unless it holds what no text should."""
    for cell in row.cells:
        if len(cell) > MAX_CELL_CHARS:
            return Problem("cell_too_long", "error", Place(file, row.number), excerpt=cell[:80])
        if "\0" in cell:
            return Problem("nul_character", "error", Place(file, row.number), excerpt=cell.replace("\0", "")[:80])
    return row


def _broken_record(file: str, start: int, delimiter: str, lines: _Lines, error: csv.Error) -> Problem:
    """Names the line whose quote is not closed and hands those after it back, to be read anew."""
    line = _line_of_last_quote(lines.taken, delimiter) if lines.taken else 0
    is_long = isinstance(error, _TooLong) or "field larger" in str(error)
    excerpt = lines.taken[line][:200].strip()[:80] if lines.taken else ""
    lines.hand_back_after(line + 1)
    code, values = ("cell_too_long", {}) if is_long else ("broken_csv", {"line": start + line})
    return Problem(code, "error", Place(file, start), excerpt=excerpt, values=values)


def _line_of_last_quote(lines: Sequence[str], delimiter: str) -> int:
    """Index of the line where the last quoted cell opens.

    The cells before it were read to their ends; the next quote after it belongs to a row further down.
    """
    is_quoted, is_cell_start, opened = False, True, 0
    for number, line in enumerate(lines):
        for at, char in enumerate(line):
            if is_quoted:
                # A doubled quote closes and opens again, which comes to the same.
                is_quoted = char != '"'
                is_cell_start = False
            elif char == '"' and (is_cell_start or (at and line[at - 1] == '"' and opened == number)):
                opened = number if is_cell_start else opened
                is_quoted = True
            else:
                is_cell_start = char == delimiter
    return opened


def find_delimiter(path: Path, encoding: str) -> tuple[str, bool]:
    """The delimiter of a text table.

    Returns:
        The delimiter, and whether one of the first rows read with it names a question and an answer, or a speaker and
        what is said, or a text and a label.
    """
    with path.open(encoding=encoding, newline="") as file:
        sample = file.read(_SAMPLE_CHARS).splitlines(keepends=True)[:_SAMPLE_LINES]
    tables = {delimiter: _sample_rows(sample, delimiter) for delimiter in DELIMITERS}
    for delimiter, rows in tables.items():
        if any(_names_columns(row) for row in rows[:_HEADER_ROWS]):
            return delimiter, True
    return max(DELIMITERS, key=lambda delimiter: _evenness(tables[delimiter])), False


def _names_columns(cells: Sequence[str]) -> bool:
    if len(cells) < 2 or any(len(cell) > 60 for cell in cells):
        return False
    layout = find_layout(tuple(cells))
    return layout.is_pair or layout.is_log


def _sample_rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row))
    except csv.Error:  # a cell over the limit: the strict reading names it
        return rows
    return rows


def _evenness(rows: Sequence[Sequence[str]]) -> float:
    """Share of rows of the most frequent width, counted only where that is two cells or more."""
    widths = Counter(len(row) for row in rows if len(row) > 1)
    return widths.most_common(1)[0][1] / len(rows) if widths else 0.0
