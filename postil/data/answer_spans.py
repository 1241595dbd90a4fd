"""Where in a rendered conversation the assistant's own text stands.

A template may strip an answer, drop its thinking, or write another header before the last one, so that cutting prefixes
goes wrong. What always works, or says that it does not:

    rendering   <|im_start|>assistant\\n The sky is blue. <|im_end|>\\n
    sentinels   <|im_start|>assistant\\n     s0           <|im_end|>\\n     each answer replaced by a word of its own
    gaps        g0 ................... ]                [ g1 .........     what the template writes around them

Putting the true answers between the gaps must give the true rendering. Where it does not, one answer at a time is
rendered among sentinels, which shows what the template made of it; all of those between the gaps must give it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from postil.data.conversations import Message

Render = Callable[[Sequence[Message], tuple[str, str] | None], str]
"""Messages, and marks to put around generation blocks, to text."""

MARKS = ("\ue000postil<", ">postil\ue001")


class RowRefused(Exception):
    """A conversation that cannot be trained exactly.

    Args:
        code: a problem's code.
        column: the role of the message to blame.
        values: what the problem's sentences name.

    `also` holds what else is wrong with the same row.
    """

    def __init__(self, code: str, column: str | None = None, excerpt: str = "", **values: object):
        super().__init__(code)
        self.code, self.column, self.excerpt, self.values = code, column, excerpt, values
        self.also: tuple[RowRefused, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """One assistant message in the rendering: text[start:end], end mark not counted; `tail` is what follows it."""

    start: int
    end: int
    tail: str
    changed: bool


@dataclass(frozen=True, slots=True)
class RenderedAnswers:
    """A whole rendering.

    Args:
        spans: one for each assistant message that was looked for, in order.
        opening: the text before the last answer when there is only one and nothing follows it, else None.
    """

    text: str
    spans: tuple[AnswerSpan, ...]
    opening: str | None = None


def common_prefix(a: str, b: str) -> str:
    """What both begin with."""
    return "".join(x for x, _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def answer_indexes(messages: Sequence[Message]) -> list[int]:
    """Where the assistant's messages are."""
    return [i for i, m in enumerate(messages) if m.role == "assistant"]


def plain_answers(messages: Sequence[Message]) -> list[int]:
    """Where the assistant's messages are that call no tool."""
    return [i for i in answer_indexes(messages) if not messages[i].tool_calls]


def _sentinels(messages: Sequence[Message], count: int) -> list[str]:
    contents = "\n".join(f"{m.content}{m.tool_calls or ''}" for m in messages)
    salt = next(n for n in range(len(contents) + 1) if f"postilword{n}x" not in contents)
    return [f"postilword{salt}x{k}e" for k in range(count)]


def _with_contents(messages: Sequence[Message], contents: dict[int, str]) -> list[Message]:
    return [replace(m, content=contents.get(i, m.content)) for i, m in enumerate(messages)]


def _gaps(text: str, words: Sequence[str]) -> list[str]:
    """Splits a rendering at words that must each stand in it once, in order."""
    gaps, at = [], 0
    for word in words:
        found = text.find(word, at)
        if found < 0 or text.count(word) != 1:
            raise RowRefused("answer_not_found")
        gaps.append(text[at:found])
        at = found + len(word)
    return [*gaps, text[at:]]


def _heads(render: Render, messages: Sequence[Message], words: dict[int, str], gaps: list[str]) -> list[str]:
    """The part of each gap that stays the same when the answer begins with a thinking block."""
    thoughts = {i: word.replace("postilword", "postilthought") for i, word in words.items()}
    contents = {i: f"<think>\n{thoughts[i]}\n</think>\n\n{word}" for i, word in words.items()}
    rendering = render(_with_contents(messages, contents), None)
    others = _gaps(rendering, list(words.values()))
    return [
        common_prefix(gap, other.partition(thought)[0])
        for gap, other, thought in zip(gaps, others, thoughts.values(), strict=False)
    ]


