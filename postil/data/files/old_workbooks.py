"""Workbooks of .xls, .xlsb and .ods: read with calamine, which may abort its process, so only in a child."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from postil.data.files.merged_ranges import MAX_RANGES, merged_ranges
from postil.data.files.sandbox import run_in_child
from postil.data.files.tables import Row, cell_text, column_letter
from postil.data.files.unreadable import unreadable
from postil.data.files.workbook_xml import MergedCells, MergedRange
from postil.data.files.workbooks import MAX_EXACT, is_changes_sheet
from postil.errors import DataError
from postil.problems import Place, Problem

OleKind = Literal["xls", "doc", "ppt", "password", "unknown"]
_MAX_FOLDER_SECTORS = 4096
_NO_SECTOR = 0xFFFFFFFA
_ROWS_PER_FRAME = 200
_MAX_DEATHS = 3


@dataclass(frozen=True, slots=True)
class SheetNames:
    """Titles of a workbook's visible sheets and of its hidden ones."""

    visible: tuple[str, ...]
    hidden: tuple[str, ...]


def old_workbook_sheets(path: Path) -> SheetNames:
    """The sheets' names.

    Raises:
        DataError: the workbook is damaged or protected, or the child that reads it died.
    """
    frames = run_in_child("sheets", {"path": str(path), "only": []})
    sheets = [(name, is_visible) for name, is_visible in next(frames)["sheets"] if not is_changes_sheet(name)]
    visible = tuple(name for name, is_visible in sheets if is_visible)
    return SheetNames(visible, tuple(name for name, is_visible in sheets if not is_visible))


def read_old_workbook(path: Path, sheets: Sequence[str]) -> Iterator[tuple[str, Row | Problem]]:
    """Rows of the named sheets in order, without blank ones, merged cells filled.

    A sheet on which the child dies is a problem, and those after it are read, until too many have died.
    """
    left, num_deaths = list(sheets), 0
    while left:
        try:
            if num_deaths == _MAX_DEATHS:
                raise DataError("data.broken_workbook", path=str(path))
            merged = MergedCells(())
            for frame in run_in_child("sheets", {"path": str(path), "only": left}):
                match frame:
                    case {"sheet": str(title), "merged": list(ranges)} if title in left:
                        del left[: left.index(title)]
                        merged = MergedCells(MergedRange(*r) for r in ranges)
                    case {"rows": list(rows)}:
                        yield from ((left[0], _filled(number, cells, merged)) for number, cells in rows)
                    case {"imprecise": list(columns)}:
                        yield from ((left[0], _imprecise(Place(path.name, row, left[0]), *c)) for row, *c in columns)
            return
        except DataError as error:
            num_deaths = min(num_deaths + 1, _MAX_DEATHS)
            yield left[0], unreadable(Place(path.name, 0, left[0]), error)
            del left[0]


def _filled(number: int, cells: Sequence[str], merged: MergedCells) -> Row:
    texts = {i: cell for i, cell in enumerate(cells) if cell}
    continued, spread = merged.fill(number, texts)
    width = max(texts, default=-1) + 1
    return Row(number, tuple(texts.get(i, "") for i in range(width)), continued, spread)


def _imprecise(place: Place, index: int, text: str, count: int) -> Problem:
    column = column_letter(index)
    values = {"column": column, "count": count}
    return Problem("lost_precision", "warning", place, column, excerpt=text, values=values)


def stream_sheets(path: Path, only: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The child's part: all sheets with whether they are visible, then the rows of those in `only`."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

    try:
        # Out of the file itself: of a path calamine would believe the extension.
        with path.open("rb") as file, CalamineWorkbook.from_filelike(file) as book:
            sheets = [s for s in book.sheets_metadata if s.typ == SheetTypeEnum.WorkSheet]
            yield {"sheets": [(s.name, s.visible == SheetVisibleEnum.Visible) for s in sheets]}
            untold = merged_ranges(path) if only else {}
            for sheet in sheets:
                if sheet.name in only:
                    yield from _sheet_frames(book.get_sheet_by_name(sheet.name), untold.get(sheet.name, ()))
    except PasswordError as error:
        raise DataError("data.password_protected", path=str(path)) from error
    except (CalamineError, ValueError, OSError) as error:
        raise DataError("data.broken_workbook", path=str(path)) from error
    except BaseException as error:
        # A panic of the Rust below is no Exception; it means a file that nobody thought of.
        if type(error).__name__ != "PanicException":
            raise
        raise DataError("data.broken_workbook", path=str(path)) from error


def _sheet_frames(sheet: Any, merged: Sequence[MergedRange]) -> Iterator[dict[str, Any]]:
    """`merged`: where calamine knows none."""
    # calamine counts from 0, both ends included; its rows begin at the first row, but at the first column in use.
    told = [(top + 1, left, bottom + 1, right) for (top, left), (bottom, right) in sheet.merged_cell_ranges or ()]
    yield {"sheet": sheet.name, "merged": told[:MAX_RANGES] or list(merged)}
    indent = [""] * (sheet.start[1] if sheet.start else 0)
    rows: list[tuple[int, list[str]]] = []
    imprecise: dict[int, tuple[int, str, int]] = {}
    for number, values in enumerate(sheet.iter_rows(), start=1):
        cells = [*indent, *map(cell_text, values)]
        for index, value in enumerate(values, start=len(indent)):
            if value.__class__ in (int, float) and abs(value) >= MAX_EXACT:
                row, text, count = imprecise.get(index, (number, cells[index], 0))
                imprecise[index] = row, text, count + 1
        if any(cells):
            rows.append((number, cells))
        if len(rows) == _ROWS_PER_FRAME:
            yield {"rows": rows}
            rows = []
    yield {"rows": rows}
    yield {"imprecise": [(row, index, text, count) for index, (row, text, count) in sorted(imprecise.items())]}


def ole_kind(path: Path) -> OleKind:
    """What an OLE file (magic d0cf11e0) is, by the names in its directory.

    Old Office files are OLE, and new ones are put into OLE when they are protected by a password.
    """
    names = set(_ole_names(path))
    marks: dict[str, OleKind] = {
        "EncryptedPackage": "password",
        "Workbook": "xls",
        "Book": "xls",
        "WordDocument": "doc",
        "PowerPoint Document": "ppt",
    }
    return next((kind for mark, kind in marks.items() if mark in names), "unknown")


def _ole_names(path: Path) -> Iterator[str]:
    """Names in the directory, whose sectors are chained by the table of sectors, as [MS-CFB] describes."""
    with path.open("rb") as file:
        head = file.read(512)
        if len(head) < 512 or head[30] not in (9, 12):
            return
        sector_bytes = 1 << head[30]

        def sector(number: int) -> bytes:
            file.seek((number + 1) * sector_bytes)
            return file.read(sector_bytes)

        tables = [t for t in struct.unpack("<109I", head[76:512]) if t < _NO_SECTOR]
        number: int = struct.unpack_from("<I", head, 48)[0]
        for _ in range(_MAX_FOLDER_SECTORS):
            entries = sector(number)
            for at in range(0, len(entries) - 127, 128):
                length = int.from_bytes(entries[at + 64 : at + 66], "little")
                yield entries[at : at + min(max(length - 2, 0), 64)].decode("utf-16-le", errors="replace")
            table, index = divmod(number, sector_bytes // 4)
            if table >= len(tables):
                return
            following = sector(tables[table])[index * 4 : index * 4 + 4]
            number = int.from_bytes(following, "little")
            if len(following) < 4 or number >= _NO_SECTOR:
                return
