"""What the columns of a table, or the fields of a JSON record, are for: found by their names."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from postil.data.options import Purpose
from postil.data.shapes import column_names as words

Kind = Literal["qa", "chat", "classification", "preference", "tool_calls", "not_qa"]
"""What records are: questions with answers, chats of several turns, texts with labels, comparisons, or neither."""

_BETWEEN_NAMES = re.compile(r"\s*[/|\n、&]+\s*|(?<=[^\x00-\x7f])\s+(?=[A-Za-z])|(?<=[A-Za-z])\s+(?=[^\x00-\x7f])")

Reason = Literal["named", "mapped", "by_content", "no_header", "structure"]
"""Why a layout was taken: names known, the user's `--map`, what stands in the columns, no header row, nested lists."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which field of a record holds what; None where no field does.

    Args:
        session: same value, same chat.
        speaker: who says what stands in `content`.
        content: what a speaker says.
        time: orders the rows of a chat.
        ignored_pairs: (field used, field left out) where two fields could both be the question, or the answer.
        kind: "classification" where the answer is a label.
        confidence: 0 to 1; under 0.9 the user is asked to look.
        header_row: of a table, the row that the names stand in.
    """

    question: str | None = None
    answer: str | None = None
    extra_input: str | None = None
    system: str | None = None
    history: str | None = None
    turns: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    kto_labels: tuple[str, ...] = ()
    ignored_pairs: tuple[tuple[str, str], ...] = ()
    session: str | None = None
    speaker: str | None = None
    content: str | None = None
    time: str | None = None
    kind: Kind = "qa"
    confidence: float = 1.0
    reason: Reason = "named"
    header_row: int | None = None

    @property
    def is_pair(self) -> bool:
        """True when both a question and an answer have a field."""
        return self.question is not None and self.answer is not None

    @property
    def is_log(self) -> bool:
        """True when each row says who speaks and what."""
        return self.speaker is not None and self.content is not None


def normalize_name(name: str) -> str:
    """Folds a header: " Question（必填）:" and "question" are one name; spaces and hyphens become "_"."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    folded = re.sub(r"\(.*?\)|\[.*?\]|【.*?】", "", folded).strip(" \t\r\n*:：#\ufeff")
    return re.sub(r"[\s\-]+", "_", folded)


def list_names(names: Sequence[str]) -> str:
    """Names for a sentence: the first twelve, shortened to 40 characters each."""
    return ", ".join(" ".join(name.split())[:40] for name in names[:12]) + (" ..." if len(names) > 12 else "")


@lru_cache(maxsize=4096)
def find_layout(names: tuple[str, ...]) -> Layout:
    """What each of `names` (headers or JSON keys, in file order) is for; unknown names are left out."""
    by_name = _fold(names)

    def every(wanted: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(by_name[n] for n in wanted if n in by_name))

    def first(wanted: Sequence[str]) -> str | None:
        return next((by_name[n] for n in wanted if n in by_name), None)

    questions, answers, extra_input = every(words.QUESTIONS), every(words.ANSWERS), first(words.EXTRA_INPUTS)
    question, answer = next(iter(questions), None), next(iter(answers), None)
    extra_input = None if extra_input == question else extra_input
    taken = {*every(words.REJECTED), *every(words.CHOSEN), *every(words.HISTORIES), *every(words.SYSTEMS)}
    said = _said_by(names, words.CUSTOMERS)
    asking = (*said, *_by_part(names, words.QUESTION_TOKENS, words.QUESTION_ENDINGS, {*taken, *answers, *said, answer}))
    question = question or next(iter(asking), None)
    told = _said_by(names, words.AGENTS)
    answering = (
        *told,
        *_by_part(names, words.ANSWER_TOKENS, words.ANSWER_ENDINGS, {*taken, *questions, *said, *told, question}),
    )
    answer = answer or next(iter(answering), None)
    label = first((*words.LABELS, *words.WEAK_LABELS))
    speaker = first([n for n in words.SPEAKERS if label is None or n not in words.DIRECTIONS])
    contents = [n for n in every(words.CONTENTS) if n not in (speaker, question, answer)]
    if speaker is not None and not contents and question is None and answer is None:
        contents = list(_by_part(names, words.CONTENT_TOKENS, words.CONTENT_ENDINGS, {*taken, speaker, label}))
    layout = Layout(
        question=question,
        answer=answer,
        extra_input=extra_input,
        system=first(words.SYSTEMS),
        history=first(words.HISTORIES),
        turns=every(words.TURN_LISTS),
        tools=every(words.TOOLS),
        rejected=every(words.REJECTED),
        chosen=every(words.CHOSEN),
        kto_labels=every(words.KTO_LABELS),
        ignored_pairs=(
            *((question or "", n) for n in _others((*questions, *asking), {question, answer, extra_input})),
            *((answer or "", n) for n in _others((*answers, *answering), {question, answer, *asking})),
        ),
        session=first(words.SESSIONS),
        speaker=speaker,
        content=next(iter(contents), None),
        time=first(words.TIMES),
    )
    return _labelled(layout, first(words.TEXTS), label)


