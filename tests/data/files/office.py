"""Office files made byte by byte: kinds for which there is no writer, and broken and hostile ones."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

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


def write_ods(path: Path, sheets: Mapping[str, Sequence[Sequence[str]]], hidden: Sequence[str] = ()) -> Path:
    def row(cells: Sequence[str]) -> str:
        made = (
            f'<table:table-cell office:value-type="string"><text:p>{escape(c)}</text:p></table:table-cell>'
            for c in cells
        )
        return f"<table:table-row>{''.join(made)}</table:table-row>"

    tables = "".join(
        f'<table:table table:name="{escape(name)}" table:style-name="{"off" if name in hidden else "on"}">'
        f"{''.join(map(row, rows))}</table:table>"
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


def write_xlsb(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """A binary workbook whose cells hold their text themselves."""

    def record(kind: int, data: bytes = b"") -> bytes:
        head = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
        size, length = b"", len(data)
        while length > 0x7F:
            size += bytes([length & 0x7F | 0x80])
            length >>= 7
        return head + size + bytes([length]) + data

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    sheet = record(156, struct.pack("<II", 0, 1) + text("rId1") + text("S"))
    book = record(131) + record(143) + sheet + record(144) + record(132)
    size = struct.pack("<IIII", 0, len(rows) - 1, 0, max(map(len, rows)) - 1)
    cells = b""
    for number, row in enumerate(rows):
        cells += record(0, struct.pack("<II", number, 0) + bytes(9))
        for column, value in enumerate(row):
            cells += record(6, struct.pack("<II", column, 0) + text(value))
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    links = (
        f'<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{relations}/worksheet" '
        'Target="worksheets/sheet1.bin"/></Relationships>'
    )
    return write_zip(
        path,
        {
            "[Content_Types].xml": f'<Types xmlns="{_CONTENT}"/>',
            "xl/workbook.bin": book,
            "xl/_rels/workbook.bin.rels": links,
            "xl/worksheets/sheet1.bin": record(129)
            + record(148, size)
            + record(145)
            + cells
            + record(146)
            + record(130),
        },
    )


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
