"""One conversation as token ids and labels: its text by the template, where its prompt ends, what of it is trained."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from postil.data.answer_spans import (
    AnswerSpan,
    RenderedAnswers,
    RowRefused,
    answer_indexes,
    find_answers,
    find_marked_answers,
    plain_answers,
)
from postil.data.call_spans import check_marked_calls, check_tools_shown, find_calls
from postil.data.conversations import Conversation, Message
from postil.data.row_checks import Tools, check_contents, check_round_trip, uses_tools
from postil.data.template_facts import TemplateFacts
from postil.data.template_renderer import TemplateRefusal
from postil.data.text_tokenizer import common_end, encode_with_ranges

IGNORED = -100
"""The label of a token that is not trained."""

TrainOn = Literal["all", "last"]

_BEGINNING = re.compile(r"[\W_]+")
"""Beginnings of answers that may make one token with the prompt's end, where words do not."""


@dataclass(frozen=True, slots=True)
class EncodedConversation:
    """One conversation as tokens.

    Args:
        labels: as long as `input_ids`, not shifted: the id where it is trained, else IGNORED.
        changed: the template changed an answer (stripped it, dropped its thinking); the changed text is trained.
        ends_trained: the mark that ends an answer is among the trained tokens.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    changed: bool
    ends_trained: bool = True


def encode_row(facts: TemplateFacts, conversation: Conversation, train_on: TrainOn) -> EncodedConversation:
    """Token ids and labels of a whole conversation.

    Raises:
        RowRefused: it cannot be trained exactly.
        TemplateRefusal: the template refuses the messages.
    """
    messages = conversation.messages
    _check_contents(facts, messages, conversation.tools)
    answers = answer_indexes(messages)
    trained = [i for i in (answers if train_on == "all" else answers[-1:]) if messages[i].weight > 0]
    if not trained:
        raise RowRefused("nothing_trained")
    found = _find_answers(facts, messages, conversation.tools)
    ids, ranges = encode_with_ranges(facts.tokenizer, found.text)
    check_round_trip(found.text, facts.tokenizer.decode(ids, skip_special_tokens=False))
    prompt = _check_prompt(facts, conversation, found, ids)
    labels, changed, ends = [IGNORED] * len(ids), False, False
    for i, span in zip(answers, found.spans, strict=True):
        if i not in trained:
            continue
        start, end, is_ended = _trained_part(facts, found.text, span)
        if messages[i].tool_calls and not is_ended:
            raise RowRefused("calls_not_expected", column="assistant")
        covered = [k for k, (low, high) in enumerate(ranges) if high > start and low < end]
        if i == answers[-1] and (not covered or covered[0] != prompt):
            raise RowRefused("answer_joins_prompt", column="assistant", excerpt=messages[i].content[:60])
        for k in covered:
            labels[k] = ids[k]
        changed, ends = changed or span.changed, ends or is_ended
    if all(label == IGNORED for label in labels):
        raise RowRefused("nothing_trained")
    return EncodedConversation(tuple(ids), tuple(labels), changed, ends)


def encode_prompt(facts: TemplateFacts, messages: Sequence[Message], tools: Tools) -> list[int]:
    """Token ids of a conversation up to its next answer.

    Raises:
        RowRefused: a message holds a control token, or the prompt's end cannot be told.
        TemplateRefusal: the template refuses the messages.
    """
    _check_contents(facts, messages, tools)
    return _prompt_ids(facts, facts.text_before_answer(messages, tools))


def find_joint(facts: TemplateFacts, conversation: Conversation) -> str:
    """The end of the text before the last answer that shares a token with this very answer."""
    messages, tools = conversation.messages, conversation.tools
    try:
        text = facts.renderer(tools)(messages, None)
        opening = facts.text_before_answer(messages[: answer_indexes(messages)[-1]], tools)
    except (RowRefused, TemplateRefusal):
        return ""  # encoding the row will say it
    if not text.startswith(opening):
        return ""
    ids, ranges = encode_with_ranges(facts.tokenizer, text)
    return opening[common_end(ranges, [ids, _prompt_ids(facts, opening)]) :]


def unusual_beginnings(conversations: Sequence[Conversation]) -> Iterator[Conversation]:
    """One conversation for each way in which last answers begin other than with a word: a line break, a call."""
    seen = set()
    for conversation in conversations:
        answers = answer_indexes(conversation.messages)
        if not answers:
            continue
        last = conversation.messages[answers[-1]]
        beginning = _BEGINNING.match(last.content)
        key = (beginning.group() if beginning else "", bool(last.tool_calls))
        if any(key) and key not in seen:
            seen.add(key)
            yield conversation


def _check_contents(facts: TemplateFacts, messages: Sequence[Message], tools: Tools) -> None:
    check_contents(messages, tools, facts.controls, facts.stop_strings, facts.is_built_in)


def _find_answers(facts: TemplateFacts, messages: Sequence[Message], tools: Tools) -> RenderedAnswers:
    draw = facts.renderer(tools)
    if facts.is_marked:
        found = find_marked_answers(draw, messages)
    else:
        found = find_answers(draw, messages, facts.thinking)
    if not uses_tools(messages, tools):
        return found
    check_tools_shown(draw, facts.renderer() if tools else draw, messages, found.text)
    if facts.is_marked:
        check_marked_calls(draw, messages, found.text, found.spans, answer_indexes(messages))
        return found
    spans = dict(zip(plain_answers(messages), found.spans, strict=True))
    spans |= find_calls(draw, messages, found.text, facts.call_closing, facts.thinking)
    return replace(found, spans=tuple(spans[i] for i in answer_indexes(messages)))


def _trained_part(facts: TemplateFacts, text: str, span: AnswerSpan) -> tuple[int, int, bool]:
    """Characters (start, end) that are trained, and whether they end with a mark that answering stops on."""
    end, is_ended = span.end, False
    if any(text[span.start : span.end].rstrip().endswith(mark.text) for mark in facts.closing_marks):
        is_ended = True
    else:
        rest = span.tail.lstrip()
        for mark in facts.closing_marks:
            if rest.startswith(mark.text):
                end, is_ended = span.end + len(span.tail) - len(rest) + len(mark.text), True
                break
    joint = facts.joint
    start = span.start - len(joint) if joint and text[: span.start].endswith(joint) else span.start
    return start, end, is_ended


def _check_prompt(facts: TemplateFacts, conversation: Conversation, found: RenderedAnswers, ids: Sequence[int]) -> int:
    """Number of tokens of the prompt, which the row's ids must begin with."""
    last = answer_indexes(conversation.messages)[-1]
    opening = found.opening
    if opening is None:
        opening = facts.text_before_answer(conversation.messages[:last], conversation.tools)
    answer = found.text[found.spans[-1].start : found.spans[-1].end]
    if not found.text.startswith(opening):
        code = "thinking_not_expected" if "</think>" in answer else "prompt_differs"
        raise RowRefused("calls_not_expected" if conversation.messages[last].tool_calls else code, "assistant")
    prompt = _prompt_ids(facts, opening)
    if list(ids[: len(prompt)]) != prompt:
        raise RowRefused("answer_joins_prompt", column="assistant", excerpt=answer[:60])
    return len(prompt)


def _prompt_ids(facts: TemplateFacts, opening: str) -> list[int]:
    return facts.tokenizer.encode(opening.removesuffix(facts.joint))[0]
