"""A plain Word document again: its paragraphs and tables, without pictures and styles."""

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from postil.data.corrected.changes import RecordChange
from postil.data.corrected.lines import NumberedLine, corrected_lines
from postil.data.corrected.table_edits import TableEdits
from postil.data.files.documents import Table, read_document

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
}
_BORDERS = "".join(
    f'<w:{side} w:val="single" w:sz="4" w:space="0" w:color="auto"/>'
    for side in ("top", "left", "bottom", "right", "insideH", "insideV")
)
# A fixed date: the same document gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write_document(source: Path, target: Path, changes: Sequence[RecordChange], edits: TableEdits) -> None:
    """Writes the document at `source` with the changes in it as a plain .docx; `edits` are those of its tables."""
    lines, tables = read_document(source)
    in_text = [change for change in changes if change.before.place.sheet is None]
    kept = corrected_lines([(line.number, line.text) for line in lines], in_text)
    body = "".join(_body(kept, tables, edits))
    document = f'<w:document xmlns:w="{_WORD}"><w:body>{body}<w:sectPr/></w:body></w:document>'
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**_PARTS, "word/document.xml": document}.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), _DECLARATION + text, zipfile.ZIP_DEFLATED)


def _body(lines: Sequence[NumberedLine], tables: Sequence[Table], edits: TableEdits) -> Iterator[str]:
    """Paragraphs, with each table after the paragraph that it followed."""
    waiting = list(tables)
    for number, group in groupby(lines, key=lambda line: line[0]):
        while waiting and waiting[0].after < number:
            yield _table(waiting.pop(0), edits)
        yield _paragraph(text for _, text in group)
    for table in waiting:
        yield _table(table, edits)


def _paragraph(lines: Iterable[str]) -> str:
    return f"<w:p>{_RUN_BREAK.join(_run(line) for line in lines)}</w:p>"


_RUN_BREAK = "<w:r><w:br/></w:r>"


def _run(text: str) -> str:
    pieces = [escape(_UNWRITABLE.sub("", piece)) for piece in text.split("\t")]
    texts = [f'<w:t xml:space="preserve">{piece}</w:t>' for piece in pieces]
    return f"<w:r>{'<w:tab/>'.join(texts)}</w:r>"


def _table(table: Table, edits: TableEdits) -> str:
    width = max((len(row.cells) for row in table.rows), default=0)
    rows: list[str] = []
    for row in table.rows:
        if not edits.drops(table.title, row.number):
            cells, _ = edits.cells_of(table.title, row)
            rows.append(_row([*cells, *("" for _ in range(width - len(cells)))]))
    head = f"<w:tblPr><w:tblBorders>{_BORDERS}</w:tblBorders></w:tblPr><w:tblGrid>{'<w:gridCol/>' * width}</w:tblGrid>"
    # Word joins neighbouring tables that no paragraph parts.
    return f"<w:tbl>{head}{''.join(rows)}</w:tbl><w:p/>"


def _row(cells: Sequence[str]) -> str:
    return f"<w:tr>{''.join(f'<w:tc>{_paragraph(cell.split(chr(10)))}</w:tc>' for cell in cells)}</w:tr>"
