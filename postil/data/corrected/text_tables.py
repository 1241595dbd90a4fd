"""CSV and TSV again: rows that are not changed stay as they were written."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from postil.data.corrected.table_edits import TableEdits
from postil.data.files.formulas import is_risky, neutralise
from postil.data.files.tables import Row, read_csv_rows
from postil.problems import Problem

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def corrected_table(path: Path, encoding: str, delimiter: str, edits: TableEdits) -> Iterator[str]:
    """The text of every row that stays; one with a changed cell, or with a formula, is written anew."""
    rows = read_csv_rows(path, encoding, delimiter)
    with path.open(encoding=encoding, newline="") as file:
        for row, raw in _with_raw_text(file, rows):
            number = row.number if isinstance(row, Row) else row.place.row
            if edits.drops(None, number):
                continue
            if not isinstance(row, Row):
                yield raw
                continue
            cells, changed = edits.cells_of(None, row)
            if changed or any(is_risky(cell) for cell in row.cells):
                yield _as_csv(cells, delimiter, raw)
            else:
                yield raw


def _with_raw_text(lines: Iterable[str], rows: Iterable[Row | Problem]) -> Iterator[tuple[Row | Problem, str]]:
    """Each row with its lines as they are written.

    A row has as many line breaks as its cells; a broken one all lines from the row before to the one that is named.
    """
    unread, taken = iter(lines), 0
    for row in rows:
        if isinstance(row, Row):
            last = row.number + sum(len(_LINE_BREAK.findall(cell)) for cell in row.cells if not cell.isalnum())
        else:
            last = row.place.row
        raw: list[str] = []
        while taken < last and (line := next(unread, None)) is not None:
            raw.append(line)
            taken += 1
        yield row, "".join(raw)


def _as_csv(cells: Iterable[str], delimiter: str, raw: str) -> str:
    """A row quoted where it must be, with the line end that it had."""
    line_end = re.search(r"(?:\r\n|\n|\r)?\Z", raw)
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator=line_end[0] if line_end else "\n")
    writer.writerow([neutralise(cell) for cell in cells])
    return written.getvalue()
