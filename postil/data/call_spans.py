"""Where in a rendered conversation the messages that call tools stand: their text, their calls, and the mark after.

No sentinel can stand for a whole call, so each end is found by its neighbours:

    text        ...user\\nweather?<|im_end|>\\n<|im_start|>assistant\\n<tool_call>..."Rome"}}\\n</tool_call><|im_end|>
    start       the message before is a word of its own, once with the call after it and once with a plain answer: what
                follows the word is the same in both up to where the assistant begins to write
    end         the last call's arguments are a word of their own: from there the text is what closes a call in this
                template, then the mark
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from postil.data.answer_spans import AnswerSpan, Render, RowRefused, common_prefix, text_before_answer
from postil.data.closing_marks import CallClosing
from postil.data.conversations import Message, ToolCall

_TAIL_CHARS = 400
_OPEN_TAG = re.compile(r"(?:<[^<>\s]*|\[[^\[\]\s]*)$")


@dataclass(frozen=True, slots=True)
class _Call:
    """One message that calls tools, and a rendering in which its last call's arguments are `word`."""

    index: int
    other: str
    word: str


def spoken_text(message: Message) -> str:
    """Everything that a message says: its content, and the names and arguments of its calls."""
    calls = [f"{call.name}\n{_json(dict(call.arguments))}" for call in message.tool_calls]
    return "\n".join([message.content, *calls])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def find_calls(
    render: Render, messages: Sequence[Message], text: str, closing: CallClosing | None, thinking: bool
) -> dict[int, AnswerSpan]:
    """Spans of the messages that call tools, by their place among the messages.

    Args:
        text: the true rendering.
        closing: how the template closes a call; None where it knows none.
        thinking: as in `find_answers`.

    Raises:
        RowRefused: the template leaves calls out, or their ends cannot be told.
        TemplateRefusal: the template refuses the messages.
    """
    spans = {}
    for call in _shown_calls(render, messages, text):
        if closing is None:
            raise RowRefused("answer_not_found")
        start, end = _start(render, messages, text, call.index, thinking), _end(text, call, closing)
        said = messages[call.index]
        if not start < end or any(c.name not in text[start:end] for c in said.tool_calls):
            raise RowRefused("answer_not_found")
        # a thinking block may begin in the prompt, where the template itself opens one
        from_where = max(0, start - len(said.content)) if "</think>" in said.content else start
        changed = said.content not in text[from_where:end]
        spans[call.index] = AnswerSpan(start, end, text[end : end + _TAIL_CHARS], changed)
    return spans


def check_marked_calls(
    render: Render, messages: Sequence[Message], text: str, spans: Sequence[AnswerSpan], answers: Sequence[int]
) -> None:
    """For templates with generation marks: every call must stand inside its message's block.

    Raises:
        RowRefused: the template leaves calls out, or writes them elsewhere.
    """
    by_index = dict(zip(answers, spans, strict=True))
    for call in _shown_calls(render, messages, text):
        span = by_index[call.index]
        if not span.start <= len(common_prefix(text, call.other)) < span.end:
            raise RowRefused("marks_unclear", found=len(spans), expected=len(answers))


def check_tools_shown(render: Render, render_without_tools: Render, messages: Sequence[Message], text: str) -> None:
    """What tools answered, and the list of tools, must be in the text.

    Args:
        render_without_tools: equal to `render` where the conversation has no list of tools.

    Raises:
        RowRefused: the template leaves them out.
    """
    told = [i for i, m in enumerate(messages) if m.role == "tool"]
    if told:
        words = {i: _word(messages, f"t{i}") for i in told}
        rendering = render([replace(m, content=words.get(i, m.content)) for i, m in enumerate(messages)], None)
        if any(word not in rendering for word in words.values()):
            raise RowRefused("tools_not_supported", column="tool", what="tool")
    if render_without_tools is not render and render_without_tools(messages, None) == text:
        raise RowRefused("tools_not_supported", column="tools", what="tools")


def _word(messages: Sequence[Message], name: str) -> str:
    said = "\n".join(map(spoken_text, messages))
    salt = next(n for n in range(len(said) + 1) if f"postilcall{n}x" not in said)
    return f"postilcall{salt}x{name}e"


def _shown_calls(render: Render, messages: Sequence[Message], text: str) -> list[_Call]:
    """Messages that call tools; every single call must make a difference to the text."""
    found = []
    for i, message in enumerate(messages):
        if not message.tool_calls:
            continue
        word, other = _word(messages, f"v{i}"), ""
        for k, call in enumerate(message.tool_calls):
            asked = ToolCall(call.name, {_word(messages, f"k{i}"): word})
            calls = (*message.tool_calls[:k], asked, *message.tool_calls[k + 1 :])
            other = render([*messages[:i], replace(message, tool_calls=calls), *messages[i + 1 :]], None)
            if other.count(word) != 1:
                raise RowRefused("tools_not_supported", column="assistant", excerpt=call.name, what="tool_calls")
        found.append(_Call(i, other, word))
    return found


def _start(render: Render, messages: Sequence[Message], text: str, at: int, thinking: bool) -> int:
    word = _word(messages, "p")
    asked = [*messages[: at - 1], replace(messages[at - 1], content=word)]
    after_word = _only_rest(render([*asked, *messages[at:]], None), word)
    opening = _only_rest(text_before_answer(render, asked, marked=False, thinking=thinking), word)
    same = common_prefix(after_word, opening)
    if len(same) < len(opening):
        same = _OPEN_TAG.sub("", same)  # "<" may be the same in "<think>" and "<tool_call>"
    rest = after_word[len(same) :]
    if not text.endswith(rest):
        raise RowRefused("answer_not_found")
    return len(text) - len(rest)


def _only_rest(text: str, word: str) -> str:
    if text.count(word) != 1:
        raise RowRefused("answer_not_found")
    return text.partition(word)[2]


def _end(text: str, call: _Call, closing: CallClosing) -> int:
    rest = _only_rest(call.other, call.word)
    numbered = r"\d+".join(map(re.escape, re.split(r"\d+", closing.text)))  # some templates number their calls
    closed = re.match(f"{numbered}(?={re.escape(closing.mark.text)})", rest)
    if closed is None:
        raise RowRefused("answer_not_found")
    rest = rest[closed.end() :]
    if not text.endswith(rest):
        raise RowRefused("answer_not_found")
    return len(text) - len(rest)
