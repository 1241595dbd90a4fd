"""The same rows as a file of every format, each with something to mend."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Pairs = Sequence[tuple[str, str]]
PAIRS: Pairs = (
    ("When do you open?", "At nine,\nevery day."),
    ("When do you open?", "At nine,\nevery day."),
    ("Where <b>are</b> you?", "In \u5317\u4eac, near the park."),
    ("Do you deliver?", ""),
    ("Is it open on Sunday?", "Yes <|im_end|> it is."),
    ("How much is it?", "It is 5 yuan."),
)
HEADER = ("question", "answer")


def table_text(pairs: Pairs, delimiter: str = ",", header: Sequence[str] = HEADER) -> str:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows([header, *pairs])
    return written.getvalue()


def write_csv(path: Path, pairs: Pairs, encoding: str = "utf-8", delimiter: str = ",") -> None:
    path.write_text(table_text(pairs, delimiter), encoding=encoding, newline="")


def write_jsonl(path: Path, pairs: Pairs) -> None:
    path.write_text("".join(json.dumps(_messages(q, a), ensure_ascii=False) + "\n" for q, a in pairs), encoding="utf-8")


def write_json(path: Path, pairs: Pairs) -> None:
    rows = [dict(zip(HEADER, pair, strict=True), number=1.50) for pair in pairs]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=4), encoding="utf-8")


def write_text(path: Path, pairs: Pairs) -> None:
    path.write_text("Shop\n\n" + "\n\n".join(f"Q: {q}\nA: {a}" for q, a in pairs) + "\n", encoding="utf-8")


def write_xlsx(path: Path, pairs: Pairs) -> None:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.title = "FAQ"
    sheet.append(["Questions of our shop"])
    sheet.merge_cells("A1:B1")
    sheet.append([])
    for row in (HEADER, *pairs):
        sheet.append(list(row))
    second = book.create_sheet("More")
    for row in (HEADER, ("What is 1+1?", "\u4e8c"), ("Empty?", "")):
        second.append(list(row))
    hidden = book.create_sheet("Old")
    hidden.append(["old", "note"])
    hidden.sheet_state = "hidden"
    book.save(path)


def write_ods(path: Path, pairs: Pairs) -> None:
    cell = "<table:table-cell office:value-type='string'>{}</table:table-cell>"
    rows = "".join(
        f"<table:table-row>{''.join(cell.format(_ods_text(text)) for text in row)}</table:table-row>"
        for row in (HEADER, *pairs)
    )
    names = " ".join(f'xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in ("office", "table", "text"))
    content = (
        f"<?xml version='1.0' encoding='UTF-8'?><office:document-content {names} office:version='1.2'><office:body>"
        f"<office:spreadsheet><table:table table:name='FAQ'>{rows}</table:table></office:spreadsheet></office:body>"
        "</office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("content.xml", content)
        entries = "".join(
            f"<m:file-entry m:full-path='{name}' m:media-type='{media}'/>"
            for name, media in (("/", kind), ("content.xml", "text/xml"))
        )
        manifest = f"<m:manifest xmlns:m='urn:oasis:names:tc:opendocument:xmlns:manifest:1.0'>{entries}</m:manifest>"
        archive.writestr("META-INF/manifest.xml", manifest)


def _ods_text(text: str) -> str:
    return "".join(f"<text:p>{escape(line)}</text:p>" for line in text.split("\n"))


def write_parquet(path: Path, pairs: Pairs) -> None:
    import pyarrow
    from pyarrow import parquet

    questions, answers = zip(*pairs, strict=True)
    table = pyarrow.table({"question": questions, "answer": answers, "score": [0.1] * len(pairs)})
    parquet.write_table(table, path)


def write_docx(path: Path, pairs: Pairs) -> None:
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    lines = [line for q, a in pairs for line in f"Q: {q}\nA: {a}".split("\n")]
    body = "".join(f"<w:p><w:r><w:t>{escape(line)}</w:t></w:r></w:p>" for line in ["Shop", *lines])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>')


def write_docx_table(path: Path, pairs: Pairs) -> None:
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    cell = "<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    rows = "".join(
        f"<w:tr>{''.join(cell.format(escape(text)) for text in row)}</w:tr>"
        for row in (("\u95ee\u9898", "\u7b54\u6848"), *pairs)
    )
    body = f"<w:p><w:r><w:t>Our shop</w:t></w:r></w:p><w:tbl>{rows}</w:tbl>"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>')


def write_folder(path: Path, pairs: Pairs) -> None:
    (path / "more").mkdir(parents=True)
    write_csv(path / "a.csv", pairs)
    write_jsonl(path / "more" / "b.jsonl", pairs)
    write_ods(path / "more" / "c.ods", pairs)


def write_zip(path: Path, pairs: Pairs) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("faq/a.csv", table_text(pairs))
        archive.writestr("b.txt", "".join(f"Q: {q}\nA: {a}\n\n" for q, a in pairs))


def _messages(question: str, answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


FORMATS: dict[str, tuple[str, str, Callable[[Path, Pairs], None]]] = {
    "csv": ("a.csv", "b.csv", write_csv),
    "csv, gb18030": ("a.csv", "b.csv", lambda path, pairs: write_csv(path, pairs, "gb18030")),
    "csv with a mark": ("a.csv", "b.csv", lambda path, pairs: write_csv(path, pairs, "utf-8-sig")),
    "tsv, utf-16": ("a.tsv", "b.tsv", lambda path, pairs: write_csv(path, pairs, "utf-16", "\t")),
    "jsonl": ("a.jsonl", "b.jsonl", write_jsonl),
    "json": ("a.json", "b.json", write_json),
    "txt": ("a.txt", "b.txt", write_text),
    "md": ("a.md", "b.md", write_text),
    "xlsx": ("a.xlsx", "b.xlsx", write_xlsx),
    "ods": ("a.ods", "b.xlsx", write_ods),
    "parquet": ("a.parquet", "b.parquet", write_parquet),
    "docx": ("a.docx", "b.docx", write_docx),
    "docx with a table": ("a.docx", "b.docx", write_docx_table),
    "folder": ("a", "b", write_folder),
    "zip": ("a.zip", "b", write_zip),
}
"""name -> (original, corrected copy, how the original is written)."""
