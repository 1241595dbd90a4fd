"""Values of JSON and JSONL files, each with its place, read past what is broken."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import msgspec

from postil.data.files.json_faults import MAX_DEPTH, FaultCode, find_faults
from postil.data.files.json_repair import Repair, Repairs, repair_json
from postil.data.files.json_window import JsonWindow
from postil.problems import Fix, Place, Problem, Severity

MAX_FIELD_CHARS = 1_000_000
MAX_LINE_CHARS = 64_000_000
"""A longer line is not even looked at: it would not fit beside everything else."""
# Numbers stay as they were written: "3.10" is an answer, not 3.1.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder()
_UNREADABLE = (ValueError, RecursionError)

Item = tuple[int, Any] | Problem


def decode_json(text: str) -> Any:
    """The value of `text`; numbers with a point become Decimal.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return _decoder.decode(text)


def read_jsonl(path: Path, encoding: str, repairs: Repairs | None = None) -> Iterator[Item]:
    """(physical line, value) of every line that is not blank; a broken line is its problems, and reading goes on.

    Args:
        repairs: which lines are repaired; they are read like good ones.
    """
    repairs = repairs or Repairs()
    with path.open(encoding=encoding, newline="\n") as file:
        for number, line in enumerate(_lines(file), start=1):
            try:
                value = _decoder.decode(line)
            except _UNREADABLE:
                yield from _mended_line(path.name, number, line, repairs)
                continue
            if _is_suspect(line, value):
                yield from _judged(path.name, number, line, value)
            else:
                yield number, value


def read_json(path: Path, encoding: str, repairs: Repairs | None = None) -> Iterator[Item]:
    """(record number, value) of every item of an array; anything else counts as the only record.

    Records are read one by one, so a file may be larger than memory. A broken one is its problems, and reading goes on
    with the next. Several values after one another are several records.

    Args:
        repairs: which records are repaired; they are read like good ones.
    """
    with path.open(encoding=encoding, newline="\n") as file:
        yield from _read_window(path.name, JsonWindow(file), repairs or Repairs())


def _lines(file: TextIO) -> Iterator[str]:
    """Physical lines; one over the limit is cut there, and its rest is skipped."""
    while line := file.readline(MAX_LINE_CHARS):
        if len(line) == MAX_LINE_CHARS:
            while (rest := file.readline(1 << 20)) and not rest.endswith("\n"):
                pass
        yield line


def _mended_line(file: str, number: int, line: str, repairs: Repairs) -> Iterator[Item]:
    """A line that is no JSON: blank, whole but for a mark at its ends, or its problems."""
    text = line.strip().lstrip("\ufeff").rstrip(",").rstrip()
    if not text:
        return
    if len(line) >= MAX_LINE_CHARS:
        yield _too_long(file, number, None, line)
        return
    try:
        value = decode_json(text)
    except _UNREADABLE:
        found = find_faults(line).faults
        repaired = repair_json(text, found)
        if repaired is not None and number in repairs.rows:
            yield from _repaired(file, Repair(number, line.rstrip("\r\n"), repaired), repairs)
            return
        for code, at in _in_order(found, line):
            yield _broken(code, Place(file, number), line, at, (number, 1), repaired is not None)
    else:
        yield from _judged(file, number, text, value)


def _repaired(file: str, repair: Repair, repairs: Repairs) -> Iterator[Item]:
    repairs.done[repair.row] = repair
    yield from _judged(file, repair.row, repair.after, decode_json(repair.after))


def _read_window(file: str, window: JsonWindow, repairs: Repairs) -> Iterator[Item]:
    number, is_inside, ends_with = 0, False, ""
    while mark := window.next_mark():
        if mark == "[" and not is_inside:
            is_inside = True
            window.skip()
        elif mark == "]" and is_inside:
            if ends_with == ",":
                yield _window_problem(file, number, "json_comma_too_many", window, "warning")
            is_inside = False
            window.skip()
        elif mark == "," and ends_with in ("value", "broken"):
            window.skip()
        else:
            number += 1
            if is_inside and ends_with == "value":
                yield _window_problem(file, number, "json_missing_comma", window, "warning")
            mark = "value"
            for item in _window_value(file, number, window, repairs):
                is_broken = isinstance(item, Problem) and item.severity == "error"
                # The text of a repaired one went as far as that of a broken one. Whoever takes the item forgets it.
                mark = "broken" if is_broken or number in repairs.done else "value"
                yield item
        ends_with = mark
    if is_inside and ends_with != "broken":
        yield _window_problem(file, 0, "json_unfinished", window, "warning")


