"""From a record's shape to messages: every spelling of questions, answers and chats that is understood."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from postil.data.conversations import Message
from postil.data.shapes.chat_markup import find_chat_markup
from postil.data.shapes.columns import Kind, Layout, find_layout, list_names
from postil.data.shapes.drafts import Draft, Findings, is_blank
from postil.data.shapes.judging import judge_drafts
from postil.data.shapes.plain_records import pair_shape, read_plain_record
from postil.data.shapes.preferences import chosen_column, chosen_drafts, is_comparison, marked_good
from postil.data.shapes.record import Reading, Record
from postil.data.shapes.tool_calls import ToolFault, read_tools
from postil.data.shapes.turns import (
    answer_calls,
    find_message_list,
    find_turns,
    history_drafts,
    list_drafts,
    list_shape,
    parsed_list,
    question_and_answer,
    value_drafts,
)

__all__ = ["Reading", "read_any_record", "read_messages"]


def read_messages(record: Record) -> Reading:
    """Turns a record into messages, whatever shape it has, with everything that is wrong in it."""
    layout = record.layout or find_layout(tuple(record.fields))
    return read_plain_record(record, layout) or read_any_record(record, layout)


def read_any_record(record: Record, layout: Layout) -> Reading:
    """The general way, for records of every shape."""
    findings = Findings(record.place)
    fields = record.fields
    if record.turns:
        messages, origins = judge_drafts(record.turns, findings, is_log=True)
        kind = _kind(messages, layout)
        problems, readable = tuple(findings.problems), findings.readable
        return Reading("chat", messages, problems, origins, kind, layout=layout, readable=readable)
    found = _find_drafts(fields, layout, findings)
    if found is None:
        _add_unknown_shape(fields, findings)
        return Reading("", (), tuple(findings.problems), layout=layout)
    shape, drafts = found
    tools = _tools(fields, layout, findings)
    if layout.system is not None and not is_blank(fields.get(layout.system)):
        drafts = [*_system_drafts(fields.get(layout.system), layout.system), *drafts]
    messages, origins = judge_drafts(answer_calls(drafts) if tools else drafts, findings)
    mark = marked_good(fields, layout)
    kind = _kind(messages, layout)
    if mark is not None or is_comparison(fields, layout):
        kind = "preference"
    elif tools:
        kind = "tool_calls"
    problems, readable = tuple(findings.problems), findings.readable
    return Reading(shape, messages, problems, origins, kind, tools, layout, mark is False, readable)


def _find_drafts(fields: Mapping[str, Any], layout: Layout, findings: Findings) -> tuple[str, list[Draft]] | None:
    """The shape's name and the drafts of the conversation without its system field; None where there is nothing."""
    chosen = chosen_column(fields, layout)
    turns = find_turns(fields, layout)
    if turns:
        shape, drafts = list_shape(*turns), list_drafts(*turns)
        return shape, drafts if chosen is None else chosen_drafts(drafts, fields.get(chosen), chosen)
    if layout.question is None and layout.answer is None and chosen is None:
        turns = find_message_list(fields)
        return (list_shape(*turns), list_drafts(*turns)) if turns else None
    history = [] if layout.history is None else history_drafts(fields.get(layout.history), layout.history, findings)
    if chosen is None:
        return pair_shape(layout.question, layout.answer), [*history, *question_and_answer(fields, layout, "", None)]
    question = list(question_and_answer(fields, replace(layout, answer=None), "", None))[:-1]
    if layout.question is None:
        question = []
    return pair_shape(layout.question, chosen), chosen_drafts([*history, *question], fields.get(chosen), chosen)


def _system_drafts(value: Any, column: str) -> list[Draft]:
    return [replace(draft, is_pair=False) for draft in value_drafts("system", value, column, column)]


def _tools(fields: Mapping[str, Any], layout: Layout, findings: Findings) -> tuple[Mapping[str, Any], ...]:
    for name in layout.tools:
        value = fields.get(name)
        if is_blank(parsed_list(value)):
            continue
        try:
            return read_tools(value)
        except ToolFault as fault:
            findings.add("bad_tools", blamed=name, found=fault.found, path=name + fault.path)
    return ()


def _kind(messages: Sequence[Message], layout: Layout) -> Kind:
    if any(m.tool_calls or m.role == "tool" for m in messages):
        return "tool_calls"
    if sum(m.role == "user" for m in messages) > 1:
        return "chat"
    return layout.kind


def _add_unknown_shape(fields: Mapping[str, Any], findings: Findings) -> None:
    """Names the chat template's marks where a text is already written for one model; else the fields that are there."""
    for name, value in fields.items():
        if isinstance(value, str) and (markup := find_chat_markup(value)):
            findings.add("chat_markup", blamed=name, found=value, path=name, column=name, markup=markup)
            return
    findings.add("unknown_shape", columns=list_names(tuple(map(str, fields))) or "-")
