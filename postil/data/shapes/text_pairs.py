"""From the places where questions begin to pairs of question and answer; lines of neither are handed on as they are."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest

from postil.data.shapes.text_lines import BLANKS, Line, is_marked_section, is_rule, is_short_title, split_number


@dataclass(frozen=True, slots=True)
class TextShape:
    """How a text is laid out.

    Args:
        name: "marked" (Q: and A:), "chat", "table", "headings", "numbered", "question_lines", "blocks", "colon_lines".
        confidence: 0 to 1; under 0.9 the user is asked to look.
        evidence: what was counted, such as {"questions": 14, "answers": 14, "skipped": 2}.
    """

    name: str
    confidence: float
    evidence: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer, either of which may be "", with the numbers of all their lines."""

    question: str
    answer: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chat:
    """Messages that belong together, each (side, text, number of its first line); `rows` are all their lines."""

    turns: tuple[tuple[str, str, int], ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table in Markdown: (line number, cells) of its header and its rows."""

    rows: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class TextReading:
    """A text read in one of the shapes.

    Args:
        items: in the text's order; a line is one that is neither question nor answer.
        guessed_speakers: (who was taken for the user, who for the assistant) where no name told.
    """

    shape: TextShape
    items: tuple[Pair | Chat | TextTable | Line, ...]
    guessed_speakers: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Where a pair begins.

    Args:
        index: its first line.
        body: the first line that is wholly answer.
        answer: the answer's beginning, where it stands beside the question or a mark.
        restarts: its number is 1 although others came before, as after the title of a section.
        end: where the pair ends, if before the next one begins.
    """

    index: int
    body: int
    question: str
    answer: str = ""
    restarts: bool = False
    end: int | None = None


def assemble(lines: Sequence[Line], starts: Sequence[Start]) -> list[Pair | Line]:
    """Pairs of all starts; titles that stand between an answer and the next question are handed on as lines."""
    items: list[Pair | Line] = [
        line for line in lines[: starts[0].index if starts else len(lines)] if not line.is_blank
    ]
    one_paragraph = _answers_are_one_paragraph(lines, starts)
    for start, following in zip_longest(starts, starts[1:]):
        next_index = following.index if following else len(lines)
        end = next_index if start.end is None else start.end
        body = lines[start.body : end]
        cut = _titles_begin(body, start, following.restarts, one_paragraph) if following else len(body)
        rows = rows_of([*lines[start.index : start.body], *body[:cut]])
        items.append(Pair(start.question, written(start.answer, body[:cut]), rows))
        items.extend(line for line in (*body[cut:], *lines[end:next_index]) if not line.is_blank)
    return items


def rows_of(lines: Sequence[Line]) -> tuple[int, ...]:
    """Numbers of the lines that hold something, each once."""
    return tuple(dict.fromkeys(line.number for line in lines if not line.is_blank))


def written(first: str, lines: Sequence[Line]) -> str:
    """Text as written: `first` stood beside a mark, `lines` follow; without blank lines and rules around it."""
    rest = list(lines)
    while rest and _is_padding(rest[-1]):
        rest.pop()
    skipped = next((i for i, line in enumerate(rest) if not _is_padding(line)), len(rest)) if not first else 0
    rest = rest[skipped:]
    return "\n".join(filter(None, (first, textwrap.dedent("\n".join(line.text for line in rest)).rstrip(BLANKS))))


def _is_padding(line: Line) -> bool:
    return line.is_blank or is_rule(line)


def _titles_begin(body: Sequence[Line], start: Start, restarts: bool, one_paragraph: bool) -> int:
    """Where the titles of what follows begin, with which `body` ends; its length where there are none."""
    cut = len(body)
    while (last := _last_written(body, cut)) is not None:
        above = _last_written(body, last)
        follows_answer = bool(start.answer) or above is not None
        is_apart = last > 0 and _is_padding(body[last - 1])
        if is_marked_section(body[last]):
            in_list = above is not None and _family(body[above]) == _family(body[last]) is not None
            is_title = body[last].head.startswith("#") or is_apart or (follows_answer and not in_list)
        else:
            is_title = is_apart and is_short_title(body[last]) and (restarts or (one_paragraph and follows_answer))
        if not is_title:
            break
        cut = last
    return cut


def _family(line: Line) -> str | None:
    numbered = split_number(line)
    return numbered[0] if numbered else None


def _last_written(body: Sequence[Line], end: int) -> int | None:
    return next((i for i in range(end - 1, -1, -1) if not _is_padding(body[i])), None)


def _answers_are_one_paragraph(lines: Sequence[Line], starts: Sequence[Start]) -> bool:
    """True where two answers in three are one paragraph, so that a few words after a blank line are a title."""
    longer = 0
    for start, following in pairwise(starts):
        body = lines[start.body : following.index]
        last = _last_written(body, len(body))
        kept = body[:last] if last is not None and is_short_title(body[last]) else body
        paragraphs = sum(not line.is_blank and (i == 0 or kept[i - 1].is_blank) for i, line in enumerate(kept))
        longer += paragraphs + (bool(start.answer) and bool(kept) and kept[0].is_blank) > 1
    return 3 * longer <= len(starts) - 1
