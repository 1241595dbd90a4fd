"""What kind of file this is, by its bytes; and whether a text is laid out as a table."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from postil.data.files.archives import archive_kind
from postil.data.files.old_workbooks import ole_kind
from postil.errors import DataError

BinaryKind = Literal["xlsx", "xls", "xlsb", "ods", "docx", "parquet", "zip"]
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
# Kinds that people send and that cannot be read, by the names under which they know them.
_FOREIGN = (
    (b"%PDF-", "PDF"),
    (b"{\\rtf", "RTF"),
    (b"\x1f\x8b", "gzip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"(\xb5/\xfd", "zstd"),
    (b"\x89PNG\r\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"SQLite format 3\x00", "SQLite"),
    (b"ARROW1", "Arrow"),
)
_TABLE_MARKS = (",", "\t", ";", "|")


def binary_kind(path: Path) -> BinaryKind | None:
    """The kind of a file that is not text; None for what may be text.

    Raises:
        DataError: it is empty, damaged, protected by a password, or of a kind that cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise DataError("data.empty_file", path=str(path))
    if head.startswith(_ZIPS):
        return archive_kind(path)
    if head.startswith(_OLE):
        return _old_office(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    for mark, name in _FOREIGN:
        if head.startswith(mark):
            raise DataError("data.unsupported_kind", path=str(path), kind=name)
    _refuse_web_page(path, head)
    return None


def _old_office(path: Path) -> BinaryKind:
    match ole_kind(path):
        case "xls":
            return "xls"
        case "password":
            raise DataError("data.password_protected", path=str(path))
        case "doc":
            raise DataError("data.old_document", path=str(path))
        case "ppt":
            raise DataError("data.unsupported_kind", path=str(path), kind="PowerPoint")
        case "unknown":
            raise DataError("data.broken_workbook", path=str(path))


def _refuse_web_page(path: Path, head: bytes) -> None:
    """Web programs send tables of HTML or XML under the name of a workbook; Excel opens them without a word."""
    start = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    is_page = start.startswith((b"<html", b"<!doctype html", b"<table", b"<?xml", b"<meta", b"<head"))
    if is_page:
        raise DataError("data.web_page", path=str(path))


def table_likeness(lines: Sequence[str], delimiter: str) -> float:
    """How much `lines` look like a table of that delimiter, 0 to 1: as many cells in every row, and no prose.

    Prose has commas too, but a blank after each of them.
    """
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error:
        return 0.0
    if len(rows) < 2 or len(rows[0]) < 2:
        return 0.0
    inner = [cell for row in rows for cell in row[1:]]
    spaced = sum(cell.startswith(" ") for cell in inner) / max(len(inner), 1)
    even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
    return even if delimiter == "\t" or spaced < 0.5 else 0.0


def likeliest_delimiter(lines: Sequence[str]) -> tuple[str, float]:
    """The delimiter with which `lines` look most like a table, and how much they do."""
    scores = {mark: table_likeness(lines, mark) for mark in _TABLE_MARKS}
    best = max(scores, key=lambda mark: scores[mark])
    return best, scores[best]
