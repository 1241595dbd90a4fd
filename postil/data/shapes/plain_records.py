"""The straight way for records that hold nothing but plain text in good order: most rows of most files.

Whatever is unusual is left to `formats.read_any_record`, which must say the same of every record that is read here
(a test holds both together).
"""

from functools import lru_cache
from typing import Any

from postil.data.conversations import Message, Role
from postil.data.shapes.columns import Kind, Layout
from postil.data.shapes.drafts import Origin
from postil.data.shapes.media_stand_ins import is_stand_in
from postil.data.shapes.record import Reading, Record

_ROLES: dict[str, Role] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "system": "system",
}


def read_plain_record(record: Record, layout: Layout) -> Reading | None:
    """What the record says, where that is plain; None leaves it to the general way."""
    if record.turns or layout.rejected or layout.chosen or layout.kto_labels or layout.tools:
        return None
    try:
        return _read_turns(record, layout) if layout.turns else _read_pair(record, layout)
    except (KeyError, TypeError):  # an entry that is no object, or has no such key
        return None


def _read_turns(record: Record, layout: Layout) -> Reading | None:
    """A list of [system,] user, assistant, user, assistant ... with two keys each."""
    column = layout.turns[0]
    items = record.fields[column]
    if type(items) is not list or not items or (layout.system and _is_given(record.fields[layout.system])):
        return None
    shape, role_key, text_key = ("messages", "role", "content") if "role" in items[0] else ("sharegpt", "from", "value")
    messages: list[Message] = []
    expected: Role = "user"
    for item in items:
        text = item[text_key]
        role = _ROLES[item[role_key]]
        if len(item) != 2 or type(text) is not str or not text or text.isspace() or is_stand_in(text):
            return None
        if role != expected:
            if messages or role != "system":
                return None
        else:
            expected = "user" if role == "assistant" else "assistant"
        messages.append(Message(role, text))
    if messages[-1].role != "assistant":
        return None
    kind: Kind = "chat" if len(messages) > 3 else "qa"
    origins = _list_origins(column, text_key, len(messages))
    return Reading(shape, tuple(messages), (), origins, kind, (), layout)


def _read_pair(record: Record, layout: Layout) -> Reading | None:
    """A question and an answer, perhaps with a further input and a system message, without history."""
    fields = record.fields
    if layout.question is None or layout.answer is None:
        return None
    question, answer = fields[layout.question], fields[layout.answer]
    if (
        not _is_plain(question)
        or not _is_plain(answer)
        or is_stand_in(answer)
        or (layout.history and _is_given(fields[layout.history]))
    ):
        return None
    if layout.extra_input and _is_given(extra := fields[layout.extra_input]):
        if not _is_plain(extra):
            return None
        question = f"{question}\n{extra}"
    messages: tuple[Message, ...] = (Message("user", question), Message("assistant", answer))
    system = fields[layout.system] if layout.system else None
    if _is_given(system):
        if not _is_plain(system):
            return None
        messages = (Message("system", str(system)), *messages)
    shape, origins = _pair_origins(layout.question, layout.answer, layout.system if _is_given(system) else None)
    return Reading(shape, messages, (), origins, layout.kind, (), layout)


def _is_given(value: Any) -> bool:
    """True for anything but nothing: a 0 is something, and no plain text."""
    return value is not None and value != "" and value != []


def _is_plain(value: Any) -> bool:
    return type(value) is str and value != "" and not value.isspace()


def pair_shape(question: str | None, answer: str | None) -> str:
    """What a record of two fields is called: "alpaca", or their names."""
    return "alpaca" if (question, answer) == ("instruction", "output") else f"{question or '?'}/{answer or '?'}"


@lru_cache(maxsize=1024)
def _list_origins(column: str, text_key: str, length: int) -> tuple[Origin, ...]:
    return tuple(Origin(column, f"{column}[{i}].{text_key}") for i in range(length))


@lru_cache(maxsize=1024)
def _pair_origins(question: str, answer: str, system: str | None) -> tuple[str, tuple[Origin, ...]]:
    names = (question, answer) if system is None else (system, question, answer)
    return pair_shape(question, answer), tuple(Origin(name, name) for name in names)
