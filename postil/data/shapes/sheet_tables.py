"""Where another table begins lower in the same sheet: at a row of known names, for other columns than those above."""

import re
from collections.abc import Iterable, Iterator, Sequence

from postil.data.files.tables import Row
from postil.data.shapes import column_names as words
from postil.data.shapes.column_contents import NUMBER, asks
from postil.data.shapes.columns import Layout, find_layout, normalize_name
from postil.data.shapes.drafts import ROLES
from postil.data.shapes.sheet_headers import HEADER_ROWS, header_cells, is_complete, unique_names
from postil.problems import Problem

_MOST_TITLES = 3
_MAX_NAME_CHARS = 20
_ASKING = frozenset((*words.QUESTIONS, *words.SPEAKERS))
_KNOWN = frozenset(
    name
    for purpose in (*words.PURPOSES, words.EXTRA_INPUTS, words.HISTORIES, words.NUMBERS, words.OTHERS)
    for name in purpose
)
# Speakers are called so as well, but hardly anybody says nothing but such a word.
_NO_SPEAKERS = frozenset(("question", "answer", "提问", "回答", "提問"))
_BARE_NAME = re.compile(r"[\s*#]*([^（(\[【/|\n:：*]*)")

Positions = tuple[int | None, ...]


def numbered_tables(rows: Iterable[Row | Problem], *, has_line_breaks: bool) -> Iterator[tuple[int, Row | Problem]]:
    """Each row with the number of its table, from 0; titles right above a header are rows of its table.

    Another table is looked for only where the first one has a header that says what is learned.

    Args:
        has_line_breaks: rows are numbered by lines, of which a cell may hold several (CSV).
    """
    tables, number = _Tables(has_line_breaks), 0
    titles: list[Row] = []
    for row in rows:
        if isinstance(row, Problem) or row.is_blank:
            yield number, row
            continue
        begins = tables.begins(row)
        if not begins and len(titles) < _MOST_TITLES and _may_be_title(row):
            titles.append(row)
            continue
        number += begins
        yield from ((number, one) for one in (*titles, row))
        titles.clear()
    yield from ((number, title) for title in titles)


class _Tables:
    """Knows the columns of the table at hand while rows go by."""

    def __init__(self, has_line_breaks: bool):
        self._has_line_breaks = has_line_breaks
        self._num_searched = self._expected = 0
        self._is_apart = False
        self._current: Positions | None = None
        self._speaker: int | None = None

    def begins(self, row: Row) -> bool:
        """True for the header of another table; rows are neither blank nor left out."""
        has_gap = bool(self._expected) and row.number > self._expected
        is_apart = has_gap or self._is_apart
        self._is_apart = is_apart and _may_be_title(row)
        self._expected = row.number + 1
        if self._has_line_breaks:
            self._expected += sum(cell.count("\n") for cell in row.cells)
        if self._current is None:
            self._search(row)
            return False
        if not _asks_for_names(row) or self._is_said(row):
            return False
        layout = find_layout(unique_names(header_cells(row)))
        positions = _positions(row, layout)
        if positions == self._current or not _is_plain_header(row, layout, is_apart):
            return False
        self._take(row, layout)
        return True

    def _search(self, row: Row) -> None:
        """The first header is found as ever: among the first rows, by names that may say it in a part only."""
        if self._num_searched < HEADER_ROWS:
            self._num_searched += 1
            layout = find_layout(unique_names(header_cells(row)))
            if is_complete(layout) and layout.kind != "classification":
                self._take(row, layout)

    def _take(self, row: Row, layout: Layout) -> None:
        self._current = _positions(row, layout)
        names = unique_names(header_cells(row))
        self._speaker = names.index(layout.speaker) if layout.is_log and layout.speaker else None

    def _is_said(self, row: Row) -> bool:
        """True for a row of a chat, in which a customer may well say nothing but "客服"."""
        at = self._speaker
        if at is None or at >= len(row.cells):
            return False
        return _is_speaker(row.cells[at])


def _may_be_title(row: Row) -> bool:
    return sum(bool(cell.strip()) and i not in row.spread for i, cell in enumerate(row.cells)) == 1


def _asks_for_names(row: Row) -> bool:
    """A cheap sign that most rows do not show: short cells, one of which is called like a question or a speaker."""
    if any(len(cell) > 2 * _MAX_NAME_CHARS for cell in row.cells):
        return False
    bare = (_BARE_NAME.match(cell) for cell in row.cells)
    return any(name is not None and name[1].strip().casefold().replace(" ", "_") in _ASKING for name in bare)


def _is_plain_header(row: Row, layout: Layout, is_apart: bool) -> bool:
    """True for nothing but names: known ones, beside which others may stand where a gap sets the row apart."""
    needed = _needed(layout)
    names = [cell for cell in header_cells(row) if cell.strip()]
    if len(needed) < 2 or not all(map(_is_known, needed)) or len({*map(normalize_name, names)}) < len(names):
        return False
    if is_apart:
        return all(_is_known(name) or _reads_like_name(name) for name in names)
    return all(map(_is_known, names)) and not any(map(_is_speaker, needed))


def _needed(layout: Layout) -> Sequence[str]:
    if layout.kind == "classification" or not (layout.is_pair or layout.is_log):
        return ()
    found = (layout.question, layout.answer) if layout.is_pair else (layout.speaker, layout.content)
    return [name for name in found if name is not None]


def _is_known(name: str) -> bool:
    """True for a name of a column, also one in two languages."""
    return all(normalize_name(part) in _KNOWN for part in re.split(r"[/|\n]", name))


def _is_speaker(name: str) -> bool:
    """True for names that cells hold as often as headers: "客服", "User", "A"."""
    folded = normalize_name(name)
    return folded in ROLES and folded not in _NO_SPEAKERS


def _reads_like_name(text: str) -> bool:
    return len(text) <= _MAX_NAME_CHARS and not NUMBER.fullmatch(text.strip()) and not asks(text)


def _positions(row: Row, layout: Layout) -> Positions:
    """Where each thing that is read stands."""
    names = unique_names(header_cells(row))
    speaks = (None, None) if layout.is_pair else (layout.speaker, layout.content)
    texts = (layout.question, layout.answer, layout.extra_input, layout.system, layout.history, layout.session, *speaks)
    lists = (*layout.turns[:1], *layout.chosen[:1], *layout.rejected[:1])
    return tuple(None if name is None else names.index(name) for name in (*texts, *lists))
