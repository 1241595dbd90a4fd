"""Questions and answers that only their layout shows: numbers, headings, question marks, blank lines, colons."""

import re
from collections.abc import Sequence
from dataclasses import replace

from postil.data.shapes.marked_text import strip_answer_mark
from postil.data.shapes.text_lines import (
    BLANKS,
    Family,
    Item,
    Line,
    asks,
    ends_asking,
    find_items,
    is_brief,
    is_cjk,
    is_marked_section,
    is_rule,
    is_short_title,
    split_number,
    unwrapped,
    without_number,
)
from postil.data.shapes.text_pairs import Pair, Start, TextReading, TextShape, assemble

_ENOUGH_ASK = 0.3
_MOST = 0.8
_FEW_SKIPPED = 4
_MOST_SKIPPED = 0.3  # a text of which more is neither question nor answer is something else that happens to ask


def _reading(name: str, confidence: float, lines: Sequence[Line], starts: Sequence[Start]) -> TextReading | None:
    items = assemble(lines, starts)
    pairs = [item for item in items if isinstance(item, Pair)]
    num_written = sum(not line.is_blank for line in lines)
    num_skipped = len(items) - len(pairs)
    if len(pairs) < 2 or num_skipped > max(_FEW_SKIPPED, _MOST_SKIPPED * num_written):
        return None
    answered = sum(bool(pair.answer) for pair in pairs)
    evidence = {"questions": len(pairs), "answers": answered, "skipped": num_skipped}
    return TextReading(TextShape(name, confidence, evidence), tuple(items))


def _start(lines: Sequence[Line], index: int, question: str, end: int, restarts: bool = False) -> Start:
    """A start whose answer may carry a mark of its own, or stand on the question's line where nothing is below it."""
    below = next((i for i in range(index + 1, end) if not lines[i].is_blank), None)
    if below is not None and (answer := strip_answer_mark(lines[below])) is not None:
        return Start(index, below + 1, question, answer, restarts)
    if below is None and (halves := split_beside(question)) is not None:
        return Start(index, index + 1, *halves, restarts)
    return Start(index, index + 1, question, restarts=restarts)


# --- Question and answer on one line ---------------------------------------------------------------------------------

# A colon between digits is a time or a ratio, before two slashes an address, after one letter a drive.
_COLON = re.compile(r"[:：](?!//|\\)")
_ASKED_THEN_SAID = re.compile(r"[?？][ *_]*[:：]?[ *_]*(?=[^\s?？*_)）\"”」』,;|，；])")
_QUESTION_CHARS = 120


def split_beside(text: str) -> tuple[str, str] | None:
    """(question, answer) that stand on one line: "怎么退货？七天内可退", "Opening hours: 9:00 to 18:00"."""
    head = text[: _QUESTION_CHARS + 1]
    asked = _ASKED_THEN_SAID.search(head)
    if asked is not None and not ends_asking(text) and text[asked.end() :].strip(BLANKS):
        return text[: asked.start() + 1].strip("*_ " + BLANKS), text[asked.end() :].strip(BLANKS)
    return _split_at_colon(text)


def _split_at_colon(text: str) -> tuple[str, str] | None:
    for colon in _COLON.finditer(text[: _QUESTION_CHARS + 1]):
        before, after = text[: colon.start()], text[colon.end() :]
        if before[-1:].isdigit() and after[:1].isdigit():
            continue
        question, answer = before.strip("*_ " + BLANKS), after.lstrip("*_ " + BLANKS)
        if len(question) > 1 and answer and not re.search(r"[。！!]", question):
            return question, answer
        return None
    return None


def read_colon_lines(lines: Sequence[Line]) -> TextReading | None:
    """Lines of "question: answer", or of a question and its answer after the question mark."""
    starts: list[Start] = []
    num_written, seen = 0, set[str]()
    for index, line in enumerate(lines):
        if line.is_blank or is_rule(line):
            continue
        num_written += 1
        numbered = split_number(line)
        halves = split_beside(numbered[2] if numbered else line.after(0)) if line.head else None
        if halves is not None:
            seen.add(halves[0].casefold())
            starts.append(Start(index, index + 1, *halves))
    num_asking = sum(asks(start.question) for start in starts)
    num_brief = sum(is_brief(start.question) for start in starts)
    least, share = (2, 0.6) if 2 * num_asking >= len(starts) else (3, _MOST)
    if len(starts) < least or len(seen) < _MOST * len(starts) or len(starts) < share * num_written:
        return None
    if least == 3 and num_brief < _MOST * len(starts):
        return None
    return _reading("colon_lines", 0.8 if least == 2 else 0.6, lines, starts)


