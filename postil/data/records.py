"""From a file to records: what its entries say, and where each one stands. The extension is a hint, never believed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from postil.data.files.encodings import detect_encoding, is_guess
from postil.data.files.json_values import read_json, read_jsonl, sniff_json
from postil.data.shapes.record import Record
from postil.data.files.tables import Row, find_delimiter, read_csv_rows, read_sheet_rows, workbook_sheets
from postil.errors import DataError, MissingInputError
from postil.problems import Place, Problem

FileFormat = Literal["jsonl", "json", "csv", "xlsx"]
_OLD_OFFICE = bytes.fromhex("d0cf11e0a1b11ae1")




@dataclass(frozen=True, slots=True)
class Records:
    """A file that can be read; each iteration streams it anew, `Record`s and located `Problem`s in file order.

    Args:
        encoding: Python's name of the codec; a workbook is UTF-8 inside.
        sheets: the visible sheets of a workbook, which are all read.
        hidden_sheets: the hidden ones, which are not.
        delimiter: of a CSV file.
    """

    path: Path
    format: FileFormat
    encoding: str = "utf-8"
    sheets: tuple[str, ...] = ()
    hidden_sheets: tuple[str, ...] = ()
    delimiter: str = ""

    @property
    def is_table(self) -> bool:
        """True where all records of a sheet share one header."""
        return self.format in ("csv", "xlsx")

    def __iter__(self) -> Iterator[Record | Problem]:
        if is_guess(self.encoding):
            values = {"encoding": self.encoding}
            yield Problem("encoding_guessed", "warning", Place(self.path.name), values=values)
        yield from self._entries()

    def _entries(self) -> Iterator[Record | Problem]:
        match self.format:
            case "jsonl":
                return _json_records(self.path.name, read_jsonl(self.path, self.encoding))
            case "json":
                return _json_records(self.path.name, read_json(self.path, self.encoding))
            case "csv":
                rows = read_csv_rows(self.path, self.encoding, self.delimiter)
                return _table_records(self.path.name, ((None, row) for row in rows))
            case "xlsx":
                return _workbook_records(self)


def read_records(path: Path) -> Records:
    """Finds out what a file is; its entries are read when the result is iterated.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is a folder, empty, binary, damaged, or of a kind that cannot be read.
    """
    if not path.exists():
        raise MissingInputError("data.no_file", path=str(path))
    if path.is_dir():
        raise DataError("data.is_folder", path=str(path))
    if not path.is_file():
        raise DataError("data.not_a_file", path=str(path))
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if not head:
            raise DataError("data.empty_file", path=str(path))
        if head.startswith(b"PK\x03\x04"):
            return _find_workbook(path)
        return _find_text_format(path, head)
    except OSError as error:
        raise DataError("data.unreadable", path=str(path), reason=error.strerror or type(error).__name__) from error


def _find_workbook(path: Path) -> Records:
    if path.suffix.lower() in (".docx", ".ods", ".xlsb", ".zip", ".pptx", ".odt"):
        raise DataError("data.unsupported_kind", path=str(path))
    visible, hidden = workbook_sheets(path)
    return Records(path, "xlsx", sheets=visible, hidden_sheets=hidden)


def _find_text_format(path: Path, head: bytes) -> Records:
    if head.startswith(_OLD_OFFICE):
        raise DataError("data.old_workbook", path=str(path))
    encoding = detect_encoding(path)
    with path.open(encoding=encoding) as file:
        if not any(line.strip() for line in file):
            raise DataError("data.empty_file", path=str(path))
    suffix = path.suffix.lower()
    json_kind = sniff_json(path, encoding)
    delimiter, is_pair_table = find_delimiter(path, encoding)
    if json_kind is not None and not is_pair_table:
        return Records(path, json_kind, encoding)
    if is_pair_table or suffix in (".csv", ".tsv"):
        return Records(path, "csv", encoding, delimiter=delimiter)
    if suffix in (".json", ".jsonl"):
        return Records(path, "jsonl" if suffix == ".jsonl" else "json", encoding)
    raise DataError("data.unsupported_kind", path=str(path))


def _json_records(file: str, values: Iterator[tuple[int, Any] | Problem]) -> Iterator[Record | Problem]:
    for item in values:
        if isinstance(item, Problem):
            yield item
            continue
        number, value = item
        if isinstance(value, dict):
            yield Record(Place(file, number), value)
        else:
            yield Problem("not_an_object", "error", Place(file, number), excerpt=str(value)[:80])


def _workbook_records(records: Records) -> Iterator[Record | Problem]:
    for title in records.hidden_sheets:
        yield Problem("hidden_sheet", "warning", Place(records.path.name, 0, title), values={"sheet": title})
    yield from _table_records(records.path.name, read_sheet_rows(records.path, records.sheets))


def _table_records(file: str, rows: Iterator[tuple[str | None, Row | Problem]]) -> Iterator[Record | Problem]:
    """The first row with text in each sheet is its header; blank rows are no records."""
    headers: dict[str | None, tuple[str, ...]] = {}
    for sheet, row in rows:
        if isinstance(row, Problem):
            yield row
        elif row.is_blank:
            continue
        elif sheet not in headers:
            headers[sheet] = _unique_names(row.cells)
            place = Place(file, row.number, sheet)
            for cell in dict.fromkeys(c for i, c in enumerate(row.cells) if c.strip() and c in row.cells[:i]):
                yield Problem("repeated_column", "warning", place, column=cell, values={"column": cell})
        else:
            yield _table_record(Place(file, row.number, sheet), headers[sheet], row.cells)


def _table_record(place: Place, header: tuple[str, ...], cells: Sequence[str]) -> Record | Problem:
    extra = [cell for cell in cells[len(header) :] if cell.strip()]
    # In CSV an unquoted comma inside an answer does this, and the answer would be cut there; in a sheet it is a note.
    if extra and place.sheet is None:
        values = {"cells": len(cells), "columns": len(header)}
        return Problem("too_many_cells", "error", place, excerpt=extra[0][:80], values=values)
    padded = (*cells, *("" for _ in range(len(header) - len(cells))))
    return Record(place, {name: cell for name, cell in zip(header, padded, strict=False) if name})


def _unique_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Headers as keys: a name met before is told apart by its column's number; "" where a column has no name."""
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        names.append(f"{cell} ({number})" if cell in names and cell.strip() else cell if cell.strip() else "")
    return tuple(names)
