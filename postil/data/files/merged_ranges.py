"""Merged cells of .ods and .xlsb, which calamine does not tell: read from the archive, in pieces and bounded memory."""

import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from xml.parsers import expat

from postil.data.files.archives import open_archive, read_member
from postil.data.files.workbook_xml import MergedRange
from postil.errors import DataError

MAX_RANGES = 100_000
_CHUNK_BYTES = 1 << 20
_MAX_ROWS = 1 << 20
_MAX_COLUMNS = 1 << 14
_MAX_BOOK_BYTES = 16 << 20
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0 "

# [MS-XLSB]: how many merged cells come, then each as a record of 16 bytes.
_MERGES_BEGIN = re.compile(rb"\xb1\x01\x04(.{4})(?=\xb0\x01\x10)", re.DOTALL)
_MERGE = re.compile(rb"\xb0\x01\x10(.{16})", re.DOTALL)
_SHEET = re.compile(rb"\x9c\x01")
_RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
_ID = re.compile(rb"\bId\s*=\s*[\"']([^\"']*)[\"']")
_TARGET = re.compile(rb"\bTarget\s*=\s*[\"']([^\"']*)[\"']")

Ranges = Mapping[str, Sequence[MergedRange]]


def merged_ranges(path: Path) -> Ranges:
    """Title of each sheet -> its merged cells, of an .ods or .xlsb workbook; nothing of any other file.

    Raises:
        DataError: the archive is damaged, or its XML declares entities.
    """
    if not zipfile.is_zipfile(path):
        return {}
    try:
        with open_archive(path) as archive:
            names = frozenset(archive.namelist())
            if "content.xml" in names:
                return _ods_ranges(path, archive)
            if "xl/workbook.bin" in names:
                parts = _xlsb_parts(path)
                return {title: _xlsb_ranges(archive, part) for title, part in parts.items() if part in names}
    except (expat.ExpatError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError("data.broken_workbook", path=str(path)) from error
    return {}


# --- .ods ------------------------------------------------------------------------------------------------------------


def _ods_ranges(path: Path, archive: zipfile.ZipFile) -> Ranges:
    with archive.open("content.xml") as source:
        if not _mentions(source, b"-spanned"):  # most workbooks merge nothing: no need to look at every cell
            return {}
    reading = _Tables()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = reading.start, reading.end

    def refuse(*_: object) -> None:
        # No office program writes a DTD; entities that multiply each other need one.
        raise DataError("data.broken_workbook", path=str(path))

    parser.StartDoctypeDeclHandler = refuse
    with archive.open("content.xml") as source:
        while chunk := source.read(_CHUNK_BYTES):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    return reading.found


def _mentions(source: IO[bytes], wanted: bytes) -> bool:
    rest = b""
    while chunk := source.read(_CHUNK_BYTES):
        buffer = rest + chunk
        if wanted in buffer:
            return True
        rest = buffer[-len(wanted) :]
    return False


class _Tables:
    """Counts rows and columns of every table; tables inside of others, such as those of charts, are passed over."""

    def __init__(self) -> None:
        self.found: dict[str, list[MergedRange]] = {}
        self._depth = 0
        self._ranges: list[MergedRange] = []
        self._row = self._column = self._repeats = 1

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match name.removeprefix(_TABLE):
            case "table":
                self._depth += 1
                if self._depth == 1:
                    self._ranges = self.found.setdefault(attributes.get(f"{_TABLE}name", ""), [])
                    self._row = 1
            case "table-row" if self._depth == 1:
                self._column = 0
                self._repeats = _number(attributes, "number-rows-repeated", _MAX_ROWS)
            case "table-cell" | "covered-table-cell" if self._depth == 1:
                bottom = self._row + _number(attributes, "number-rows-spanned", _MAX_ROWS) - 1
                right = self._column + _number(attributes, "number-columns-spanned", _MAX_COLUMNS) - 1
                if (bottom > self._row or right > self._column) and len(self._ranges) < MAX_RANGES:
                    self._ranges.append(MergedRange(self._row, self._column, bottom, right))
                self._column += _number(attributes, "number-columns-repeated", _MAX_COLUMNS)

    def end(self, name: str) -> None:
        match name.removeprefix(_TABLE):
            case "table":
                self._depth -= 1
            case "table-row" if self._depth == 1:
                self._row += self._repeats


def _number(attributes: Mapping[str, str], name: str, largest: int) -> int:
    """A count from 1 up; 1 where there is none or no number."""
    value = attributes.get(_TABLE + name, "")
    return min(max(int(value), 1), largest) if value.isascii() and value.isdigit() and len(value) < 10 else 1


# --- .xlsb -----------------------------------------------------------------------------------------------------------


def _xlsb_parts(path: Path) -> dict[str, str]:
    """Title of each sheet -> its part in the archive."""
    links = read_member(path, "xl/_rels/workbook.bin.rels", _MAX_BOOK_BYTES)
    targets: dict[str, str] = {}
    for element in _RELATION.findall(links):
        number, target = _ID.search(element), _TARGET.search(element)
        if number and target:
            name = target[1].decode("utf-8", "replace")
            targets[number[1].decode("utf-8", "replace")] = name.removeprefix("/") if name[:1] == "/" else f"xl/{name}"
    book = read_member(path, "xl/workbook.bin", _MAX_BOOK_BYTES)
    sheets = (_xlsb_sheet(book, found.end()) for found in _SHEET.finditer(book))
    return {title: targets[number] for number, title in filter(None, sheets) if number in targets}


def _xlsb_sheet(book: bytes, at: int) -> tuple[str, str] | None:
    """(relation, title) of the sheet whose record begins with its size at `at`; None where there is none after all."""
    try:
        while book[at] & 0x80:
            at += 1
        texts = []
        at += 9  # the size's last byte, the sheet's state, its number
        for _ in range(2):
            end = at + 4 + 2 * int.from_bytes(book[at : at + 4], "little")
            texts.append(book[at + 4 : end].decode("utf-16-le"))
            at = end
    except (IndexError, UnicodeDecodeError):
        return None
    return texts[0], texts[1]


def _xlsb_ranges(archive: zipfile.ZipFile, part: str) -> list[MergedRange]:
    """The records stand after all cells; those are not read one by one but searched for where merged ones begin."""
    rest = b""
    with archive.open(part) as source:
        while chunk := source.read(_CHUNK_BYTES):
            buffer = rest + chunk
            if found := _MERGES_BEGIN.search(buffer):
                count = min(int.from_bytes(found[1], "little"), MAX_RANGES)
                return _merges(buffer[found.end() :] + source.read(19 * count), count)
            rest = buffer[-10:]
    return []


def _merges(data: bytes, count: int) -> list[MergedRange]:
    found = []
    for number in range(count):
        merge = _MERGE.match(data, 19 * number)
        if merge is None:
            break
        top, bottom, left, right = struct.unpack("<IIII", merge[1])
        if top <= bottom < _MAX_ROWS and left <= right < _MAX_COLUMNS:
            found.append(MergedRange(top + 1, left, bottom + 1, right))
    return found
