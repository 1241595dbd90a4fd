"""Values of JSON and JSONL files, each with its place, read past what is broken."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from postil.problems import Place, Problem

JsonKind = Literal["json", "jsonl"]
_PROBED_LINES = 50
# Numbers stay as they were written: "3.10" is an answer, not 3.1.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_UNREADABLE = (ValueError, RecursionError)


def decode_json(text: str) -> Any:
    """The value of `text`; numbers with a point become Decimal.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return _decoder.decode(text)


def sniff_json(path: Path, encoding: str) -> JsonKind | None:
    """Whether the file holds one JSON value or one per line, by its content; None where it starts like neither."""
    with path.open(encoding=encoding, newline="\n") as file:
        lines = (line for line in file if line.strip())
        first = next(lines, "")
        second = next(lines, None)
    mark = first.lstrip()[:1]
    if mark not in ("{", "["):
        return "jsonl" if mark and path.suffix.lower() != ".csv" and _num_objects(path, encoding) else None
    if mark == "[":
        is_json = path.suffix.lower() in (".json", ".jsonl") or _is_json(path.read_text(encoding=encoding))
        return "json" if is_json else None
    if _is_object(first):
        return "json" if second is None and path.suffix.lower() == ".json" else "jsonl"
    if second is None:
        return "jsonl" if path.suffix.lower() == ".jsonl" else "json"
    if _is_object(path.read_text(encoding=encoding)):
        return "json"
    return "jsonl" if path.suffix.lower() == ".jsonl" or _num_objects(path, encoding) else "json"


def read_jsonl(path: Path, encoding: str) -> Iterator[tuple[int, Any] | Problem]:
    """(physical line, value) of every line that is not blank; a broken line is a problem and reading goes on."""
    with path.open(encoding=encoding, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, decode_json(line)
            except _UNREADABLE:
                _, column = _where_broken(line)
                yield _broken(path, number, number, column, line)


def read_json(path: Path, encoding: str) -> Iterator[tuple[int, Any] | Problem]:
    """(record number, value) of every item of an array; anything else counts as the only record."""
    text = path.read_text(encoding=encoding)
    try:
        value = decode_json(text)
    except _UNREADABLE:
        line, column = _where_broken(text)
        # Counted like an editor does, so that the excerpt shows the line that the sentence names.
        yield _broken(path, 0, line, column, (text.split("\n")[line - 1 : line] or [""])[0])
        return
    yield from enumerate(value, start=1) if isinstance(value, list) else [(1, value)]


def _broken(path: Path, row: int, line: int, column: int, text: str) -> Problem:
    excerpt = text[max(column - 40, 0) : column + 40].strip()
    return Problem(
        "broken_json", "error", Place(path.name, row), excerpt=excerpt, values={"line": line, "column": column}
    )


def _where_broken(text: str) -> tuple[int, int]:
    """(line, column), from 1, of the first character that is not JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno, error.colno
    except _UNREADABLE:
        return 1, 1
    # The standard library lets NaN and halves of surrogate pairs pass.
    if found := re.search(r"\\u[dD][89a-fA-F]|\bNaN\b|-?\bInfinity\b", text):
        before = text[: found.start()]
        return before.count("\n") + 1, found.start() - before.rfind("\n")
    return 1, 1


def _is_json(text: str) -> bool:
    try:
        decode_json(text)
    except _UNREADABLE:
        return False
    return True


def _is_object(text: str) -> bool:
    try:
        return isinstance(decode_json(text), dict)
    except _UNREADABLE:
        return False


def _num_objects(path: Path, encoding: str) -> int:
    """How many of the first lines are a whole JSON object that starts at the margin."""
    with path.open(encoding=encoding, newline="\n") as file:
        return sum(
            line.startswith("{") and _is_object(line) for line, _ in zip(file, range(_PROBED_LINES), strict=False)
        )
