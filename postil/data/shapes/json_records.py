"""From the values of a JSON file to records: where the entries stand, if not simply in a list of objects."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain, islice
from typing import Any

from postil.data.options import Purpose, ReadOptions
from postil.data.shapes.columns import Layout, find_layout, mapped_layout, normalize_name
from postil.data.shapes.drafts import excerpt_of
from postil.data.shapes.json_logs import is_log_row, is_people_log, log_records, people_layout
from postil.data.shapes.record import Record
from postil.data.shapes.turns import find_turns, is_message, is_message_list
from postil.problems import Place, Problem

Item = tuple[int, Any] | Problem
Columns = tuple[tuple[Purpose, str], ...]

NESTED_CONFIDENCE = 0.95
PAIRS_CONFIDENCE = 0.8
FEWEST_PAIRS = 3
LOOK_ENTRIES = 100
"""How many entries show whether a few people speak in turns."""
_HELD_BACK_NAMES = ("test", "val", "valid", "validation", "dev", "eval", "evaluation")
_CODE_LIKE = re.compile(r"[A-Za-z0-9_.\-]*")


def json_records(file: str, values: Iterator[Item], options: ReadOptions) -> Iterator[Record | Problem]:
    """Every entry as a record.

    A file that is one object may hold its records one level below ({"data": [...]}), or be the questions and answers
    itself ({"How ...?": "So.", ...}). Entries may be lists: [question, answer], or a list of messages.
    """
    head = list(islice(values, 2))
    if len(head) == 1 and isinstance(head[0], tuple) and isinstance(head[0][1], dict) and not options.columns:
        yield from _single_object(file, *head[0])
        return
    columns = tuple(options.columns.items())
    find: Callable[[Mapping[str, Any]], Layout] = partial(_layout, columns=columns)
    is_log = _is_log(_values(head), columns)
    if not is_log and not columns and _may_be_people(_values(head)):
        head += islice(values, LOOK_ENTRIES)
        is_log, find = is_people_log(_values(head)), people_layout
    items = chain(head, values)
    if is_log:
        yield from log_records(file, _log_entries(file, items, find))
        return
    for item in items:
        if isinstance(item, Problem):
            yield item
            continue
        number, value = item
        if type(value) is dict:
            yield Record(Place(file, number), value, _layout(value, columns) if columns else None)
        elif number > 1 or not _is_header(value):
            yield _list_record(Place(file, number), value)


def _is_log(values: Sequence[Any], columns: Columns) -> bool:
    """Whether entries are single messages, as the first two show: one of them names its side."""
    if not values or not all(isinstance(value, dict) for value in values):
        return False
    layouts = [_layout(value, columns) for value in values]
    return layouts[0].is_log and any(map(is_log_row, values, layouts))


def _values(items: Sequence[Item]) -> list[Any]:
    return [item[1] for item in items if not isinstance(item, Problem)]


def _may_be_people(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) and people_layout(value).is_log for value in values)


def _layout(value: Mapping[str, Any], columns: Columns) -> Layout:
    return _mapped(tuple(value), columns) if columns else find_layout(tuple(value))


def _log_entries(
    file: str, items: Iterator[Item], find: Callable[[Mapping[str, Any]], Layout]
) -> Iterator[tuple[int, Mapping[str, Any], Layout] | Problem]:
    """Entries of which the first is a message; one that is none cannot be told a place in a chat."""
    for item in items:
        if isinstance(item, Problem):
            yield item
        elif isinstance(item[1], dict) and (layout := find(item[1])).is_log:
            yield (*item, layout)
        else:
            yield Problem("not_a_message", "error", Place(file, item[0]), excerpt=excerpt_of(item[1]))


def _list_record(place: Place, value: Any) -> Record | Problem:
    """A record out of an entry that is a list."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        return Record(place, dict(zip(("question", "answer"), value, strict=True)), _structure(("question", "answer")))
    if is_message_list(value):
        return Record(place, {"messages": value}, _structure(("messages",)))
    return Problem("not_an_object", "error", place, excerpt=excerpt_of(value))


def _single_object(file: str, number: int, value: Mapping[str, Any]) -> Iterator[Record | Problem]:
    if lists := lists_of_records(value):
        yield from _nested_records(file, value, lists)
    elif _is_record(value, find_layout(tuple(value))) or not _is_pairs(value):
        yield Record(Place(file, number), value)
    else:
        pairs = _structure(("question", "answer"), PAIRS_CONFIDENCE)
        for row, (question, answer) in enumerate(value.items(), start=1):
            yield Record(Place(file, row), {"question": question, "answer": answer}, pairs)


def lists_of_records(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the lists in a file's one object that hold its records, as they are read; () where it is one itself."""
    nested = [name for name, items in value.items() if _holds_records(items)]
    if not nested or _is_record(value, find_layout(tuple(value))):
        return ()
    held_back = [name for name in nested if normalize_name(name) in _HELD_BACK_NAMES]
    return tuple(name for name in nested if name not in held_back) or tuple(held_back)


def _nested_records(file: str, value: Mapping[str, Any], lists: Sequence[str]) -> Iterator[Record | Problem]:
    """The records of every list, counted through; lists that are held back for testing are named, not read."""
    for name in value:
        if name not in lists and _holds_records(value[name]):
            values = {"column": name, "rows": len(value[name])}
            yield Problem("held_back_list", "warning", Place(file), column=name, json_path=name, values=values)
    row = 0
    for name in lists:
        for item in value[name]:
            row += 1
            place = Place(file, row)
            if isinstance(item, dict):
                yield Record(place, item, _structure(tuple(item)))
            else:
                yield _list_record(place, item)


def _is_record(value: Mapping[str, Any], layout: Layout) -> bool:
    """Whether the object itself says something: a pair, a comparison, or turns that are no records themselves."""
    if layout.is_pair or (layout.question and layout.chosen):
        return not any(_holds_records(value[name]) for name in (layout.question, layout.answer) if name)
    turns = find_turns(value, layout)
    return turns is not None and not any(isinstance(item, dict) and _has_turns(item) for item in turns[1])


def _has_turns(item: Mapping[str, Any]) -> bool:
    return not is_message(item) and find_turns(item, find_layout(tuple(item))) is not None


def _holds_records(value: Any) -> bool:
    """True for a list of objects that are no messages, of pairs, or of message lists."""
    if not isinstance(value, list) or not value or is_message_list(value):
        return False
    return all(isinstance(i, dict) for i in value) or all(isinstance(_list_record(Place(""), i), Record) for i in value)


def _is_pairs(value: Mapping[str, Any]) -> bool:
    """Whether names and values read like questions and answers: all of them texts, the names hardly like code."""
    if len(value) < FEWEST_PAIRS or not all(isinstance(v, str) for v in value.values()):
        return False
    return sum(_CODE_LIKE.fullmatch(name) is not None for name in value) * 5 <= len(value)


def _is_header(value: Any) -> bool:
    """Whether the first of many lists names its columns."""
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        return False
    return find_layout(tuple(value)).is_pair


@lru_cache(maxsize=1024)
def _structure(names: tuple[str, ...], confidence: float = NESTED_CONFIDENCE) -> Layout:
    return replace(find_layout(names), reason="structure", confidence=confidence)


@lru_cache(maxsize=1024)
def _mapped(names: tuple[str, ...], columns: Columns) -> Layout:
    return mapped_layout(names, dict(columns))