# --- Numbers ---------------------------------------------------------------------------------------------------------


def read_numbered(lines: Sequence[Line]) -> TextReading | None:
    """ "1. question", then the lines of its answer, in which lists may begin again at 1."""
    items = find_items(lines)
    readings = [
        reading
        for family in dict.fromkeys(item.family for item in items)
        if (reading := _read_family(lines, [item for item in items if item.family == family], family)) is not None
    ]
    return max(
        readings, key=lambda reading: (reading.shape.confidence, reading.shape.evidence["answers"]), default=None
    )


def _read_family(lines: Sequence[Line], items: Sequence[Item], family: Family) -> TextReading | None:
    """The reading in which the questions are among the numbers of one kind."""
    asking = [item for item in items if asks(item.text)]
    if 5 * sum(ends_asking(item.text) for item in asking) >= 3 * len(asking):
        asking = [item for item in asking if ends_asking(item.text)]  # the others only hold words that could ask
    asking_at = {item.index for item in asking}
    by_asking = len(asking) > 1
    if len({(item.prefix, item.number) for item in items}) == 1:  # bullets, or "1." before each
        chosen = asking if by_asking else []
    else:
        chosen = _questions_of(lines, items, asking_at if by_asking else set(), by_asking)
    if by_asking and 2 * sum(item.index in asking_at for item in chosen) < len(chosen):
        return None
    if not by_asking and (
        len(chosen) < (2 if asking else 3) or sum(is_brief(item.text) for item in chosen) < _MOST * len(chosen)
    ):
        return None
    starts = _numbered_starts(lines, chosen)
    reading = _reading("numbered", 0.92, lines, starts)
    if reading is None:
        return None
    answered = reading.shape.evidence["answers"]
    if not by_asking:
        confidence = 0.6
    else:
        confidence = 0.92 if 2 * answered >= len(starts) and family != "bullet" else 0.82
    is_enough = by_asking or answered >= _MOST * len(starts)
    return replace(reading, shape=replace(reading.shape, confidence=confidence)) if is_enough else None


def _questions_of(lines: Sequence[Line], items: Sequence[Item], asking: set[int], by_asking: bool) -> list[Item]:
    """The items that are questions: their numbers go on, while those of a list inside an answer begin again."""
    chosen: list[Item] = []
    inner: Item | None = None
    for item in items:
        # Where the list inside asks as well, as a list of checks does, asking tells nothing.
        by_asking_here = by_asking and (inner is None or inner.index not in asking)
        if _is_question(lines, item, chosen, inner, item.index in asking, by_asking_here):
            chosen.append(item)
            inner = None
        else:
            inner = item
    return chosen


def _is_question(
    lines: Sequence[Line], item: Item, chosen: Sequence[Item], inner: Item | None, is_asking: bool, by_asking: bool
) -> bool:
    if not chosen:
        return is_asking or not by_asking or item.number == 1
    last = chosen[-1]
    if item.indent > chosen[0].indent + 1:
        return False
    follows = item.number == last.number + 1 and item.prefix == last.prefix
    if inner is not None and item.number == inner.number + 1:
        return follows and (is_asking if by_asking else item.is_apart and not inner.is_apart)
    if follows:
        return True
    if item.number == 1:
        begins_section = item.prefix != last.prefix or _is_after_title(lines, item.index)
        return is_asking and (item.is_apart or begins_section) if by_asking else begins_section
    return is_asking or (item.is_apart and item.number > last.number)


def _is_after_title(lines: Sequence[Line], index: int) -> bool:
    above = next((line for line in reversed(lines[max(0, index - 3) : index]) if not line.is_blank), None)
    return above is not None and is_marked_section(above)


def _numbered_starts(lines: Sequence[Line], chosen: Sequence[Item]) -> list[Start]:
    ends = [*(item.index for item in chosen[1:]), len(lines)]
    return [
        _start(lines, item.index, item.text, end, restarts=number > 0 and item.number == 1 != chosen[number - 1].number)
        for number, (item, end) in enumerate(zip(chosen, ends, strict=True))
    ]


# --- Headings --------------------------------------------------------------------------------------------------------

_HEADING = re.compile(r"(#{1,6})\s*(?=[^\s#])")
_BOLD_LINE = re.compile(r"(?:\*\*|__)[^*_]+(?:\*\*|__)\s*:?$")
_BOLD_LEVEL = 7


