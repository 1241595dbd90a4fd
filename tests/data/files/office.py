"""Office files made byte by byte: kinds for which there is no writer, and broken and hostile ones."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from tools.fuzz.binary_workbooks import binary_workbook

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_CONTENT = "http://schemas.openxmlformats.org/package/2006/content-types"


def write_zip(path: Path, members: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def paragraph(text: str, style: str = "", number: int | None = None, level: int = 0) -> str:
    settings = f'<w:pStyle w:val="{style}"/>' if style else ""
    if number is not None:
        settings += f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'
    return f'<w:p><w:pPr>{settings}</w:pPr><w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def table(rows: Sequence[Sequence[str]]) -> str:
    """Cells of text, or of finished XML where they begin with "<"."""
    made = "".join(f"<w:tr>{''.join(c if c[:1] == '<' else cell(c) for c in row)}</w:tr>" for row in rows)
    return f"<w:tbl>{made}</w:tbl>"


def cell(text: str, settings: str = "") -> str:
    return f"<w:tc><w:tcPr>{settings}</w:tcPr>{paragraph(text)}</w:tc>"


def write_docx(path: Path, body: str, others: Mapping[str, str] = {}) -> Path:
    members = {
        "[Content_Types].xml": f'<Types xmlns="{_CONTENT}"/>',
        "word/document.xml": f"<w:document {_W}><w:body>{body}</w:body></w:document>",
    }
    parts = {
        name: text.replace("<w:ROOT>", f"<w:root {_W}>").replace("</w:ROOT>", "</w:root>")
        for name, text in others.items()
    }
    return write_zip(path, members | parts)


def write_ods(
    path: Path,
    sheets: Mapping[str, Sequence[Sequence[str]]],
    hidden: Sequence[str] = (),
    spans: Mapping[str, Mapping[tuple[int, int], tuple[int, int]]] = {},
) -> Path:
    """Cells of text, or of finished XML where they begin with "<"; so do whole rows, given as one text.

    Args:
        spans: sheet -> (row, column), from 0, of a merged cell -> (how many rows, how many columns) it has.
    """

    def cell(sheet: str, row: int, column: int, text: str) -> str:
        merged = spans.get(sheet, {})
        if text[:1] == "<":
            return text
        if any(
            (row, column) != (r, c) and r <= row < r + high and c <= column < c + wide
            for (r, c), (high, wide) in merged.items()
        ):
            return "<table:covered-table-cell/>"
        high, wide = merged.get((row, column), (1, 1))
        size = (
            f' table:number-rows-spanned="{high}" table:number-columns-spanned="{wide}"'
            if (high, wide) != (1, 1)
            else ""
        )
        return f'<table:table-cell{size} office:value-type="string"><text:p>{escape(text)}</text:p></table:table-cell>'

    def row(sheet: str, number: int, cells: Sequence[str]) -> str:
        if isinstance(cells, str):
            return cells
        return f"<table:table-row>{''.join(cell(sheet, number, i, c) for i, c in enumerate(cells))}</table:table-row>"

    tables = "".join(
        f'<table:table table:name="{escape(name)}" table:style-name="{"off" if name in hidden else "on"}">'
        f"{''.join(row(name, i, cells) for i, cells in enumerate(rows))}</table:table>"
        for name, rows in sheets.items()
    )
    styles = "".join(
        f'<style:style style:name="{name}" style:family="table">'
        f'<style:table-properties table:display="{shown}"/></style:style>'
        for name, shown in (("on", "true"), ("off", "false"))
    )
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text", "style")
    )
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {spaces} office:version="1.2">'
        f"<office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return write_zip(path, {"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": content})


def write_xlsx_parts(path: Path, sheet: str, workbook: str = "xl/workbook.xml") -> Path:
    """A workbook with the given XML as its only sheet."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    types = (
        f'<Types xmlns="{_CONTENT}"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
    )
    sheets = '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets>'
    book = f'<workbook xmlns="{main}" xmlns:r="{relations}">{sheets}</workbook>'
    links = (
        f'<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{relations}/%s" Target="%s"/></Relationships>'
    )
    return write_zip(
        path,
        {
            "[Content_Types].xml": types,
            "_rels/.rels": links % ("officeDocument", workbook),
            workbook: book,
            "xl/_rels/workbook.xml.rels": links % ("worksheet", "worksheets/sheet1.xml"),
            "xl/worksheets/sheet1.xml": sheet.replace("<worksheet>", f'<worksheet xmlns="{main}">'),
        },
    )


FAR_CELL = (
    '<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>question</t></is></c></row>'
    '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>far</t></is></c></row></sheetData></worksheet>'
)


def write_xlsb(path: Path, rows: Sequence[Sequence[str]], merged: Sequence[tuple[int, int, int, int]] = ()) -> Path:
    """A binary workbook whose cells hold their text themselves; merged ones as `binary_workbook` takes them."""
    cells = {(r, c): text for r, row in enumerate(rows) for c, text in enumerate(row) if text}
    path.write_bytes(binary_workbook(cells, merged=merged))
    return path


def write_ole(path: Path, *streams: str) -> Path:
    """An OLE file with empty streams of these names, as Office makes when it protects a file by a password."""
    free, end, table = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<109I", 0, *[free] * 108)
    fat = struct.pack("<128I", table, end, *[free] * 126)
    folder = b""
    for name in ("Root Entry", *streams):
        encoded = (name + "\0").encode("utf-16-le")
        entry = (
            encoded.ljust(64, b"\0") + struct.pack("<H", len(encoded)) + bytes([5 if name == "Root Entry" else 2, 1])
        )
        folder += entry + struct.pack("<III", free, free, free) + bytes(36) + struct.pack("<IQ", end, 0)
    path.write_bytes(head + fat + folder.ljust(512, b"\0"))
    return path
