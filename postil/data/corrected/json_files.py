"""JSON and JSONL again: what is not changed stays as it was written, character for character."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from postil.data.corrected.changes import RecordChange
from postil.data.files.json_window import JsonWindow

_BLANK = re.compile(r"[ \t\r\n\ufeff]*")


def corrected_jsonl(path: Path, encoding: str, changes: Sequence[RecordChange]) -> Iterator[str]:
    """The file's lines, without those left out; a changed one is written in its own spacing."""
    by_row, repaired = _by_row(changes), _repaired_texts(changes)
    with path.open(encoding=encoding, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            change = by_row.get(number)
            body = line.rstrip("\r\n")
            text, line_end = repaired.get(number, body), line[len(body) :]
            if change is None:
                yield text + line_end
            elif change.after is not None:
                yield JsonStyle(text).dump(change.after.fields) + line_end


def corrected_json(path: Path, encoding: str, changes: Sequence[RecordChange]) -> Iterator[str]:
    """The file's text with the items of its array replaced or cut out; all other text stays."""
    with path.open(encoding=encoding, newline="") as file:
        text = file.read()
    spans = list(_value_spans(text))
    by_row, repaired = _by_row(changes), _repaired_texts(changes)
    kept = [n for n in range(len(spans)) if (change := by_row.get(n + 1)) is None or change.after is not None]
    if not kept:
        yield "[]\n"
        return
    is_array = "[" in text[: spans[0][0]]
    yield text[: spans[0][0]]
    for number in kept:
        begin, end = spans[number]
        if number != kept[0]:
            yield _between(text[spans[number - 1][1] : begin], is_array)
        value = repaired.get(number + 1, text[begin:end])
        yield _rewritten(value, _margin(text, begin), by_row.get(number + 1))
    yield _closing(text[spans[-1][1] :], is_array)


def _by_row(changes: Sequence[RecordChange]) -> dict[int, RecordChange]:
    """Those that say something else than the text does, once that is JSON."""
    return {change.before.place.row: change for change in changes if change.after is not change.before}


def _repaired_texts(changes: Sequence[RecordChange]) -> dict[int, str]:
    return {repair.row: repair.after for change in changes for repair in change.before.repairs}


def _value_spans(text: str) -> Iterator[tuple[int, int]]:
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


def _between(gap: str, is_array: bool) -> str:
    return gap if "," in gap or not is_array else f",{gap}"


def _closing(rest: str, is_array: bool) -> str:
    """What follows the last item, with exactly the bracket that the array lacks, and without a comma too many."""
    if not is_array:
        return rest
    rest = re.sub(r"\A(\s*),", r"\1", rest)
    return rest if "]" in rest else f"\n]{rest}"


def _rewritten(value: str, margin: str, change: RecordChange | None) -> str:
    if change is None or change.after is None:
        return value
    return JsonStyle(value, margin).dump(change.after.fields)


def _margin(text: str, begin: int) -> str:
    line = text[text.rfind("\n", 0, begin) + 1 : begin]
    return "" if line.strip() else line


class JsonStyle:
    """How a JSON text is written: spaces after marks, an indent, or neither; found in the text of an object.

    Args:
        margin: white space before the text's first line, which all lines of it have.
    """

    def __init__(self, text: str, margin: str = ""):
        broken = re.search(r"(\r?\n)([ \t]*)\S", text)
        self._indent = None if broken is None else broken[2].removeprefix(margin)
        self._line_end = "\n" if broken is None else broken[1]
        space = " " if re.search(r'"\s*:\s', text) else ""
        has_item_space = bool(space) or re.search(r'[\]}"\d], ["{\[]', text) is not None
        self._item_mark, self._key_mark = ", " if has_item_space else ",", f":{space}"
        self._margin = margin
        self._is_ascii = text.isascii() and re.search(r"\\u[0-9a-fA-F]{4}", text) is not None

    def dump(self, value: Any, depth: int = 0) -> str:
        """The value's text; Decimals keep their digits."""
        match value:
            case Decimal():
                return str(value)
            case Mapping():
                items = [f"{self._text(str(k))}{self._key_mark}{self.dump(v, depth + 1)}" for k, v in value.items()]
                return self._block("{", items, "}", depth)
            case list():
                return self._block("[", [self.dump(v, depth + 1) for v in value], "]", depth)
            case _:
                return self._text(value)

    def _text(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=self._is_ascii)

    def _block(self, opening: str, items: Sequence[str], closing: str, depth: int) -> str:
        if self._indent is None or not items:
            return opening + self._item_mark.join(items) + closing
        inner = self._line_end + self._margin + self._indent * (depth + 1)
        outer = self._line_end + self._margin + self._indent * depth
        return opening + inner + f",{inner}".join(items) + outer + closing
