"""Questions and answers that say what they are: "Q:" and "A:", 问 and 答, 【问】, **Question 3:** and their like."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from postil.data.shapes.text_lines import (
    BLANKS,
    CJK_DIGITS,
    Line,
    asks,
    ends_asking,
    split_number,
    unwrapped,
    without_number,
)
from postil.data.shapes.text_pairs import Pair, Start, TextReading, TextShape, assemble, written

_QUESTION_WORDS = (
    *("question", "q", "instruction", "prompt", "frage", "pregunta", "pergunta", "domanda", "вопрос", "질문"),
    *("客户问题", "用户问题", "顾客问题", "标准问题", "客户提问", "用户提问", "客户问", "用户问", "顾客问", "买家问"),
    *("客戶問", "用戶問", "顧客問", "问题", "提问", "问句", "指令", "问", "問題", "提問", "質問", "問"),
)
_ANSWER_WORDS = (
    *("answer", "ans", "a", "response", "completion", "antwort", "réponse", "reponse", "respuesta", "resposta"),
    *("risposta", "ответ", "답변", "标准答案", "参考答案", "标准回答", "客服回答", "客服回复", "客服答", "机器人答"),
    *(
        "卖家答",
        "商家回复",
        "標準答案",
        "客服回覆",
        "答案",
        "回答",
        "解答",
        "答复",
        "回复",
        "答覆",
        "回覆",
        "答え",
        "答",
    ),
)


def _any(*words: str) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


# "> 3. **" before a word, the word with its number, and what ends the mark.
_PREFIX = rf"([>#*_+•·●◆■□▪❓❔❗✅💬🙋🔹\-\ufe0f ]*)(?:\(?(?:\d{{1,4}}|[{CJK_DIGITS}]{{1,3}})[ ]*[.、)][ ]*)?[*_]*"
_WORD = rf"({_any(*_QUESTION_WORDS, *_ANSWER_WORDS)})(?:[ ]*[-#.]?[ ]*(\d{{1,4}}|[{CJK_DIGITS}]{{1,3}}))?"
_BRACKETED = re.compile(rf"{_PREFIX}[【\[(<「『《〔][ ]*{_WORD}[ ]*[】\])>」』》〕][*_]*[ ]*:?[*_]*", re.I)
_PLAIN = re.compile(
    rf"{_PREFIX}{_WORD}(?:[ ]*[*_]*[ ]*:[ ]*[*_]*(?P<colon>)|[*_]*[ ]*$(?P<alone>)"
    r"|[ ]*[.、)][*_]*(?P<dot>)(?!\d)|[ ]+[-–—][ ](?P<dash>)|[*_]*[ ]+(?P<blank>))",
    re.I,
)
_INLINE_ANSWER = re.compile(
    rf"(?<=[\s?？。.!！;；|）)”\"])\s?[*_]*[【\[]?(?:{_any(*_ANSWER_WORDS)})\s?\d{{0,4}}\s?(?:[】\]][:：]?|[*_]*[:：])[*_]*",
    re.I,
)
_LONG_FOR_ONE_PAIR = 30
_INLINE_CHARS = 2000  # a question with its answer beside it is no longer
_SECOND_SPEAKER = re.compile(r"b\s*:", re.I)
_SECOND_CHOICE = re.compile(r"b\s*[.、):]", re.I)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark at the beginning of a line; strong where a colon or brackets set it off, not only a dot or a blank."""

    kind: Literal["question", "answer"]
    index: int
    number: str
    text: str
    is_strong: bool
    is_letter: bool


def read_marked(lines: Sequence[Line]) -> TextReading | None:
    """Pairs whose question, answer or both are marked; None where too little is."""
    marks = _chosen(lines, [mark for i, line in enumerate(lines) if (mark := _find_mark(i, line)) is not None])
    questions = [mark for mark in marks if mark.kind == "question"]
    answers = [mark for mark in marks if mark.kind == "answer"]
    if questions:
        starts = _starts_of_marks(lines, marks)
    else:
        strong = [mark for mark in answers if mark.is_strong]
        starts = _starts_above_answers(lines, [] if _is_dialogue(lines, strong) else strong)
    items = assemble(lines, starts)
    pairs = [item for item in items if isinstance(item, Pair)]
    answered = sum(bool(pair.question and pair.answer) for pair in pairs)
    if not answered and (len(pairs) < 2 or not questions):
        return None
    num_written, num_skipped = sum(not line.is_blank for line in lines), len(items) - len(pairs)
    if (len(pairs) == 1 and num_written > _LONG_FOR_ONE_PAIR) or (len(pairs) < 5 and 2 * num_skipped > num_written):
        return None  # a text in which a line or two happen to look like marks
    confidence = 0.98 if questions and answers else 0.92
    evidence = {"questions": len(pairs), "answers": answered, "skipped": num_skipped}
    return TextReading(TextShape("marked", confidence if answered else 0.8, evidence), tuple(items))


def strip_answer_mark(line: Line) -> str | None:
    """What follows an answer's mark; None where the line begins with none."""
    mark = _find_mark(0, line)
    return mark.text if mark is not None and mark.kind == "answer" and mark.is_strong else None