def _window_value(file: str, number: int, window: JsonWindow, repairs: Repairs) -> Iterator[Item]:
    """The next value, or what is wrong with it; the window then stands behind it in both cases."""
    text = window.take_value()
    if text is not None:
        try:
            value = decode_json(text)
        except _UNREADABLE:
            pass
        else:
            window.accept()
            yield from _judged(file, number, text, value)
            return
    broken, *where = window.take_broken()
    found = find_faults(broken, is_alone=False)
    value, rest = broken[: found.end], broken[found.end :] if found.end else ""
    repaired = None if rest.strip(" \t\r\n,") else repair_json(value, found.faults)
    if repaired is not None and number in repairs.rows:
        yield from _repaired(file, Repair(number, value, repaired), repairs)
        return
    for code, at in _in_order(found.faults, broken):
        yield _broken(code, Place(file, number), broken, at, (where[0], where[1]), repaired is not None)


def _judged(file: str, number: int, text: str, value: Any) -> Iterator[Item]:
    """A value that is JSON, unless a text in it is too long; keys that occur twice are named first."""
    place = Place(file, number)
    if len(text) > MAX_FIELD_CHARS and (name := _long_field(value)) is not None:
        yield _too_long(file, number, name, text)
    elif _is_too_deep(text, value):
        yield Problem("json_too_deep", "error", place, excerpt=text[:80], values={"line": number, "column": 1})
    else:
        if _has_fewer_keys(text, value) and (keys := _repeated_keys(text)):
            shown = ", ".join(keys[:5])
            yield Problem("duplicate_keys", "warning", place, column=keys[0], excerpt=shown, values={"keys": shown})
        yield number, value


def _is_suspect(text: str, value: Any) -> bool:
    return _has_fewer_keys(text, value) or len(text) > MAX_FIELD_CHARS or _may_be_deep(text)


def _has_fewer_keys(text: str, value: Any) -> bool:
    """Whether the value, written anew, has fewer keys than the text: a key that occurs twice is kept once.

    Also true where there is a blank before a colon; a closer look tells. Cheap, because most rows need no more.
    """
    return _encoder.encode(value).count(b'":') != text.count('":')


def _repeated_keys(text: str) -> list[str]:
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        repeated.extend(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)

    json.loads(text, object_pairs_hook=note)
    return list(dict.fromkeys(repeated))


def _may_be_deep(text: str) -> bool:
    return len(text) > MAX_DEPTH and text.count("[") + text.count("{") > MAX_DEPTH


def _is_too_deep(text: str, value: Any) -> bool:
    if not _may_be_deep(text):
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _long_field(value: Any, name: str = "") -> str | None:
    """The name of the first field with a text over the limit; "" where the value itself is one."""
    if isinstance(value, str):
        return name if len(value) > MAX_FIELD_CHARS else None
    inner = value.items() if isinstance(value, dict) else ((name, i) for i in value) if isinstance(value, list) else ()
    found = (_long_field(item, name or str(key)) for key, item in inner)
    return next((f for f in found if f is not None), None)


def _too_long(file: str, number: int, name: str | None, text: str) -> Problem:
    return Problem(
        "field_too_long", "error", Place(file, number), column=name or None, excerpt=text[:80].strip(), values={}
    )


def _in_order(faults: dict[FaultCode, int], text: str) -> list[tuple[FaultCode, int]]:
    """Faults by position; where the forgiving reader has found none, the place where the standard library stops."""
    named = {code: at for code, at in faults.items() if code != "broken_json" or len(faults) == 1}
    if named:
        return sorted(named.items(), key=lambda fault: fault[1])
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return [("broken_json", error.pos)]
    except _UNREADABLE:
        return [("json_too_deep", 0)]
    return [("broken_json", 0)]


def _broken(code: FaultCode, place: Place, text: str, at: int, start: tuple[int, int], is_repairable: bool) -> Problem:
    """A fault at a position of a text, which begins at a line and column of the file."""
    before, (line, column) = text[:at], start
    column = at - before.rfind("\n") if "\n" in before else column + at
    problem = _problem(code, "error", place, line + before.count("\n"), column, _around(text, at))
    return replace(problem, fix=Fix("repair_json", (place,))) if is_repairable else problem


def _window_problem(file: str, row: int, code: FaultCode, window: JsonWindow, severity: Severity) -> Problem:
    line, column = window.where()
    return _problem(code, severity, Place(file, row), line, column, window.around())


def _problem(code: FaultCode, severity: Severity, place: Place, line: int, column: int, excerpt: str) -> Problem:
    return Problem(code, severity, place, excerpt=excerpt, values={"line": line, "column": column})


def _around(text: str, at: int) -> str:
    """The line around a position, forty characters either side."""
    start = max(text.rfind("\n", 0, at) + 1, at - 40)
    return text[start : at + 40].split("\n")[0].strip()
