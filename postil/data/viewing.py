"""Rows of a file as a page shows them: what stands in each cell, what it says, and whether an edit touches it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from postil.data.checks.overlay import Overlay
from postil.data.checks.plain_problems import plain_place
from postil.data.conversations import Conversation
from postil.data.options import ReadOptions
from postil.data.records import read_records
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Record
from postil.problems import Place, Problem

MOST_SHOWN_CHARS = 2000


def view_rows(
    path: Path,
    options: ReadOptions,
    name: str,
    overlay: Overlay,
    *,
    offset: int = 0,
    limit: int = 20,
    places: Collection[Place] = (),
    unlearned: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yields a row at a time: place, stands_at, cells, messages, and whether it is edited or left out.

    `stands_at` lists every place of the row: its own, those of rows that were joined to it, those of its messages.

    Args:
        offset: so many rows are passed over.
        places: only rows that stand there.
        unlearned: only rows that do not train, because they are left out or cannot.

    Raises:
        DataError: the file cannot be read.
    """
    records = overlay.laid_over(read_records(path, options, name))
    rows = (item for item in _one_a_row(records) if not places or not _stands_at(item).isdisjoint(places))
    shown = (_broken_row(item, overlay) if isinstance(item, Problem) else _row(item, overlay) for item in rows)
    if unlearned:
        shown = (row for row in shown if not is_learned(row))
    yield from islice(shown, offset, offset + limit)


def is_learned(row: Mapping[str, Any]) -> bool:
    """True where a row that `view_rows` has shown trains."""
    return bool(row["messages"]) and not row["is_left_out"]


def plain_conversation(conversation: Conversation) -> dict[str, Any]:
    """A conversation to be shown; what is very long is cut, and says so."""
    return {
        "place": plain_place(conversation.place),
        "messages": [
            {
                "role": m.role,
                "content": m.content[:MOST_SHOWN_CHARS],
                "is_cut": len(m.content) > MOST_SHOWN_CHARS,
                "weight": m.weight,
                "calls": [call.name for call in m.tool_calls],
            }
            for m in conversation.messages
        ],
    }


def _one_a_row(items: Iterable[Record | Problem]) -> Iterator[Record | Problem]:
    """Records, and rows that are none; of several things that are wrong with such a row the first stands for it."""
    last: Place | None = None
    for item in items:
        if isinstance(item, Record) or (item.severity == "error" and item.place.row > 0 and item.place != last):
            last = item.place
            yield item


def _stands_at(item: Record | Problem) -> set[Place]:
    if isinstance(item, Problem):
        return {item.place}
    rows = {replace(item.place, row=row) for row in item.rows}
    return {item.place} | rows | {draft.place for draft in item.turns if draft.place}


def _broken_row(problem: Problem, overlay: Overlay) -> dict[str, Any]:
    """A row that is no record: the beginning of what stands there."""
    cell = {"place": plain_place(problem.place), "column": problem.column or "", "text": problem.excerpt}
    return {
        "place": plain_place(problem.place),
        "stands_at": [plain_place(problem.place)],
        "cells": [cell],
        "messages": [],
        "is_edited": overlay.touches(problem.place),
        "is_left_out": overlay.drops(problem.place),
    }


def _row(record: Record, overlay: Overlay) -> dict[str, Any]:
    after = overlay.apply(record)
    shown = record if after is None else after
    messages = read_messages(shown).messages
    return {
        "place": plain_place(record.place),
        "stands_at": [plain_place(place) for place in _stands_at(record)],
        "cells": list(_cells(shown)),
        "messages": plain_conversation(Conversation(messages, record.place))["messages"] if messages else [],
        "is_edited": after is not record or overlay.touches(record.place),
        "is_left_out": after is None,
    }


def _cells(record: Record) -> Iterator[dict[str, Any]]:
    """Every text with the column or path by which it can be set."""
    if not record.turns:
        for path, text in _texts(record.fields):
            yield {"place": plain_place(record.place), "column": path, "text": text}
    for draft in record.turns:
        place = plain_place(draft.place or record.place)
        yield {"place": place, "column": draft.column or draft.path, "text": _as_text(draft.content)}


def _texts(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        yield from _texts_of(value, f"{prefix}{name}")


def _texts_of(value: Any, path: str) -> Iterator[tuple[str, str]]:
    match value:
        case Mapping():
            yield from _texts(value, f"{path}.")
        case list():
            for i, item in enumerate(value):
                yield from _texts_of(item, f"{path}[{i}]")
        case _:
            yield path, _as_text(value)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