def find_answers(render: Render, messages: Sequence[Message], thinking: bool) -> RenderedAnswers:
    """Finds the plain answers of a template without generation marks; calls of tools stand in the gaps between.

    Args:
        thinking: a span begins where answers with and without a thinking block begin to differ, instead of at the
            answer's text.

    Raises:
        RowRefused: they cannot be found exactly.
        TemplateRefusal: the template refuses the messages.
    """
    text = render(messages, None)
    at = plain_answers(messages)
    if not at:
        return RenderedAnswers(text, ())
    words = dict(zip(at, _sentinels(messages, len(at)), strict=True))
    gaps = _gaps(render(_with_contents(messages, words), None), list(words.values()))
    heads = _heads(render, messages, words, gaps) if thinking else gaps[:-1]
    contents = [messages[i].content for i in at]
    as_written = [gap[len(head) :] + content for gap, head, content in zip(gaps, heads, contents, strict=False)]
    middles = as_written
    if _join(heads, middles, gaps[-1]) != text:
        middles = _rewritten(render, messages, words, gaps, heads)
        if _join(heads, middles, gaps[-1]) != text:
            raise RowRefused("answer_rewritten", column="assistant")
    opening = heads[0] if len(at) == 1 and at[0] == len(messages) - 1 else None
    return RenderedAnswers(text, _spans(text, heads, middles, contents, as_written, gaps[-1]), opening)


def _join(heads: Sequence[str], middles: Sequence[str], last_gap: str) -> str:
    return "".join(h + m for h, m in zip(heads, middles, strict=True)) + last_gap


def _rewritten(
    render: Render, messages: Sequence[Message], words: dict[int, str], gaps: list[str], heads: list[str]
) -> list[str]:
    """What the template made of each answer: it is rendered in its place, sentinels in all others."""
    middles, sentinels = [], list(words.values())
    for k, (i, _) in enumerate(words.items()):
        others = {j: word for j, word in words.items() if j != i}
        rendering = render(_with_contents(messages, others), None)
        before = "".join(g + w for g, w in zip(gaps[:k], sentinels, strict=False)) + heads[k]
        after = gaps[k + 1] + "".join(w + g for w, g in zip(sentinels[k + 1 :], gaps[k + 2 :], strict=False))
        fits = rendering.startswith(before) and rendering.endswith(after)
        if not fits or len(rendering) < len(before) + len(after):
            thinks = "</think>" in messages[i].content
            raise RowRefused("thinking_not_expected" if thinks else "answer_rewritten", column="assistant")
        middle = rendering[len(before) : len(rendering) - len(after)]
        if messages[i].content.strip() and not middle.strip():
            raise RowRefused("answer_dropped", column="assistant", excerpt=messages[i].content[:60])
        middles.append(middle)
    return middles


def _spans(
    text: str,
    heads: Sequence[str],
    middles: Sequence[str],
    contents: Sequence[str],
    as_written: Sequence[str],
    last_gap: str,
) -> tuple[AnswerSpan, ...]:
    spans, at = [], 0
    tails = [*heads[1:], last_gap]
    for head, middle, content, whole, tail in zip(heads, middles, contents, as_written, tails, strict=True):
        start = at + len(head)
        at = start + len(middle)
        # an answer's own thinking block begins in the head, where the template would have written one
        is_thought = "</think>" in content and text[:at].endswith(content)
        spans.append(AnswerSpan(start, at, tail, changed=middle != whole and not is_thought))
    return tuple(spans)


def find_marked_answers(render: Render, messages: Sequence[Message]) -> RenderedAnswers:
    """Finds the answers of a template with generation marks: one block for each assistant message.

    Raises:
        RowRefused: other than one block an answer, or the marks change the text.
        TemplateRefusal: the template refuses the messages.
    """
    text = render(messages, None)
    pieces = re.split("|".join(map(re.escape, MARKS)), render(messages, MARKS))
    contents = [messages[i].content for i in answer_indexes(messages)]
    if len(pieces) != 2 * len(contents) + 1 or "".join(pieces) != text:
        raise RowRefused("marks_unclear", found=len(pieces) // 2, expected=len(contents))
    spans, at = [], 0
    for content, head, block, tail in zip(contents, pieces[::2], pieces[1::2], pieces[2::2], strict=False):
        start = at + len(head)
        at = start + len(block)
        spans.append(AnswerSpan(start, at, tail, changed=content not in block))
    return RenderedAnswers(text, tuple(spans))


def text_before_answer(render: Render, messages: Sequence[Message], *, marked: bool, thinking: bool) -> str:
    """What stands before the answer to `messages`, whatever the answer is.

    Raises:
        RowRefused: it cannot be told.
        TemplateRefusal: the template refuses the messages.
    """
    asked = [*messages, Message("assistant", "")]
    last = len(asked) - 1
    word = _sentinels(messages, 1)[0]
    asked = _with_contents(asked, {last: word})
    if marked:
        found = find_marked_answers(render, asked)
        return found.text[: found.spans[-1].start]
    gaps = _gaps(render(asked, None), [word])
    return _heads(render, asked, {last: word}, gaps)[0] if thinking else gaps[0]
