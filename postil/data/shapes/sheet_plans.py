"""From the rows of tables to records: each table of a sheet is planned by its first rows, then read to its end."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from postil.data.files.tables import Row
from postil.data.options import ReadOptions
from postil.data.shapes.columns import Layout
from postil.data.shapes.record import Record
from postil.data.shapes.sessions import find_grouping, group_chats
from postil.data.shapes.sheet_columns import LOOK_CHARS, LOOK_ROWS, SheetPlan, plan_sheet
from postil.data.shapes.sheet_rows import RowJudge, TableRow, skipped_row
from postil.data.shapes.sheet_tables import numbered_tables
from postil.problems import Place, Problem

MOST_NAMES = 200
"""Columns that a problem lists for a form to choose from."""


def table_records(
    file: str, rows: Iterable[tuple[str | None, Row | Problem]], options: ReadOptions
) -> Iterator[Record | Problem]:
    """Records of a file's sheets, each planned by itself.

    Every row that is not blank belongs to one record, to one problem, or is the header; all rows of a sheet without
    questions and answers belong to one problem, whose `values["rows"]` counts them.

    Args:
        file: its name, for places.
        rows: (sheet, row) in file order; sheets come one after the other, and None is the only one of a file without.
        options: the user's word on columns, and whether rows of one chat are kept apart. Where columns are mapped all
            of a sheet is one table.
    """
    for sheet, group in groupby(rows, key=itemgetter(0)):
        in_sheet = (row for _, row in group)
        if options.columns:
            yield from _table_records(file, sheet, in_sheet, options)
            continue
        for number, table in groupby(numbered_tables(in_sheet, has_line_breaks=sheet is None), key=itemgetter(0)):
            yield from _table_records(file, sheet, (row for _, row in table), options, is_another=number > 0)


def _table_records(
    file: str, sheet: str | None, rows: Iterator[Row | Problem], options: ReadOptions, *, is_another: bool = False
) -> Iterator[Record | Problem]:
    head = _head(rows)
    written = [row for row in head if isinstance(row, Row) and not row.is_blank]
    everything = chain(head, rows)
    if not written:
        yield from (item for item in everything if isinstance(item, Problem))
        return
    plan = plan_sheet(written, options)
    if plan.layout is not None and plan.header is not None:
        plan = replace(plan, layout=replace(plan.layout, header_row=plan.header.number))
    if plan.code in ("text", "chats"):
        yield from _stacked_records(file, sheet, plan, everything, options)
    elif plan.layout is None:
        yield from _refused(file, sheet, plan, everything)
    else:
        if is_another and plan.header is not None:
            yield _another_table(file, sheet, plan, plan.header)
        yield from _remarks_on_header(file, sheet, plan, plan.layout, written)
        sample = [
            entry for entry in RowJudge(file, sheet, plan, plan.layout).judge(head) if isinstance(entry, TableRow)
        ]
        grouping = find_grouping(plan.layout, plan.names, sample, options)
        entries = RowJudge(file, sheet, plan, plan.layout).judge(everything)
        if grouping is not None:
            yield from group_chats(file, sheet, grouping, entries)
        else:
            yield from _single_records(file, sheet, _without_chats(plan.layout), entries)


def _head(rows: Iterator[Row | Problem]) -> list[Row | Problem]:
    """The first rows, as many as a plan needs."""
    head: list[Row | Problem] = []
    num_rows = num_chars = 0
    for row in rows:
        head.append(row)
        if isinstance(row, Row):
            num_rows += not row.is_blank
            num_chars += sum(map(len, row.cells))
        if num_rows >= LOOK_ROWS or num_chars >= LOOK_CHARS:
            break
    return head


def _remarks_on_header(
    file: str, sheet: str | None, plan: SheetPlan, layout: Layout, rows: list[Row]
) -> Iterator[Problem]:
    """What the user should look at before anything is learned."""
    header = plan.header
    place = Place(file, header.number if header else plan.start, sheet)
    if header is not None:
        cells = header.cells
        repeated = (c for i, c in enumerate(cells) if c.strip() and c in cells[:i] and i not in header.spread)
        for cell in dict.fromkeys(repeated):
            yield Problem("repeated_column", "warning", place, column=cell, values={"column": cell})
    values = {"question": layout.question or layout.speaker, "answer": layout.answer or layout.content}
    if layout.reason in ("by_content", "no_header") and layout.is_log:
        speaks = {"speaker": layout.speaker, "content": layout.content}
        yield Problem("speaker_columns_by_content", "warning", place, column=layout.content, values=speaks)
    elif header is None:
        first = next(row for row in rows if row.number >= plan.start)
        excerpt = " ".join(" ".join(first.cells)[:200].split())[:80]
        yield Problem("no_header", "warning", place, excerpt=excerpt, values=values | {"row": plan.start})
    elif layout.reason == "by_content" or layout.confidence < 0.9:
        yield Problem("columns_by_content", "warning", place, column=layout.answer, values=values)


def _another_table(file: str, sheet: str | None, plan: SheetPlan, header: Row) -> Problem:
    """Says that from here on the rows are read in another way."""
    values = {"row": header.number, "columns": plan.shown_names}
    return Problem(
        "another_table", "warning", Place(file, header.number, sheet), excerpt=plan.shown_names, values=values
    )


def _without_chats(layout: Layout) -> Layout:
    return replace(layout, session=None, time=None)


def _single_records(
    file: str, sheet: str | None, layout: Layout, entries: Iterable[TableRow | Problem]
) -> Iterator[Record | Problem]:
    """A record for each row; rows that only continue merged cells belong to the one above."""
    waiting: Record | None = None
    for entry in entries:
        if isinstance(entry, Problem):
            yield entry
        elif entry.is_repeat and waiting is not None:
            waiting = replace(waiting, rows=(*(waiting.rows or (waiting.place.row,)), entry.number))
        else:
            if waiting is not None:
                yield waiting
            waiting = None
            place = Place(file, entry.number, sheet)
            if entry.uncalculated is not None:
                values = {"column": entry.uncalculated}
                yield Problem("formula_not_calculated", "error", place, entry.uncalculated, values=values)
            else:
                waiting = Record(place, entry.fields, layout)
    if waiting is not None:
        yield waiting


def _refused(
    file: str, sheet: str | None, plan: SheetPlan, rows: Iterable[Row | Problem]
) -> Iterator[Record | Problem]:
    """One error for a whole sheet, with the number of its rows."""
    num_rows = 0
    for row in rows:
        if isinstance(row, Problem):
            yield row
        elif not row.is_blank and row is not plan.header:
            num_rows += 1
    shown = plan.shown_names
    values: dict[str, Any] = {"columns": shown, "rows": num_rows, "numeric": plan.numeric, "total": len(plan.names)}
    values["names"] = list(plan.all_names[:MOST_NAMES])
    if plan.missing:
        values["missing"] = plan.missing
    yield Problem(plan.code, "error", Place(file, 0, sheet), plan.missing or None, excerpt=shown, values=values)


def _stacked_records(
    file: str, sheet: str | None, plan: SheetPlan, rows: Iterable[Row | Problem], options: ReadOptions
) -> Iterator[Record | Problem]:
    """One column read as text is: its cells below one another, or each as a chat of its own."""
    from postil.data.shapes.text_questions import text_records

    index = next(i for i, name in enumerate(plan.names) if name)
    texts: list[list[tuple[int, str]]] = [[]]
    last = 0
    for row in rows:
        if isinstance(row, Problem):
            yield row
            continue
        cell = row.cells[index] if index < len(row.cells) else ""
        if row.is_blank or row is plan.header:
            continue
        if row.number < plan.start or not cell.strip():
            yield skipped_row(file, sheet, row)
            continue
        if plan.code == "chats":
            texts.append([])
        elif last and row.number > last + 1:
            texts[-1].append((row.number - 1, ""))
        last = row.number
        texts[-1].extend((row.number, line) for line in cell.splitlines())
    guessed: set[str] = set()
    for item in chain.from_iterable(text_records(file, lines, options) for lines in texts if lines):
        if isinstance(item, Problem) and not item.place.row and item.severity == "warning":
            if item.code in guessed:  # the same of every cell
                continue
            guessed.add(item.code)
        yield _in_sheet(item, sheet)


def _in_sheet(item: Record | Problem, sheet: str | None) -> Record | Problem:
    place = replace(item.place, sheet=sheet)
    if isinstance(item, Problem):
        return replace(item, place=place)
    turns = tuple(replace(t, place=replace(t.place, sheet=sheet)) if t.place else t for t in item.turns)
    return replace(item, place=place, turns=turns, rows=tuple(dict.fromkeys(item.rows)))
