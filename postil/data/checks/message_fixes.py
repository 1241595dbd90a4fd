"""What can be done to a list of messages: raw items of any spelling, or drafts of a chat put together of rows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from postil.data.checks.json_text import inside_json
from postil.data.shapes.columns import find_layout
from postil.data.shapes.drafts import CALL_ROLES, ROLES, Draft, is_blank, plain_text
from postil.data.shapes.media_stand_ins import is_stand_in
from postil.data.shapes.speakers import people_roles
from postil.data.shapes.turns import ROLE_KEYS, find_message_list, is_message, item_drafts

Messages = list[Any]
_AS_WRITTEN = "\0speaker"  # no key of a message
_WEIGHT_KEYS = ("weight", "loss_weight", "loss", "train")


def edit_message_lists(fields: Mapping[str, Any], edit: Callable[[Messages], Messages]) -> dict[str, Any] | None:
    """The fields with every list of messages edited, also one inside a cell; None where a list has nothing left."""
    layout = find_layout(tuple(fields))
    edited = dict(fields)
    other = find_message_list(fields)
    for name in (*layout.turns, *layout.chosen) or (() if other is None else (other[0],)):
        value = fields[name]
        if isinstance(value, str):
            edited[name] = inside_json(value, lambda items: edit_said(items, edit)) or value
        elif isinstance(value, list) and value:
            edited[name] = edit_said(value, edit)
        if edited[name] in ([], "[]") and value not in ([], "[]"):
            return None
    return edited


def edit_said(messages: Any, edit: Callable[[Messages], Messages]) -> Any:
    """Messages edited without notes among colleagues: joined to a message they would be learned.

    People's names stand for the roles that they have in this chat.
    """
    if not isinstance(messages, list):
        return messages
    said = [m for m in messages if not any(draft.is_internal for draft in _drafts(m))]
    roles = people_roles([draft for m in said for draft in _drafts(m)])
    if not roles:
        return edit(said)
    return [_with_name(m) for m in edit([_with_role(m, roles) for m in said])]


def _with_role(message: Mapping[str, Any], roles: Mapping[str, str]) -> Mapping[str, Any]:
    """A message of a person in the role that the person has in this chat."""
    key = next(key for key in ROLE_KEYS if key in message)
    return {**message, key: roles[_drafts(message)[0].speaker], _AS_WRITTEN: message[key]}


def _with_name(message: Mapping[str, Any]) -> Mapping[str, Any]:
    key = next(key for key in ROLE_KEYS if key in message)
    written = {**message, key: message[_AS_WRITTEN]}
    return {name: value for name, value in written.items() if name != _AS_WRITTEN}


def merge_consecutive(messages: Messages) -> Messages:
    """Neighbours of one speaker joined by a line break; calls of tools and what tools answer stay apart."""
    merged: Messages = []
    for message in messages:
        joined = _joined(merged[-1], message) if merged and _may_merge(merged[-1], message) else None
        if joined is None:
            merged.append(message)
        else:
            merged[-1] = joined
    return merged


def drop_opening(messages: Messages) -> Messages:
    """Without the assistant's messages before the first question: a greeting answers nothing."""
    system = [m for m in messages[:1] if _role(m) == "system"]
    rest = messages[len(system) :]
    first = next((i for i, m in enumerate(rest) if _role(m) != "assistant"), len(rest))
    return [*system, *rest[first:]]


def drop_unanswered(messages: Messages) -> Messages:
    """Without the questions after the last answer; nothing is left where there is no answer."""
    kept = list(messages)
    while kept and (_role(kept[-1]) in ("user", "system") or _is_unanswered_pair(kept[-1])):
        kept.pop()
    return kept


def drop_empty(messages: Messages) -> Messages:
    """Without messages that say nothing and call no tool."""
    return [m for m in messages if not _says_nothing(m)]


def drop_stand_ins(messages: Messages) -> Messages:
    """Without messages that stand for pictures and their like; where one side has nothing else to say, both go.

    A question without its answer, or an answer without its question, would be joined to what it does not belong to.
    """
    kept: Messages = []
    for exchange in _exchanges(messages):
        left = [m for m in exchange if not _stands_for_media(m)]
        if {_role(m) == "user" for m in left} == {_role(m) == "user" for m in exchange}:
            kept += left
    return kept if any(_role(m) != "system" for m in kept) else []


def _exchanges(messages: Messages) -> list[Messages]:
    """Questions with their answers: each begins where the user speaks after somebody else."""
    exchanges: list[Messages] = []
    for number, message in enumerate(messages):
        if not number or (_role(message) == "user" != _role(messages[number - 1])):
            exchanges.append([])
        exchanges[-1].append(message)
    return exchanges


def _stands_for_media(message: Any) -> bool:
    text = plain_text(_drafts(message)[0].content) if _role(message) in ("user", "assistant") else None
    return text is not None and is_stand_in(text)


def _drafts(message: Any) -> list[Draft]:
    """What an item says: one message, or a question with its answer."""
    return [message] if isinstance(message, Draft) else list(item_drafts(message, "", ""))


def _role(message: Any) -> str | None:
    """The role of a single message; None for a pair, and for what belongs to tools."""
    drafts = _drafts(message)
    if len(drafts) != 1 or drafts[0].calls or drafts[0].role in CALL_ROLES:
        return None
    role = ROLES.get(drafts[0].role)
    return None if role == "tool" else role


def _says_nothing(message: Any) -> bool:
    return all(is_blank(d.content) and not d.calls and ROLES.get(d.role) != "tool" for d in _drafts(message))


def _is_unanswered_pair(message: Any) -> bool:
    """True for an item such as {"human": "...", "assistant": ""}."""
    drafts = _drafts(message)
    return len(drafts) > 1 and drafts[-1].is_pair and is_blank(drafts[-1].content)


def _may_merge(first: Any, second: Any) -> bool:
    role = _role(first)
    return role is not None and role == _role(second)


def _joined(first: Any, second: Any) -> Any | None:
    """Both as one message in the first one's spelling; None where their contents do not join."""
    content = _joined_content(_drafts(first)[0].content, _drafts(second)[0].content)
    if content is None:
        return None
    if isinstance(first, Draft):
        return replace(first, content=content, weight=_lower(first.weight, second.weight))
    if isinstance(first, list):
        return [first[0], content]
    if not is_message(first):
        return {next(iter(first)): content}
    key = _drafts(first)[0].path.removeprefix(".")
    weights = {key: _lower(first.get(key), second.get(key)) for key in _WEIGHT_KEYS if key in first or key in second}
    return {**first, key: content, **weights}


def _joined_content(first: Any, second: Any) -> Any | None:
    if is_blank(first) or is_blank(second):
        return second if is_blank(first) else first
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n{second}"
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *_line_break_like(first), *second]
    return None


def _line_break_like(parts: list[Any]) -> list[Any]:
    """A line break as a text part in the spelling of these parts."""
    last = parts[-1]
    if not isinstance(last, dict):
        return ["\n"]
    return [{**last, "text" if "text" in last else "value": "\n"}]


def _lower(first: Any, second: Any) -> Any:
    """Of two weights the lower: a message that was not to be learned is not learned after all."""
    return 0 if 0 in (first, second) else first if first is not None else second
