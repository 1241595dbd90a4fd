"""From a record's shape to messages: every spelling of questions, answers and chats that is understood."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postil.data.shapes.columns import Layout, find_layout, list_names, normalize_name
from postil.data.conversations import Message
from postil.data.shapes.drafts import Draft, Findings, is_blank, judge_drafts, plain_text
from postil.data.files.json_values import decode_json
from postil.data.shapes.record import Record
from postil.problems import Problem

_ROLE_KEYS = ("role", "from", "speaker", "author")
_CONTENT_KEYS = ("content", "value", "text", "parts")
_WEIGHT_KEYS = ("weight", "loss_weight", "loss", "train")
_CALL_KEYS = ("tool_calls", "function_call", "tool_call_id")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one record says.

    Args:
        shape: the layout's name, such as "alpaca" or "messages"; "" where none was recognised.
        messages: only complete when no problem is an error.
    """

    shape: str
    messages: tuple[Message, ...]
    problems: tuple[Problem, ...]


def read_messages(record: Record) -> Reading:
    """Turns a record into messages, whatever shape it has, with everything that is wrong in it."""
    layout = find_layout(tuple(record.fields))
    findings = Findings(record.place)
    if column := _preference_column(record.fields, layout):
        findings.add("preference_data", blamed=column, found=record.fields[column], column=column)
        return Reading("preference", (), tuple(findings.problems))
    turns = _find_turns(record.fields, layout)
    if turns is None and layout.question is None and layout.answer is None:
        findings.add("unknown_shape", columns=list_names(tuple(record.fields)) or "-")
        return Reading("", (), tuple(findings.problems))
    shape, drafts = (
        _list_drafts(*turns) if turns else (_pair_shape(layout), _pair_drafts(record.fields, layout, findings))
    )
    if layout.system is not None and not is_blank(record.fields[layout.system]):
        system = record.fields[layout.system]
        drafts = [Draft("system", system, layout.system, layout.system), *drafts]
    messages = judge_drafts(
        drafts, findings, has_tools=any(not is_blank(_parsed(record.fields[name])) for name in layout.tools)
    )
    return Reading(shape, messages, tuple(findings.problems))


def _preference_column(fields: Mapping[str, Any], layout: Layout) -> str | None:
    """The field that shows a comparison of a good and a bad answer."""

    def says_something(name: str) -> bool:
        return not isinstance(fields[name], bool) and not is_blank(fields[name])

    rejected = [n for n in layout.rejected if says_something(n)]
    chosen = [n for n in layout.chosen if says_something(n) and layout.answer is None]
    labels = [n for n in layout.kto_labels if isinstance(fields[n], bool)]
    return next(iter((*rejected, *chosen, *labels)), None)


def _find_turns(fields: Mapping[str, Any], layout: Layout) -> tuple[str, list[Any]] | None:
    """(field, its items) of the first field that holds a list of turns, also where a cell holds it as JSON text."""
    for name in layout.turns:
        value = _parsed(fields[name])
        if isinstance(value, list) and (value or not layout.is_pair):
            return name, value
    return None


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return decode_json(value)
        except (ValueError, RecursionError):
            return value
    return value


def _list_drafts(column: str, items: Sequence[Any]) -> tuple[str, list[Draft]]:
    drafts = [draft for i, item in enumerate(items) for draft in _item_drafts(item, f"{column}[{i}]", column)]
    first = items[0] if items and isinstance(items[0], dict) else {}
    if "from" in first:
        shape = "sharegpt"
    elif any(key in first for key in _ROLE_KEYS):
        shape = "messages"
    else:
        shape = f"{column}[{_pair_shape(find_layout(tuple(map(str, first))))}]"
    return shape, drafts


def _item_drafts(item: Any, path: str, column: str) -> Iterator[Draft]:
    """An item of a list of turns: one message, or a question with its answer."""
    if not isinstance(item, dict):
        yield Draft("", item, path, column)
        return
    role_key = next((key for key in _ROLE_KEYS if key in item), None)
    if role_key is not None:
        content_key = next((key for key in _CONTENT_KEYS if key in item), "content")
        yield Draft(
            role=normalize_name(str(item[role_key])),
            content=item.get(content_key),
            path=f"{path}.{content_key}",
            column=column,
            weight=next((item[key] for key in _WEIGHT_KEYS if item.get(key) is not None), None),
            calls_tool=any(item.get(key) for key in _CALL_KEYS),
        )
        return
    layout = find_layout(tuple(map(str, item)))
    if layout.question is None and layout.answer is None:
        yield Draft("", item, path, column)
        return
    if layout.system is not None and not is_blank(item[layout.system]):
        yield Draft("system", item[layout.system], f"{path}.{layout.system}", column)
    yield from _question_and_answer(item, layout, f"{path}.", column)


def _pair_drafts(fields: Mapping[str, Any], layout: Layout, findings: Findings) -> list[Draft]:
    history = [] if layout.history is None else _history_drafts(fields[layout.history], layout.history, findings)
    return [*history, *_question_and_answer(fields, layout, "", None)]


def _question_and_answer(fields: Mapping[str, Any], layout: Layout, prefix: str, column: str | None) -> Iterator[Draft]:
    question = fields.get(layout.question or "")
    if layout.extra_input is not None and not is_blank(fields[layout.extra_input]):
        extra = fields[layout.extra_input]
        question = extra if is_blank(question) else _joined(question, extra)
    question_name, answer_name = layout.question or "question", layout.answer or "answer"
    yield Draft("user", question, prefix + question_name, column or question_name, is_pair=True)
    answer = fields.get(layout.answer or "")
    yield Draft("assistant", answer, prefix + answer_name, column or answer_name, is_pair=True)


def _joined(question: Any, extra: Any) -> Any:
    """Instruction and input on lines of their own; what is not text is left for the judgement to name."""
    first, second = plain_text(question), plain_text(extra)
    return question if first is None else extra if second is None else f"{first}\n{second}"


def _history_drafts(value: Any, column: str, findings: Findings) -> list[Draft]:
    """Earlier turns: [[question, answer], ...], or a list of messages."""
    value = _parsed(value)
    if is_blank(value):
        return []
    drafts: list[Draft] = []
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        path = f"{column}[{i}]"
        if isinstance(item, list) and len(item) == 2:
            pair = zip(("user", "assistant"), item, strict=True)
            drafts.extend(Draft(r, c, f"{path}[{j}]", column, is_pair=True) for j, (r, c) in enumerate(pair))
        elif isinstance(item, dict):
            drafts.extend(_item_drafts(item, path, column))
        else:
            findings.add("bad_history", Draft("", item, path, column), found=item)
    return drafts


def _pair_shape(layout: Layout) -> str:
    question, answer = layout.question, layout.answer
    if (question, answer) == ("instruction", "output"):
        return "alpaca"
    return f"{question or '?'}/{answer or '?'}"
