"""From lines of text to questions, answers and chats. The layout is chosen by what the whole text shows."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from postil.data.options import ReadOptions
from postil.data.shapes.columns import Layout
from postil.data.shapes.drafts import Draft
from postil.data.shapes.markdown_tables import read_tables, table_entries
from postil.data.shapes.marked_text import read_marked
from postil.data.shapes.record import Record
from postil.data.shapes.speaker_logs import read_chat
from postil.data.shapes.text_lines import Line, number_lines
from postil.data.shapes.text_pairs import Chat, Pair, TextReading, TextShape, TextTable
from postil.data.shapes.unmarked_text import (
    read_blocks,
    read_colon_lines,
    read_headings,
    read_numbered,
    read_question_lines,
)
from postil.problems import Place, Problem

MAX_TEXT_CHARS = 1 << 25
_Reader = Callable[[Sequence[Line]], TextReading | None]
_READERS: tuple[_Reader, ...] = (
    *(read_marked, read_chat, read_tables, read_headings, read_numbered),
    *(read_question_lines, read_colon_lines, read_blocks),
)
_SURE = 0.9


def recognise_text(lines: Sequence[str]) -> TextShape | None:
    """How a text is laid out; None for prose without questions."""
    reading = _best_reading(number_lines(enumerate(lines, start=1)))
    return reading.shape if reading else None


def text_records(file: str, lines: Iterable[tuple[int, str]], options: ReadOptions) -> Iterator[Record | Problem]:
    """Records of a text: a question with its answer, or a whole chat.

    Every line that is not blank belongs to one record's `rows`, or to one problem. The text is held in memory, with
    about 1 KB for each line, and refused beyond 33 million characters (100 MB of Chinese).

    Args:
        file: its name, for places.
        lines: (number, text) of each, of a text file, a document's paragraphs or a column's cells.
        options: only handed on to tables in Markdown.

    Yields:
        Records whose fields are "question" and "answer" (either may be "") or whose `turns` are a chat's messages, and
        problems: "skipped_row" for what is neither, "no_questions_in_text", "text_too_big", and what had to be guessed.
    """
    too_big_at: list[int] = []
    numbered = number_lines(_up_to_limit(lines, too_big_at))
    if too_big_at:
        values = {"millions": MAX_TEXT_CHARS // 10**6}
        yield Problem("text_too_big", "error", Place(file, too_big_at[0]), values=values)
        return
    reading = _best_reading(numbered)
    if reading is None:
        yield _no_questions(file, numbered)
        return
    yield from _guesses(file, reading)
    for item in reading.items:
        if isinstance(item, TextTable):
            yield from table_entries(file, item, options)
        else:
            yield _entry(file, item, reading.shape)


def _up_to_limit(lines: Iterable[tuple[int, str]], too_big_at: list[int]) -> Iterator[tuple[int, str]]:
    """The lines until there are too many characters; then that line's number is put into `too_big_at`."""
    num_chars = 0
    for number, text in lines:
        num_chars += len(text)
        if num_chars > MAX_TEXT_CHARS:
            too_big_at.append(number)
            return
        yield number, text


def _best_reading(lines: Sequence[Line]) -> TextReading | None:
    """The reading with most confidence, less where another finds many more questions in the same text."""
    # One reading is held at a time, and the best is made again: together they would be several times the text.
    shapes = [(read, reading.shape) for read in _READERS if (reading := read(lines)) is not None]
    most = max((shape.evidence["questions"] for _, shape in shapes), default=0)

    def score(found: tuple[_Reader, TextShape]) -> float:
        share: float = found[1].evidence["questions"] / most
        return found[1].confidence * math.pow(share, 0.3)

    return max(shapes, key=score)[0](lines) if shapes else None


def _no_questions(file: str, lines: Sequence[Line]) -> Problem:
    written = [line for line in lines if not line.is_blank]
    excerpt = " ".join(written[0].text[:200].split())[:80] if written else ""
    return Problem("no_questions_in_text", "error", Place(file), excerpt=excerpt, values={"lines": len(written)})


def _guesses(file: str, reading: TextReading) -> Iterator[Problem]:
    """What the user should look at, once for the file."""
    if reading.guessed_speakers is not None:
        user, assistant = reading.guessed_speakers
        yield Problem("speakers_guessed", "warning", Place(file), values={"user": user, "assistant": assistant})
    elif reading.shape.confidence < _SURE:
        values = {"questions": reading.shape.evidence["questions"]}
        yield Problem("text_guessed", "warning", Place(file), values=values)


def _entry(file: str, item: Pair | Chat | Line, shape: TextShape) -> Record | Problem:
    if isinstance(item, Line):
        excerpt = " ".join(item.text[:200].split())[:80]
        return Problem("skipped_row", "warning", Place(file, item.number), excerpt=excerpt, values={"text": excerpt})
    place = Place(file, item.rows[0])
    if isinstance(item, Chat):
        turns = tuple(
            Draft(side, text, f"turns[{i}]", place=Place(file, number))
            for i, (side, text, number) in enumerate(item.turns)
        )
        layout = Layout(kind="chat", confidence=shape.confidence, reason="structure")
        return Record(place, {}, layout, turns, item.rows)
    layout = Layout("question", "answer", confidence=shape.confidence, reason="structure")
    return Record(place, {"question": item.question, "answer": item.answer}, layout, rows=item.rows)
