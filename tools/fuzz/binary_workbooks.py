"""Workbooks of .xlsb byte by byte: no package writes them.

A part is a row of records: a number of one or two bytes, a size of seven bits a byte, the data ([MS-XLSB] 2.1.4).
"""

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from itertools import groupby

Cells = Mapping[tuple[int, int], str | float | bool]
"""(row, column), both from 0 -> what stands there."""

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def binary_workbook(cells: Cells, title: str = "S", merged: Sequence[tuple[int, int, int, int]] = ()) -> bytes:
    """An .xlsb file with one sheet, whose cells hold their texts and numbers themselves.

    Args:
        merged: (top, bottom, left, right), all from 0.
    """
    links = f'<Relationship Id="rId1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.bin"/>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "xl/workbook.bin": _book(title),
        "xl/_rels/workbook.bin.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{links}</Relationships>',
        "xl/worksheets/sheet1.bin": _sheet(cells, merged),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def _book(title: str) -> bytes:
    sheet = _record(156, struct.pack("<II", 0, 1) + _text("rId1") + _text(title))
    return _record(131) + _record(143) + sheet + _record(144) + _record(132)


def _sheet(cells: Cells, merged: Sequence[tuple[int, int, int, int]]) -> bytes:
    rows, columns = zip(*cells, strict=True)
    size = struct.pack("<IIII", min(rows), max(rows), min(columns), max(columns))
    made = b""
    for row, places in groupby(sorted(cells), key=lambda place: place[0]):
        made += _record(0, struct.pack("<II", row, 0) + bytes(9))
        made += b"".join(_cell(place[1], cells[place]) for place in places)
    made += _record(146)
    if merged:
        ranges = b"".join(_record(176, struct.pack("<IIII", *edges)) for edges in merged)
        made += _record(177, struct.pack("<I", len(merged))) + ranges + _record(178)
    return _record(129) + _record(148, size) + _record(145) + made + _record(130)


def _cell(column: int, value: str | float | bool) -> bytes:
    head = struct.pack("<II", column, 0)
    match value:
        case bool():
            return _record(4, head + bytes([value]))
        case str():
            return _record(6, head + _text(value))
        case _:
            return _record(5, head + struct.pack("<d", value))


def _record(kind: int, data: bytes = b"") -> bytes:
    head = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size, left = b"", len(data)
    while left > 0x7F:
        size += bytes([left & 0x7F | 0x80])
        left >>= 7
    return head + size + bytes([left]) + data


def _text(value: str) -> bytes:
    encoded = value.encode("utf-16-le")
    return struct.pack("<I", len(encoded) // 2) + encoded