def _find_mark(index: int, line: Line) -> _Mark | None:
    bracketed = _BRACKETED.match(line.head)
    found = bracketed or _PLAIN.match(line.head)
    if found is None:
        return None
    prefix, word, number = found[1], found[2].casefold(), found[3] or ""
    is_letter = len(word) == 1 and word.isascii()
    ending = "brackets" if bracketed else found.lastgroup
    if ending == "alone" and is_letter and not (number or prefix.strip()):
        return None
    if ending == "blank" and not number and word not in ("问", "答", "問"):
        return None  # "A charger is included."
    text = line.after(found.end())
    if found[0].count("**") % 2:
        text = text.replace("**", "", 1).strip(BLANKS)
    kind: Literal["question", "answer"] = "question" if word in _QUESTION_WORDS else "answer"
    return _Mark(kind, index, number, unwrapped(text), ending not in ("dot", "dash", "blank"), is_letter)


def _chosen(lines: Sequence[Line], marks: Sequence[_Mark]) -> list[_Mark]:
    """Weak marks ("A. ") count only where that side has no strong ones, and where they begin no list of choices."""
    strong_kinds = {mark.kind for mark in marks if mark.is_strong}
    return [
        mark
        for mark in marks
        if mark.is_strong or (mark.kind not in strong_kinds and not _begins_choices(lines, mark.index))
    ]


def _begins_choices(lines: Sequence[Line], index: int) -> bool:
    following = next((line for line in lines[index + 1 : index + 4] if not line.is_blank), None)
    return following is not None and _SECOND_CHOICE.match(following.head) is not None


def _is_dialogue(lines: Sequence[Line], answers: Sequence[_Mark]) -> bool:
    """True where A talks with B."""
    letters = sum(mark.is_letter for mark in answers)
    return letters > 0 and 2 * sum(_SECOND_SPEAKER.match(line.head) is not None for line in lines) >= letters


def _starts_of_marks(lines: Sequence[Line], marks: Sequence[_Mark]) -> list[Start]:
    """A question goes on to its answer's mark; an answer without a question stands with an empty one, to be named."""
    has_answers = any(mark.kind == "answer" or _find_inline(mark.text) for mark in marks)
    starts: list[Start] = []
    asked: _Mark | None = None
    for mark in marks:
        if mark.kind == "answer":
            question = written(asked.text, lines[asked.index + 1 : mark.index]) if asked else ""
            first = asked or mark
            starts.append(Start(first.index, mark.index + 1, unwrapped(question), mark.text, _restarts(first, starts)))
            asked = None
            continue
        if asked is not None:
            starts.append(_unmarked_answer(lines, asked, mark.index, has_answers, _restarts(asked, starts)))
        asked = mark
    if asked is not None:
        starts.append(_unmarked_answer(lines, asked, len(lines), has_answers, _restarts(asked, starts)))
    return starts


def _find_inline(text: str) -> re.Match[str] | None:
    return _INLINE_ANSWER.search(text, 0, _INLINE_CHARS)


def _restarts(mark: _Mark, starts: Sequence[Start]) -> bool:
    return mark.number in ("1", "一") and bool(starts)


def _unmarked_answer(lines: Sequence[Line], asked: _Mark, end: int, has_answers: bool, restarts: bool) -> Start:
    """A question before the next question: its answer stands beside it, or below it where answers have no marks."""
    if (inline := _find_inline(asked.text)) is not None:
        question = asked.text[: inline.start()].strip(BLANKS)
        return Start(asked.index, asked.index + 1, question, asked.text[inline.end() :].strip(BLANKS), restarts)
    if not has_answers or ends_asking(asked.text):
        return Start(asked.index, asked.index + 1, asked.text, restarts=restarts)
    return Start(asked.index, end, written(asked.text, lines[asked.index + 1 : end]), restarts=restarts)


def _starts_above_answers(lines: Sequence[Line], answers: Sequence[_Mark]) -> list[Start]:
    """Only answers are marked: the question is the line above, or the paragraph after a blank line."""
    if not answers:
        return _starts_with_inline_answers(lines)
    starts: list[Start] = []
    previous = -1
    for mark in answers:
        last = mark.index - 1
        while last > previous and lines[last].is_blank:
            last -= 1
        if last <= previous:
            starts.append(Start(mark.index, mark.index + 1, "", mark.text))
        else:
            first = _question_begins(lines, last, previous)
            question = written(without_number(lines[first].text.lstrip("#> " + BLANKS)), lines[first + 1 : last + 1])
            starts.append(Start(first, mark.index + 1, unwrapped(question), mark.text))
        previous = mark.index
    return starts


def _question_begins(lines: Sequence[Line], last: int, previous: int) -> int:
    first = last
    while (
        first - 1 > previous
        and not lines[first - 1].is_blank
        and split_number(lines[first]) is None
        and not asks(lines[first].text)
    ):
        first -= 1
    # Without a blank line above, the paragraph is the last answer's, and only its last line can be the question.
    return first if first == 0 or lines[first - 1].is_blank or split_number(lines[first]) else last


def _starts_with_inline_answers(lines: Sequence[Line]) -> list[Start]:
    """Lines such as "怎么退货？答：七天内可退"."""
    starts: list[Start] = []
    for index, line in enumerate(lines):
        text = without_number(line.after(0)) if line.head else ""
        if (inline := _find_inline(text)) is not None and inline.start():
            question = text[: inline.start()].strip(BLANKS)
            if not asks(question) and "答" not in inline[0]:
                continue  # "class A: ..."
            starts.append(Start(index, index + 1, question, text[inline.end() :].strip(BLANKS)))
    return starts
