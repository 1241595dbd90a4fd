"""Each kind of file as a stream of records: which reader yields its entries, and which shape makes records of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from postil.data.files.documents import read_document
from postil.data.files.encodings import text_lines
from postil.data.files.json_repair import Repair, Repairs
from postil.data.files.json_values import read_json, read_jsonl
from postil.data.files.old_workbooks import read_old_workbook
from postil.data.files.parquet import read_parquet
from postil.data.files.tables import read_csv_rows
from postil.data.files.workbooks import read_sheet_rows
from postil.data.shapes.json_records import json_records
from postil.data.shapes.record import Record
from postil.data.shapes.sheet_plans import table_records
from postil.data.shapes.text_questions import recognise_text, text_records
from postil.problems import Place, Problem

if TYPE_CHECKING:
    from postil.data.records import Records

Entries = Iterator[Record | Problem]


def _json(records: "Records") -> Entries:
    read = read_jsonl if records.format == "jsonl" else read_json
    repairs = Repairs(records.repairs.get(records.name, ()))
    for item in json_records(records.name, read(records.path, records.encoding, repairs), records.options):
        yield _with_repairs(item, repairs.done) if repairs.done and isinstance(item, Record) else item


def _with_repairs(record: Record, done: dict[int, Repair]) -> Record:
    found = [done.pop(row) for row in (record.rows or (record.place.row,)) if row in done]
    return replace(record, repairs=tuple(found)) if found else record


def _parquet(records: "Records") -> Entries:
    return json_records(records.name, read_parquet(records.path), records.options)


def _csv(records: "Records") -> Entries:
    rows = read_csv_rows(records.path, records.encoding, records.delimiter)
    return table_records(records.name, ((None, row) for row in rows), records.options)


def _workbook(records: "Records") -> Entries:
    read = read_sheet_rows if records.format == "xlsx" else read_old_workbook
    return table_records(records.name, read(records.path, records.sheets), records.options)


def _text(records: "Records") -> Entries:
    return text_records(records.name, text_lines(records.path, records.encoding), records.options)


def _document(records: "Records") -> Entries:
    """Text and tables in the document's order. Beside tables, text without questions is a description of them."""
    lines, found = read_document(records.path)
    waiting = [table for table in found if any(not row.is_blank for row in table.rows)]
    written = [line for line in lines if line.text.strip()]

    def of_tables(before: float) -> Entries:
        while waiting and waiting[0].after < before:
            table = waiting.pop(0)
            yield from table_records(records.name, ((table.title, row) for row in table.rows), records.options)

    if written and waiting and recognise_text([line.text for line in lines]) is None:
        place, excerpt = Place(records.name, written[0].number), written[0].text[:80]
        values = {"paragraphs": len({line.number for line in written})}
        yield Problem("text_beside_tables", "warning", place, excerpt=excerpt, values=values)
    elif written:
        for item in text_records(records.name, ((line.number, line.text) for line in lines), records.options):
            yield from of_tables(item.place.row)
            yield item
    yield from of_tables(float("inf"))


READERS: Mapping[str, Callable[["Records"], Entries]] = {
    **dict.fromkeys(("jsonl", "json"), _json),
    **dict.fromkeys(("xlsx", "xls", "xlsb", "ods"), _workbook),
    **dict.fromkeys(("txt", "md"), _text),
    "csv": _csv,
    "docx": _document,
    "parquet": _parquet,
}
"""By `Records.format`; places hold the file's own name or the one it has in its folder."""
