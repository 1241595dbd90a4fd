"""What openpyxl's read-only sheets do not know: merged ranges, and formulas without a calculated value."""

import re
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from postil.data.files.tables import column_index

_CHUNK_BYTES = 1 << 20
_MAX_BUFFER_BYTES = 1 << 25
_MAX_MERGED_RANGES = 200_000
_MAX_FORMULA_ROWS = 200_000
_MAX_FILLED_COLUMNS = 64

_FORMULA_STARTS = (b"<f>", b"<f ", b"<f/", b":f>", b":f ", b":f/")
_FORMULA_CELL = re.compile(
    rb"<(?:\w+:)?c\b([^>]*)>\s*<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\b[^>]*?(?:/>|>([^<]*)<))?"
)
_MERGED_RANGE = re.compile(
    rb"<(?:\w+:)?mergeCell\b[^>]*\bref\s*=\s*[\"']\$?([A-Z]{1,3})\$?(\d{1,7}):\$?([A-Z]{1,3})\$?(\d{1,7})[\"']"
)
_REFERENCE = re.compile(rb"\br\s*=\s*[\"']([A-Z]{1,3})(\d{1,7})[\"']")
_IS_TEXT = re.compile(rb"\bt\s*=\s*[\"']str[\"']")


class MergedRange(NamedTuple):
    """Cells merged into one: rows count from 1, columns from 0, both ends included."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(slots=True)
class SheetNotes:
    """What a sheet's XML says besides the values.

    Args:
        merged: from the top down.
        uncalculated: row -> columns whose formula has no value.
    """

    merged: list[MergedRange] = field(default_factory=list)
    uncalculated: dict[int, list[int]] = field(default_factory=dict)


def scan_sheet(source: IO[bytes]) -> SheetNotes:
    """Reads a sheet's XML in pieces, by patterns: as fast as it unpacks, and in bounded memory."""
    notes, rest = SheetNotes(), b""
    while chunk := source.read(_CHUNK_BYTES):
        buffer = rest + chunk
        # A row, or a merged range, that is cut at the end waits for the rest.
        merge = buffer.rfind(b"<", 0, max(buffer.rfind(b"mergeCell "), 0))
        cut = max(buffer.rfind(b"row>"), merge, len(buffer) - _MAX_BUFFER_BYTES, 0)
        rest = buffer[cut:]
        _scan_piece(buffer[:cut], notes)
    _scan_piece(rest, notes)
    notes.merged.sort()
    return notes


def _scan_piece(piece: bytes, notes: SheetNotes) -> None:
    if any(start in piece for start in _FORMULA_STARTS):
        for cell in _FORMULA_CELL.finditer(piece):
            attributes, value = cell.groups()
            is_empty_text = value is not None and _IS_TEXT.search(attributes)
            reference = None if value or is_empty_text else _REFERENCE.search(attributes)
            if reference and len(notes.uncalculated) < _MAX_FORMULA_ROWS:
                notes.uncalculated.setdefault(int(reference[2]), []).append(column_index(reference[1].decode()))
    if b"mergeCell" in piece:
        for found in _MERGED_RANGE.finditer(piece):
            left, top, right, bottom = found.groups()
            if len(notes.merged) < _MAX_MERGED_RANGES:
                corner = int(top), column_index(left.decode()), int(bottom), column_index(right.decode())
                notes.merged.append(MergedRange(*corner))


class MergedCells:
    """Fills merged cells while rows go by from the top down."""

    def __init__(self, ranges: Iterable[MergedRange]):
        self._coming = sorted(ranges, reverse=True)
        self._open: list[tuple[int, int, int, str]] = []  # left, right, bottom, text

    def fill(self, number: int, cells: dict[int, str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Fills the cells of row `number` that lie under a merged one.

        Args:
            cells: column -> text; filled in place.

        Returns:
            The columns filled from above; the columns filled from the left.
        """
        coming = self._coming
        if not self._open and not (coming and coming[-1].top <= number):
            return (), ()
        continued: list[int] = []
        spread: list[int] = []
        if self._open:
            self._open = [entry for entry in self._open if entry[2] >= number]
            for left, right, _, text in self._open:
                if not cells.get(left, "").strip():
                    cells[left] = text
                    continued.append(left)
                    spread += _spread(cells, left, right, text)
        while coming and coming[-1].top <= number:
            merged = coming.pop()
            text = cells.get(merged.left, "")
            if merged.top == number and text.strip() and merged.left not in continued:
                spread += _spread(cells, merged.left, merged.right, text)
                if merged.bottom > number:
                    insort(self._open, (merged.left, merged.right, merged.bottom, text))
        return tuple(continued), tuple(spread)


def _spread(filled: dict[int, str], left: int, right: int, text: str) -> list[int]:
    if right <= left:
        return []
    columns = [c for c in range(left + 1, min(right, left + _MAX_FILLED_COLUMNS) + 1) if not filled.get(c, "").strip()]
    filled.update(dict.fromkeys(columns, text))
    return columns
