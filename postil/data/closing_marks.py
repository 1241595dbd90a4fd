"""Which mark ends an assistant's turn in a template: what training teaches last and answering stops on."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from postil.data.conversations import Message, ToolCall
from postil.data.template_renderer import TemplateRefusal
from postil.data.text_tokenizer import ControlTokens, TextTokenizer

_TAG = re.compile(r"<[^<>\s]{1,64}>")
_LAST_TAG = re.compile(r"<[^<>\s]{1,64}>$")
_WORDS = ("postilwordqae", "postilwordraf", "postilwordqbe", "postilwordrbf")


@dataclass(frozen=True, slots=True)
class ClosingMark:
    """Text that follows an answer at once, or after blanks.

    Args:
        stop_id: the control token that it ends with; None when the mark is plain text for this tokenizer.
    """

    text: str
    stop_id: int | None


@dataclass(frozen=True, slots=True)
class CallClosing:
    """How a template closes a message that calls a tool: `text` follows the last argument, then comes `mark`."""

    text: str
    mark: ClosingMark


def find_closing_marks(
    render: Callable[[Sequence[Message]], str], tokenizer: TextTokenizer, controls: ControlTokens
) -> tuple[ClosingMark, ...]:
    """The marks after a last answer and after an earlier one, longest first; none where the template writes none.

    An earlier answer's mark counts only if it is the last one's too, or ends the user's turn as well (gpt-oss ends
    turns with `<|end|>`, the last with `<|return|>`): else it may be the head of the next question.

    Raises:
        TemplateRefusal: the template refuses even one question and answer.
    """
    first_question, first_answer, question, answer = _WORDS
    chat = [Message("user", first_question), Message("assistant", first_answer)]
    try:
        text = render([*chat, Message("user", question), Message("assistant", answer)])
    except TemplateRefusal:
        text, answer = render(chat), first_answer
    last = _mark_of(text.rpartition(answer)[2], tokenizer, controls, is_last=True)
    if last is None:
        return ()
    marks = {last}
    if answer is not first_answer:
        between = text.partition(first_answer)[2].partition(question)[0]
        after_question = text.partition(first_question)[2].partition(first_answer)[0]
        earlier = _mark_of(between, tokenizer, controls, is_last=False)
        if earlier and after_question.lstrip().startswith(earlier.text):
            marks.add(earlier)
    return tuple(sorted(marks, key=lambda mark: (-len(mark.text), mark.text)))


def _mark_of(gap: str, tokenizer: TextTokenizer, controls: ControlTokens, is_last: bool) -> ClosingMark | None:
    """The mark at the beginning of what follows an answer; a last answer may also be followed by plain words first."""
    gap = gap.strip()
    ids, offsets = tokenizer.encode(gap)
    found = [(i, end) for i, (_, end) in zip(ids, offsets, strict=True) if controls.text_of(i)]
    word = gap.split()[0] if gap else ""
    if found and found[0][1] <= len(word):
        return ClosingMark(gap[: found[0][1]].rstrip(), found[0][0])
    if tag := _TAG.match(gap):
        return ClosingMark(tag.group(), None)
    if not is_last or not gap:
        return None
    if found:
        return ClosingMark(gap[: found[0][1]].rstrip(), found[0][0])
    return ClosingMark(gap, None)


def find_call_closing(
    render: Callable[[Sequence[Message]], str],
    marks: Sequence[ClosingMark],
    tokenizer: TextTokenizer,
    controls: ControlTokens,
) -> CallClosing | None:
    """What closes a call: one of the marks of plain answers, else one of its own (gpt-oss: `<|call|>`).

    Args:
        marks: those of plain answers.

    Returns:
        None where the template refuses calls, leaves them out, or writes no mark after them.
    """
    question, name, key, value = _WORDS
    call = Message("assistant", "", tool_calls=(ToolCall(name, {key: value}),))
    try:
        _, found, tail = render([Message("user", question), call]).rpartition(value)
    except TemplateRefusal:
        return None
    places = [(tail.find(mark.text), -len(mark.text), mark) for mark in marks if mark.text in tail]
    if places:
        at, _, mark = min(places, key=lambda place: place[:2])
        return CallClosing(tail[:at], mark) if found else None
    mark_at_end = _mark_at_end(tail.rstrip(), tokenizer, controls) if found else None
    return CallClosing(tail.rstrip().removesuffix(mark_at_end.text), mark_at_end) if mark_at_end else None


def _mark_at_end(tail: str, tokenizer: TextTokenizer, controls: ControlTokens) -> ClosingMark | None:
    ids, offsets = tokenizer.encode(tail)
    if ids and (text := controls.text_of(ids[-1])) and tail.endswith(text) and offsets[-1][1] == len(tail):
        return ClosingMark(text, ids[-1])
    tag = _LAST_TAG.search(tail)
    return ClosingMark(tag.group(), None) if tag else None
