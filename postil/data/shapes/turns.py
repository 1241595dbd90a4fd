"""Lists of turns inside a record, in every spelling, as drafts of messages."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from postil.data.files.json_values import decode_json
from postil.data.shapes.columns import Layout, find_layout, normalize_name
from postil.data.shapes.drafts import CALL_ROLES, ROLES, Draft, Findings, is_blank, plain_text
from postil.data.shapes.internal_notes import is_internal
from postil.data.shapes.plain_records import pair_shape
from postil.data.shapes.tool_calls import looks_like_calls
from postil.problems import Place

ROLE_KEYS = ("role", "from", "speaker", "author")
_CONTENT_KEYS = ("content", "value", "text", "parts", "utterance", "message", "body")
_PERSON_KEYS = ("role", "type", "name", "display_name", "username", "id")
_WEIGHT_KEYS = ("weight", "loss_weight", "loss", "train")
_CALL_KEYS = ("tool_calls", "function_call")
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")


def find_turns(fields: Mapping[str, Any], layout: Layout) -> tuple[str, list[Any]] | None:
    """(field, its items) of the first field that holds a list of turns, also where a cell holds it as JSON text."""
    content = () if layout.content is None or layout.is_pair else (layout.content,)
    for name in (*layout.turns, *content):
        value = parsed_list(fields.get(name))
        if isinstance(value, list) and (value or not layout.is_pair):
            return name, value
    return None


def find_message_list(fields: Mapping[str, Any]) -> tuple[str, list[Any]] | None:
    """(field, its items) of the first field that holds messages, whatever it is called."""
    return next(((str(name), value) for name, value in fields.items() if is_message_list(value)), None)


def parsed_list(value: Any) -> Any:
    """The list that a text of JSON holds; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return decode_json(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_message(item: Any) -> bool:
    """True for an entry that names its speaker."""
    return isinstance(item, dict) and any(key in item for key in ROLE_KEYS)


def is_message_list(value: Any) -> bool:
    """True for a list of entries that name their speakers."""
    return isinstance(value, list) and bool(value) and all(is_message(item) for item in value)


def list_drafts(column: str, items: Sequence[Any], path: str = "") -> list[Draft]:
    """Drafts of every entry of a list of turns; `path` leads to the list, where it is not the column itself."""
    path = path or column
    return [draft for i, item in enumerate(items) for draft in item_drafts(item, f"{path}[{i}]", column)]


def list_shape(column: str, items: Sequence[Any]) -> str:
    """What a list of turns is called: "messages", "sharegpt", or the names of its pairs."""
    first = items[0] if items and isinstance(items[0], dict) else {}
    if "from" in first:
        return "sharegpt"
    if is_message(first) or not first:
        return "messages" if first else column
    layout = find_layout(tuple(map(str, first)))
    return f"{column}[{pair_shape(layout.question, layout.answer)}]" if _is_pair_item(first, layout) else column


def item_drafts(item: Any, path: str, column: str) -> Iterator[Draft]:
    """An entry of a list of turns: one message, or a question with its answer."""
    if is_message(item):
        yield _item_message(item, path, column)
    elif isinstance(item, list) and len(item) == 2:
        yield from _two_drafts(item, path, column)
    elif isinstance(item, dict):
        yield from _named_drafts(item, path, column)
    else:
        yield Draft("", item, path, column)


def _item_message(item: Mapping[str, Any], path: str, column: str) -> Draft:
    role_key = next(key for key in ROLE_KEYS if key in item)
    content_key = next((key for key in _CONTENT_KEYS if key in item), "content")
    return message_draft(item, role_key, content_key, column, path=f"{path}.")


def message_draft(
    item: Mapping[str, Any],
    role_key: str,
    content_key: str,
    column: str | None,
    place: Place | None = None,
    path: str = "",
) -> Draft:
    """The draft of an entry that is one message. `path` leads to its keys."""
    speaker = _speaker(item[role_key])
    call_key = next((key for key in _CALL_KEYS if item.get(key)), "")
    call_id = item.get("tool_call_id")
    return Draft(
        role=normalize_name(speaker),
        content=item.get(content_key),
        path=f"{path}{content_key}",
        column=column,
        weight=next((item[key] for key in _WEIGHT_KEYS if item.get(key) is not None), None),
        place=place,
        calls=item[call_key] if call_key else None,
        calls_path=f"{path}{call_key}",
        call_id=str(call_id) if call_id else None,
        left_out=next((key for key in _THOUGHT_KEYS if not is_blank(item.get(key))), ""),
        speaker="" if normalize_name(role_key) == "role" else speaker,
        is_internal=is_internal(item),
    )


def _speaker(value: Any) -> str:
    """Who speaks, also where that is an object with a role or a name in it."""
    if isinstance(value, dict):
        return next((str(value[key]) for key in _PERSON_KEYS if not is_blank(value.get(key))), "")
    return str(value)


def _two_drafts(item: Sequence[Any], path: str, column: str) -> Iterator[Draft]:
    """[role, text], or [question, answer]."""
    role = normalize_name(item[0]) if isinstance(item[0], str) else ""
    if len(role) > 1 and (role in ROLES or role in CALL_ROLES):
        yield Draft(role, item[1], f"{path}[1]", column)
        return
    yield Draft("user", item[0], f"{path}[0]", column, is_pair=True)
    yield Draft("assistant", item[1], f"{path}[1]", column, is_pair=True)


def _named_drafts(item: Mapping[str, Any], path: str, column: str) -> Iterator[Draft]:
    """{"human": question, "assistant": answer}, or {"user": text} alone."""
    layout = find_layout(tuple(map(str, item)))
    if not _is_pair_item(item, layout):
        name = next(iter(item), "")
        role = normalize_name(str(name)) if len(item) == 1 else ""
        yield Draft(role, item[name] if role else item, f"{path}.{name}" if role else path, column)
        return
    if layout.system is not None and not is_blank(item[layout.system]):
        yield Draft("system", item[layout.system], f"{path}.{layout.system}", column)
    yield from question_and_answer(item, layout, f"{path}.", column)


def _is_pair_item(item: Mapping[str, Any], layout: Layout) -> bool:
    return layout.is_pair or (len(item) > 1 and (layout.question is not None or layout.answer is not None))


def question_and_answer(fields: Mapping[str, Any], layout: Layout, prefix: str, column: str | None) -> Iterator[Draft]:
    """The two drafts of a pair. `prefix` leads to its fields, which are columns themselves where `column` is None."""
    question = fields.get(layout.question or "")
    if layout.extra_input is not None and not is_blank(fields.get(layout.extra_input)):
        extra = fields.get(layout.extra_input)
        question = extra if is_blank(question) else _joined(question, extra)
    name = layout.question or "question"
    yield from value_drafts("user", question, prefix + name, column or name)
    name = layout.answer or "answer"
    yield from value_drafts("assistant", fields.get(layout.answer or ""), prefix + name, column or name)


def value_drafts(role: str, value: Any, path: str, column: str) -> list[Draft]:
    """What one side of a pair says: text, messages that name their speakers, or one such message."""
    if isinstance(value, dict) and (held := find_turns(value, find_layout(tuple(map(str, value))))):
        return list_drafts(column, held[1], f"{path}.{held[0]}")
    if is_message_list(value):
        return list_drafts(column, value, path)
    if is_message(value):
        return [_item_message(value, path, column)]
    return [Draft(role, value, path, column, is_pair=True)]


def answer_calls(drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts of a record with tools, where an answer that is nothing but a list of calls is one."""
    if not drafts or not drafts[-1].is_pair or not looks_like_calls(drafts[-1].content):
        return list(drafts)
    last = drafts[-1]
    return [*drafts[:-1], Draft("function_call", last.content, last.path, last.column)]


def history_drafts(value: Any, column: str, findings: Findings) -> list[Draft]:
    """Earlier turns: [[question, answer], ...], or a list of messages."""
    value = parsed_list(value)
    if is_blank(value):
        return []
    drafts: list[Draft] = []
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        path = f"{column}[{i}]"
        if isinstance(item, dict) or (isinstance(item, list) and len(item) == 2):
            drafts.extend(item_drafts(item, path, column))
        else:
            findings.add("bad_history", Draft("", item, path, column), found=item)
    return drafts


def _joined(question: Any, extra: Any) -> Any:
    """Instruction and input on lines of their own; what is not text is left for the judgement to name."""
    first, second = plain_text(question), plain_text(extra)
    return question if first is None else extra if second is None else f"{first}\n{second}"
