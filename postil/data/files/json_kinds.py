"""Whether a file is one JSON value or one per line."""

import re
from pathlib import Path
from typing import Any, Literal

from postil.data.files.json_values import decode_json

JsonKind = Literal["json", "jsonl"]
_SNIFFED_CHARS = 1 << 20
_PROBED_LINES = 50


def sniff_json(path: Path, encoding: str) -> JsonKind | None:
    """Whether the file holds one JSON value or one per line, by its content; None where it starts like neither."""
    with path.open(encoding=encoding, newline="\n") as file:
        head = file.read(_SNIFFED_CHARS).lstrip("\ufeff")
        is_whole = not file.read(1)
    lines = [line for line in head.split("\n") if line.strip()]
    lines = lines[: _PROBED_LINES + 1] if is_whole or len(lines) < 2 else lines[:-1][: _PROBED_LINES + 1]
    suffix = path.suffix.lower()
    match head.lstrip()[:1]:
        case "[":
            return _sniff_array(head, lines, is_whole, suffix in (".json", ".jsonl"))
        case "{" if len(lines) == 1:
            return "json" if suffix != ".jsonl" and (suffix == ".json" or not _is_closed(lines[0])) else "jsonl"
        case "{" if _is_closed(lines[0]):
            return "jsonl"
        case "{":
            return "jsonl" if 2 * sum(map(_is_object, lines[1:])) >= len(lines) - 1 else "json"
        case mark:
            return "jsonl" if mark and suffix != ".csv" and any(map(_is_object, lines)) else None


def _sniff_array(head: str, lines: list[str], is_whole: bool, is_named_json: bool) -> JsonKind | None:
    if len(lines) > 1 and all(_is_array(line) for line in lines[:2]):
        return "jsonl"
    if is_named_json:
        return "json"
    if is_whole:
        return "json" if _is_array(head) else None
    return "json" if re.match(r"\[\s*[\[{]\s*[\"\[{]", head) else None


def _is_closed(line: str) -> bool:
    """Whether a line looks like a whole object, broken or not."""
    return line.startswith("{") and line.rstrip().rstrip(",").endswith("}")


def _is_object(line: str) -> bool:
    return line.startswith("{") and isinstance(_value_or_none(line), dict)


def _is_array(text: str) -> bool:
    return isinstance(_value_or_none(text), list)


def _value_or_none(text: str) -> Any:
    try:
        return decode_json(text)
    except (ValueError, RecursionError):
        return None
