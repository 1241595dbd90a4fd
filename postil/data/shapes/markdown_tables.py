"""Tables in Markdown, handed to the reader of all tables."""

import re
from collections.abc import Iterator, Sequence

from postil.data.options import ReadOptions
from postil.data.shapes.columns import find_layout
from postil.data.shapes.record import Record
from postil.data.shapes.text_lines import BLANKS, Line
from postil.data.shapes.text_pairs import TextReading, TextShape, TextTable
from postil.problems import Problem

_DIVIDER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?$")
_CELL_END = re.compile(r"(?<!\\)\|")
_MOST_NAMES = 50
_BREAK = re.compile(r"<br\s*/?>", re.I)


def read_tables(lines: Sequence[Line]) -> TextReading | None:
    """The tables of a text that is mostly tables."""
    items: list[TextTable | Line] = []
    index = 0
    while index < len(lines):
        end = _table_end(lines, index)
        if end > index:
            rows = [line for i, line in enumerate(lines[index:end]) if i != 1]
            items.append(TextTable(tuple((line.number, _cells(line)) for line in rows)))
        elif not lines[index].is_blank:
            items.append(lines[index])
        index = max(end, index + 1)
    tables = [item for item in items if isinstance(item, TextTable)]
    num_rows = sum(len(table.rows) - 1 for table in tables)
    num_skipped = len(items) - len(tables)
    if num_rows <= num_skipped:
        return None
    is_named = any(find_layout(table.rows[0][1][:_MOST_NAMES]).is_pair for table in tables)
    evidence = {"questions": num_rows, "answers": num_rows, "skipped": num_skipped}
    return TextReading(TextShape("table", 0.97 if is_named else 0.6, evidence), tuple(items))


def table_entries(file: str, table: TextTable, options: ReadOptions) -> Iterator[Record | Problem]:
    """What the reader of all tables makes of it."""
    from postil.data.files.tables import Row
    from postil.data.shapes.sheet_plans import table_records

    return table_records(file, ((None, Row(number, cells)) for number, cells in table.rows), options)


def _table_end(lines: Sequence[Line], index: int) -> int:
    """Where the table ends whose header is at `index`; `index` where none begins there."""
    if index + 1 >= len(lines) or "|" not in lines[index].head or not _is_divider(lines[index + 1]):
        return index
    end = index + 2
    while end < len(lines) and "|" in lines[end].text and lines[end].head:
        end += 1
    return end


def _is_divider(line: Line) -> bool:
    return "|" in line.head and "-" in line.head and _DIVIDER.match(line.head) is not None


def _cells(line: Line) -> tuple[str, ...]:
    text = line.text.strip(BLANKS).removeprefix("|")
    text = text if text.endswith("\\|") else text.removesuffix("|")
    return tuple(_BREAK.sub("\n", cell).replace("\\|", "|").strip(BLANKS) for cell in _CELL_END.split(text))
