"""Fixes of records: how a check names one, and what each does. Pure: the same record and fix give the same record.

A check attaches one with a constructor, such as `fix=drop_row(place)`; `apply_fix` does it to a record.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from postil.data.checks.json_text import inside_json
from postil.data.checks.message_fixes import (
    Messages,
    drop_empty,
    drop_opening,
    drop_stand_ins,
    drop_unanswered,
    edit_message_lists,
    edit_said,
    merge_consecutive,
)
from postil.data.checks.paths import set_path
from postil.data.checks.text_fixes import Rewrite, rewrite_for
from postil.data.shapes.record import Record
from postil.problems import Fix, FixAction, Place

LEAVES_OUT: tuple[FixAction, ...] = ("drop_row", "keep_first_answer", "keep_added_answer")
"""What takes rows out whole."""
_LIST_ACTIONS: dict[str, Callable[[Messages], Messages]] = {
    "merge_messages": merge_consecutive,
    "drop_opening": drop_opening,
    "drop_last_question": drop_unanswered,
    "drop_empty_messages": drop_empty,
    "drop_stand_ins": drop_stand_ins,
}


def drop_row(*places: Place, automatic: bool = True) -> Fix:
    """Leaves the rows out; a chat put together of several rows goes whole where its first row is named."""
    return Fix("drop_row", places, automatic)


def trim(place: Place) -> Fix:
    """Takes white space off both ends of every text of the row."""
    return Fix("trim", (place,))


def strip_control_characters(place: Place) -> Fix:
    """Takes invisible control characters out of every text of the row."""
    return Fix("strip_control_characters", (place,))


def decode_mojibake(place: Place, *, automatic: bool = False) -> Fix:
    """Decodes garbled text; a suggestion, since only a reader can be sure of it."""
    return Fix("decode_mojibake", (place,), automatic)


def strip_html(place: Place, *, automatic: bool = True) -> Fix:
    """Takes HTML tags out of every text of the row and keeps what stands between them."""
    return Fix("strip_html", (place,), automatic)


def mask_personal_data(place: Place, keep: Sequence[str] = ()) -> Fix:
    """Puts placeholders for personal data; `keep` names what is none, such as the company's own number."""
    return Fix("mask_personal_data", (place,), automatic=False, values={"keep": list(keep)} if keep else {})


def break_control_tokens(place: Place, tokens: Sequence[str] = ()) -> Fix:
    """Puts a space into control tokens; `tokens` names those of the template besides the common ones."""
    return Fix("break_control_tokens", (place,), values={"tokens": list(tokens)} if tokens else {})


def merge_messages(place: Place) -> Fix:
    """Joins consecutive messages of the same speaker with a line break."""
    return Fix("merge_messages", (place,))


def drop_last_question(place: Place) -> Fix:
    """Leaves out what stands after the last answer."""
    return Fix("drop_last_question", (place,))


def drop_empty_messages(place: Place) -> Fix:
    """Leaves out messages without text."""
    return Fix("drop_empty_messages", (place,))


def keep_first_answer(*others: Place) -> Fix:
    """Of several answers to one question keeps the first; `others` are the rows with the rest."""
    return Fix("keep_first_answer", others, automatic=False)


def keep_added_answer(*others: Place) -> Fix:
    """Of several answers to one question keeps the one added by hand last; `others` are the rows with the rest."""
    return Fix("keep_added_answer", others, automatic=False)


def fill_down(place: Place, column: str, value: str) -> Fix:
    """Writes the value of the row above into an empty field."""
    return Fix("fill_down", (place,), values={"path": column, "value": value})


def set_text(place: Place, path: str, value: str, *, automatic: bool = False) -> Fix:
    """Writes a new text at a JSON path, or into a column."""
    return Fix("set_text", (place,), automatic, {"path": path, "value": value})


def apply_fix(
    action: FixAction, record: Record, values: Mapping[str, Any] | None = None, place: Place | None = None
) -> Record | None:
    """The record after the change; None where it is left out.

    Args:
        values: what the action needs besides.
        place: where in the record: of a chat put together of several rows only the messages that stand there are
            changed. Its own place, or None, is the whole record.
    """
    values = values or {}
    if action in LEAVES_OUT:
        return _without(record, place)
    if action in ("repair_json", "add_conversation"):  # done while the rows were read: before, it was no record
        return record
    if rewrite := rewrite_for(action, values):
        return _rewritten(record, rewrite, place)
    if edit := _LIST_ACTIONS.get(action):
        return _with_messages(record, edit)
    return _with_text(record, str(values["path"]), values["value"], place)


def _is_part(record: Record, place: Place | None) -> bool:
    """True where `place` is not the record's but that of some of its messages."""
    return place is not None and place != record.place and any(d.place == place for d in record.turns)


def _without(record: Record, place: Place | None) -> Record | None:
    if not _is_part(record, place):
        return None
    return _or_none(replace(record, turns=tuple(d for d in record.turns if d.place != place)))


def _rewritten(record: Record, rewrite: Rewrite, place: Place | None) -> Record:
    turns = tuple(
        replace(d, content=rewrite_strings(d.content, rewrite))
        if not _is_part(record, place) or d.place == place
        else d
        for d in record.turns
    )
    return replace(record, fields=rewrite_strings(record.fields, rewrite), turns=turns)


def rewrite_strings(value: Any, rewrite: Rewrite) -> Any:
    """Every string in nested lists and objects rewritten, also where a cell holds JSON as text; keys stay."""
    match value:
        case str():
            return inside_json(value, lambda parsed: rewrite_strings(parsed, rewrite)) or rewrite(value)
        case Mapping():
            return {key: rewrite_strings(item, rewrite) for key, item in value.items()}
        case list():
            return [rewrite_strings(item, rewrite) for item in value]
        case _:
            return value


def _with_messages(record: Record, edit: Callable[[Messages], Messages]) -> Record | None:
    if record.turns:
        return _or_none(replace(record, turns=tuple(edit_said(list(record.turns), edit))))
    fields = edit_message_lists(record.fields, edit)
    return None if fields is None else replace(record, fields=fields)


def _with_text(record: Record, path: str, value: Any, place: Place | None) -> Record:
    """A JSON record may lack the field that is to be written; a table has the columns that it has."""
    if not record.turns and path not in record.fields and _may_have_more(record) and path.isidentifier():
        return replace(record, fields={**record.fields, path: value})
    if not record.turns:
        return replace(record, fields=set_path(record.fields, path, value))
    where = place if _is_part(record, place) else None
    turns = tuple(
        replace(d, content=value) if path in (d.path, d.column) and where in (None, d.place) else d
        for d in record.turns
    )
    return replace(record, turns=turns)


def _may_have_more(record: Record) -> bool:
    layout = record.layout
    return layout is None or (layout.header_row is None and layout.reason in ("mapped", "structure"))


def _or_none(record: Record) -> Record | None:
    return record if record.turns else None
