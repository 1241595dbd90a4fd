"""JSON and JSONL again: what is not changed stays as it was written, character for character."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from postil.data.corrected.changes import RecordChange, pair_drafts
from postil.data.corrected.json_spans import Spans, spans_in_object, value_spans
from postil.data.files.json_values import decode_json
from postil.data.shapes.drafts import Draft

_Edit = Callable[[str], Any]
"""From an entry's text to its new value."""


def corrected_jsonl(path: Path, encoding: str, changes: Sequence[RecordChange]) -> Iterator[str]:
    """The file's lines, without those left out; a changed one is written in its own spacing."""
    edits, repaired = _edits(changes), _repaired_texts(changes)
    with path.open(encoding=encoding, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            body = line.rstrip("\r\n")
            text, line_end = repaired.get(number, body), line[len(body) :]
            edit = edits.get(number, _unchanged)
            if edit is not None:
                yield (text if edit is _unchanged else JsonStyle(text).dump(edit(text))) + line_end


def corrected_json(path: Path, encoding: str, changes: Sequence[RecordChange]) -> Iterator[str]:
    """The file's text with the items of its array replaced or cut out; all other text stays."""
    with path.open(encoding=encoding, newline="") as file:
        text = file.read()
    edits, repaired, spans = _edits(changes), _repaired_texts(changes), list(value_spans(text))
    is_array = "[" in text[: spans[0][0]]
    if edits and len(spans) == 1 and not is_array:
        begin, end = spans[0]
        whole = repaired.get(1, text[begin:end])
        if (lists := spans_in_object(whole, [change.before.fields for change in changes])) is not None:
            yield from (text[:begin], *_with_edits_inside(whole, lists, edits), text[end:])
            return
    numbered = ((n, edits.get(n + 1, _unchanged)) for n in range(len(spans)))
    kept = [(n, edit) for n, edit in numbered if edit is not None]
    if not kept:
        yield "[]\n"
        return
    yield text[: spans[0][0]]
    for number, edit in kept:
        begin, end = spans[number]
        if number != kept[0][0]:
            yield _between(text[spans[number - 1][1] : begin], is_array)
        value = repaired.get(number + 1, text[begin:end])
        yield _rewritten(value, _margin(text, begin), edit)
    yield _closing(text[spans[-1][1] :], is_array)


def _with_edits_inside(text: str, lists: Sequence[Spans], edits: Mapping[int, _Edit | None]) -> Iterator[str]:
    """One object's text with the records in its lists replaced or cut out; they are counted through."""
    number, at = 0, 0
    for spans in sorted(lists, key=itemgetter(0)):
        yield text[at : spans[0][0]]
        last: int | None = None
        for n, (begin, end) in enumerate(spans):
            number += 1
            edit = edits.get(number, _unchanged)
            if edit is None:
                continue
            yield "" if last is None else text[spans[n - 1][1] : begin]
            yield _rewritten(text[begin:end], _margin(text, begin), edit)
            last = n
        at = spans[-1][1]
    yield text[at:]


# --- What becomes of one entry ---------------------------------------------------------------------------------------


def _unchanged(text: str) -> Any:
    return text


def _edits(changes: Sequence[RecordChange]) -> dict[int, _Edit | None]:
    """By the number of the entry; None where it is left out. Where a repair is all there is, nothing is edited."""
    edits: dict[int, _Edit | None] = {}
    for change in changes:
        after = change.after
        if after is None:
            edits.update(dict.fromkeys(change.rows))
        elif change.before.turns:
            edits.update(_edits_of_log(change.before.turns, after.turns))
        elif after is not change.before:
            edits[change.before.place.row] = partial(_in_form_of, fields=after.fields)
    return edits


def _edits_of_log(before: Sequence[Draft], after: Sequence[Draft]) -> Iterator[tuple[int, _Edit | None]]:
    """A chat whose messages are entries of their own."""
    for draft, left in pair_drafts(before, after):
        if draft.place is None:
            continue
        if left is None:
            yield draft.place.row, None
        elif left.content != draft.content:
            yield draft.place.row, partial(_with_content, key=draft.path, content=left.content)


def _with_content(text: str, key: str, content: Any) -> Any:
    return {**decode_json(text), key: content}


def _in_form_of(text: str, fields: Mapping[str, Any]) -> Any:
    """The fields as the entry was written: an object, a list of messages, [question, answer], or "question": answer."""
    if text.startswith("["):
        return fields["messages"] if "messages" in fields else list(fields.values())
    return {fields["question"]: fields["answer"]} if text.startswith('"') else fields


def _repaired_texts(changes: Sequence[RecordChange]) -> dict[int, str]:
    return {repair.row: repair.after for change in changes for repair in change.before.repairs}


def _rewritten(value: str, margin: str, edit: _Edit) -> str:
    if edit is _unchanged:
        return value
    written = JsonStyle(value, margin).dump(edit(value))
    return written[1:-1].strip() if value.startswith('"') else written  # a member of an object has no brackets


def _between(gap: str, is_array: bool) -> str:
    return gap if "," in gap or not is_array else f",{gap}"


def _closing(rest: str, is_array: bool) -> str:
    """What follows the last item, with exactly the bracket that the array lacks, and without a comma too many."""
    if not is_array:
        return rest
    rest = re.sub(r"\A(\s*),", r"\1", rest)
    return rest if "]" in rest else f"\n]{rest}"


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