def _labelled(layout: Layout, text: str | None, label: str | None) -> Layout:
    """The layout of a classification, where there is a text with a label and nothing else to learn."""
    has_other = layout.turns or layout.chosen or layout.rejected or layout.is_log
    if text is None or label is None or layout.question or layout.answer or has_other:
        return layout
    return Layout(question=text, answer=label, system=layout.system, kind="classification", content=layout.content)


@lru_cache(maxsize=4096)
def find_label(names: tuple[str, ...], *, strong: bool) -> str | None:
    """The column of labels; only under a name that means nothing else, if `strong`."""
    by_name = _fold(names)
    wanted = words.LABELS if strong else (*words.LABELS, *words.WEAK_LABELS)
    return next((by_name[n] for n in wanted if n in by_name), None)


@lru_cache(maxsize=4096)
def find_number(names: tuple[str, ...]) -> str | None:
    """The column that numbers rows or groups of rows, "序号" or "No."."""
    by_name = {normalize_name(name) or name.strip(): name for name in reversed(names)}
    return next((by_name[n] for n in words.NUMBERS if n in by_name), None)


def _fold(names: tuple[str, ...]) -> dict[str, str]:
    """Folded name -> name. One in two languages ("问题/Question") goes by each of them."""
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(normalize_name(name), name)
    if {"a", "b"} <= by_name.keys():  # the choices of an exam, not an answer
        del by_name["a"]
    for name in names:
        for part in _synonyms(name):
            by_name.setdefault(part, name)
    return by_name


def _synonyms(name: str) -> tuple[str, ...]:
    """The names that a header is made of, where all of them mean the same: "问题/Question", "Question\n问题"."""
    parts = tuple(normalize_name(part) for part in _BETWEEN_NAMES.split(name)) if len(name) <= 60 else ()
    if len(parts) > 1 and any(all(part in purpose for part in parts) for purpose in words.PURPOSES):
        return parts
    return ()


def _said_by(names: tuple[str, ...], sides: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of what one side says: "客户话术1", "agent_message"."""
    bare = {name: normalize_name(name).rstrip("0123456789_") for name in names}
    return tuple(n for n, folded in bare.items() if folded.startswith(sides) and folded.endswith(words.SAID_ENDINGS))


def _others(names: Sequence[str], used: set[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name not in used))


def _by_part(
    names: tuple[str, ...], tokens: frozenset[str], endings: tuple[str, ...], taken: set[str | None]
) -> tuple[str, ...]:
    """The names that are no known ones but say so in a part: "faq_question", "常见问题"."""
    found = []
    for name in names:
        folded = normalize_name(name)
        pieces = set(re.split(r"[_.\d]+", folded))
        is_other = re.search(r"[/|&、]", folded) or pieces & words.NOT_A_TEXT_TOKENS
        if name in taken or len(folded) > 40 or is_other:
            continue
        if pieces & tokens or folded.rstrip("0123456789_").endswith(endings):
            found.append(name)
    return tuple(found)


def mapped_layout(names: tuple[str, ...], columns: Mapping[Purpose, str]) -> Layout:
    """The layout of `names` with what the user says each column is for; the rest is found by name.

    Args:
        columns: purpose -> name, written as in the file or folded like `normalize_name`. Names that are not there are
            passed over: records of one file need not have the same fields.
    """
    folded = {normalize_name(name): name for name in reversed(names)}
    found = {purpose: name if name in names else folded.get(normalize_name(name)) for purpose, name in columns.items()}
    given: dict[str, str] = {purpose: name for purpose, name in found.items() if name is not None}
    if not given:
        return find_layout(names)
    # What the user has named is for nothing else.
    guessed = find_layout(tuple(name for name in names if name not in given.values()))
    if "question" in given or "answer" in given:
        natural = find_layout(names)
        extra = natural.extra_input if given.get("question") in (None, natural.question) else None
        extra = None if extra in given.values() or extra == guessed.question else extra
        guessed = replace(guessed, turns=(), speaker=None, content=None, extra_input=extra)
    elif "content" in given:
        guessed = replace(guessed, question=None, answer=None, extra_input=None, turns=())
    layout = replace(guessed, ignored_pairs=(), kind="qa", confidence=1.0, reason="mapped")
    return replace(layout, **given)  # type: ignore[arg-type]
