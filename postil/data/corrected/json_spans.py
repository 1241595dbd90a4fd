"""Where the records of a JSON text stand in it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from postil.data.files.json_values import decode_json
from postil.data.files.json_window import JsonWindow
from postil.data.shapes.json_records import lists_of_records

Span = tuple[int, int]
"""(start, end)"""
Spans = Sequence[Span]

_BLANK = re.compile(r"[ \t\r\n\ufeff]*")
_decoder = json.JSONDecoder()


def value_spans(text: str) -> Iterator[Span]:
    """(start, end) of every record, counted as `read_json` counts them, also those that are broken."""
    window, at, is_inside, after_value = JsonWindow(StringIO(text, newline="")), 0, False, False
    while mark := window.next_mark():
        found = _BLANK.match(text, at)
        at = found.end() if found else at
        if (mark == "[" and not is_inside) or (mark == "]" and is_inside) or (mark == "," and after_value):
            is_inside = is_inside if mark == "," else mark == "["
            after_value = mark == "]"
            window.skip()
            at += 1
            continue
        value = window.take_value()
        if value is not None:
            window.accept()
        else:
            value = window.take_broken()[0]
        yield at, at + max(len(value), 1)
        at += max(len(value), 1)
        after_value = True


def spans_in_object(text: str, records: Sequence[Mapping[str, Any]]) -> list[Spans] | None:
    """Where the records of an object stand that holds them one level below, list by list, as they are read.

    Where its members are the records, a question and its answer each, these are the one list.

    Args:
        text: one JSON value.
        records: the fields of some of them; None is returned where the object is itself the record, or is broken.
    """
    try:
        value = decode_json(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or any(fields == value for fields in records):
        return None
    members = {key: (begin, at, end) for key, begin, at, end in _members(text)}
    lists = lists_of_records(value)
    if not lists:
        return [[(begin, end) for begin, _, end in members.values()]]
    return [list(_items(text, members[name][1])) for name in lists]


def _members(text: str) -> Iterator[tuple[str, int, int, int]]:
    """(key, where it begins, where its value does, and where that ends) of an object's text."""
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        begin = at
        key, at = _decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        end = _decoder.raw_decode(text, at)[1]
        yield key, begin, at, end
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _items(text: str, at: int) -> Iterator[Span]:
    """Spans of the items of the array that begins at `at`."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        end = _decoder.raw_decode(text, at)[1]
        yield at, end
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