def read_headings(lines: Sequence[Line]) -> TextReading | None:
    """ "## question", then its answer; lines written wholly in bold are headings below all others."""
    headings = [(i, *found) for i, line in enumerate(lines) if (found := _heading(line)) is not None]
    asking_levels = [level for _, level, text in headings if asks(text)]
    if not asking_levels:
        return None
    levels = [level for _, level, _ in headings]
    level = max(sorted(set(asking_levels)), key=asking_levels.count)
    share = asking_levels.count(level) / levels.count(level)
    if share < _ENOUGH_ASK or (asking_levels.count(level) == 1 and len(headings) > 3):
        return None
    # "How it works" is a title as often as a question.
    sure = sum(ends_asking(text) or is_cjk(text) for _, depth, text in headings if depth == level and asks(text))
    confidence = 0.93 if share >= 0.5 and 2 * sure >= asking_levels.count(level) else 0.7
    kept = [heading for heading in headings if heading[1] <= level]
    starts: list[Start] = []
    for (index, depth, text), following in zip(kept, [*kept[1:], (len(lines), 0, "")], strict=True):
        end = following[0]
        has_body = any(not line.is_blank and not is_rule(line) for line in lines[index + 1 : end])
        if (asks(text) and (has_body or depth == level)) or (depth == level and has_body):
            starts.append(replace(_start(lines, index, text, end), end=end))
    return _reading("headings", confidence, lines, starts)


def _heading(line: Line) -> tuple[int, str] | None:
    """(level, text) of a heading, its number left out."""
    if (mark := _HEADING.match(line.head)) is not None:
        return len(mark[1]), without_number(line.after(mark.end()).rstrip("# "))
    if _BOLD_LINE.match(line.head) is not None:
        return _BOLD_LEVEL, without_number(unwrapped(line.after(0)))
    return None


# --- Question marks and blank lines ----------------------------------------------------------------------------------

_QUOTES = "\"'“‘「『«"


def read_question_lines(lines: Sequence[Line]) -> TextReading | None:
    """Lines that ask, each followed by the lines of its answer."""
    written = [i for i, line in enumerate(lines) if not line.is_blank and not is_rule(line)]
    heads = {i for i in written if i == 0 or lines[i - 1].is_blank or is_rule(lines[i - 1])}
    strict = [i for i in written if _is_question_line(lines[i]) and ends_asking(lines[i].text)]
    at_heads = [i for i in strict if i in heads]
    by_blocks = len(at_heads) >= _MOST * len(strict)
    if by_blocks:
        chosen = [i for i in written if i in heads and _is_question_line(lines[i])]
    else:
        chosen = strict
    if len(chosen) < 2 or len(chosen) < 0.15 * len(written) or written.index(chosen[0]) > max(3, 0.3 * len(written)):
        return None
    ends = [*chosen[1:], len(lines)]
    starts = [_start(lines, i, without_number(lines[i].after(0)), end) for i, end in zip(chosen, ends, strict=True)]
    answered = len(chosen) < _MOST * len(written)
    return _reading("question_lines", (0.8 if by_blocks else 0.7) if answered else 0.6, lines, starts)


def _is_question_line(line: Line) -> bool:
    return bool(line.head) and line.head[0] not in _QUOTES and asks(line.text)


def read_blocks(lines: Sequence[Line]) -> TextReading | None:
    """Blocks between blank lines: a short first line, and the lines that answer it."""
    blocks = _blocks(lines)
    chosen = [(begin, end) for begin, end in blocks if end - begin > 1]
    firsts = [lines[begin] for begin, _ in chosen]
    if len(chosen) < 3 or len(chosen) < _MOST * len(blocks):
        return None
    if len({line.text for line in firsts}) < len(firsts) or not all(map(is_short_title, firsts)):
        return None
    longer = sum(len(lines[begin + 1].text) > len(lines[begin].text) for begin, _ in chosen)
    if longer < 0.7 * len(chosen):
        return None
    starts = [replace(_start(lines, begin, lines[begin].after(0), end), end=end) for begin, end in chosen]
    return _reading("blocks", 0.55, lines, starts)


def _blocks(lines: Sequence[Line]) -> list[tuple[int, int]]:
    """(begin, end) of every run of lines without a blank one."""
    edges = [i for i, line in enumerate(lines) if line.is_blank or is_rule(line)]
    inner = zip([-1, *edges], [*edges, len(lines)], strict=True)
    return [(before + 1, after) for before, after in inner if after - before > 1]
