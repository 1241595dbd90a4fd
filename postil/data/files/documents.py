"""Word documents: paragraphs as numbered lines and tables as rows, in the order in which they stand."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from postil.data.files.archives import member_names
from postil.data.files.document_parts import ListParser, Style, StyleParser, WordParser, parse_part, word_level
from postil.data.files.tables import Row

MAX_TEXT_CHARS = 64_000_000
# What is struck out, said twice (the older drawing beside the newer, the reading above Japanese), or a field's code.
_SKIPPED = frozenset(("del", "moveFrom", "Fallback", "rt", "instrText", "delText", "delInstrText"))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a paragraph; `number` is the paragraph's, from 1, tables not counted."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `title` is "Table 1" and so on, `after` the number of the paragraph before it (0: none)."""

    title: str
    after: int
    rows: tuple[Row, ...]


def read_document(path: Path) -> tuple[tuple[Line, ...], tuple[Table, ...]]:
    """All lines and all tables of a .docx.

    A paragraph of a numbered list begins with its number as Word shows it ("1. ", "Q1: "), of a bulleted one with
    "- ", a heading with "# ". A line break inside a paragraph makes two lines of one number. Merged cells are filled
    down. Deleted text, tables of contents, comments, foot notes, headers and footers are not read.

    Raises:
        DataError: it is damaged, protected, or larger than the limits.
    """
    styles = StyleParser()
    parse_part(path, "word/styles.xml", styles)
    lists = ListParser()
    parse_part(path, "word/numbering.xml", lists)
    body = _BodyParser(styles.found, lists)
    # Word in the browser numbers its parts.
    main = next((name for name in member_names(path) if re.fullmatch(r"word/document\d*\.xml", name)), "")
    parse_part(path, main, body)
    return tuple(body.lines), tuple(body.tables)


@dataclass(slots=True)
class _Paragraph:
    text: list[str] = field(default_factory=list)
    style: str = ""
    list_id: str | None = None
    level: int | None = None


@dataclass(slots=True)
class _Cell:
    text: list[str] = field(default_factory=list)
    width: int = 1
    continues: bool = False


@dataclass(slots=True)
class _OpenTable:
    rows: list[Row] = field(default_factory=list)
    cells: list[_Cell] = field(default_factory=list)
    skipped: int = 0


class _BodyParser(WordParser):
    """Paragraphs outside tables become lines; tables inside cells become lines of their cell."""

    def __init__(self, styles: dict[str, Style], lists: ListParser) -> None:
        self.lines: list[Line] = []
        self.tables: list[Table] = []
        self._styles, self._lists = styles, lists
        self._paragraphs: list[_Paragraph] = []
        self._open_tables: list[_OpenTable] = []
        self._numbers: dict[str, list[int]] = {}
        self._num_paragraphs = self._num_chars = 0
        self._num_skipped = 0
        self._takes_text = False
        self._starts: dict[str, Callable[[dict[str, str]], None]] = {
            "p": lambda _: self._paragraphs.append(_Paragraph()),
            "t": lambda _: self._take_text(True),
            # Tab stops, which have a position, are no tabs.
            "tab": lambda attributes: None if "pos" in attributes else self._write("\t"),
            "br": lambda _: self._write("\n"),
            "cr": lambda _: self._write("\n"),
            "noBreakHyphen": lambda _: self._write("-"),
            "tbl": lambda _: self._open_tables.append(_OpenTable()),
            "tc": lambda _: self._open_tables[-1].cells.append(_Cell()),
            "pStyle": self._set_style,
            "numId": self._set_list,
            "ilvl": self._set_level,
            "gridBefore": self._skip_columns,
            "gridSpan": self._set_width,
            "vMerge": self._set_merge,
        }
        self._ends: dict[str, Callable[[], None]] = {
            "p": self._end_paragraph,
            "t": lambda: self._take_text(False),
            "tr": self._end_row,
            "tbl": self._end_table,
        }

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._num_skipped or name in _SKIPPED:
            self._num_skipped += 1
        elif action := self._starts.get(name):
            action(attributes)

    def end(self, name: str) -> None:
        if self._num_skipped:
            self._num_skipped -= 1
        elif action := self._ends.get(name):
            action()

    def text(self, data: str) -> None:
        if self._takes_text and not self._num_skipped:
            self._write(data)

    def _take_text(self, takes: bool) -> None:
        self._takes_text = takes

    def _write(self, text: str) -> None:
        self._num_chars += len(text)
        if self._num_chars > MAX_TEXT_CHARS:
            raise ValueError
        # Tab stops are also described outside paragraphs.
        if self._paragraphs:
            self._paragraphs[-1].text.append(text)

    def _set_style(self, attributes: dict[str, str]) -> None:
        if self._paragraphs:
            self._paragraphs[-1].style = attributes.get("val", "")

    def _set_list(self, attributes: dict[str, str]) -> None:
        if self._paragraphs:
            self._paragraphs[-1].list_id = attributes.get("val", "")

    def _set_level(self, attributes: dict[str, str]) -> None:
        if self._paragraphs:
            self._paragraphs[-1].level = word_level(attributes.get("val", ""))

    def _set_width(self, attributes: dict[str, str]) -> None:
        width = attributes.get("val", "")
        self._open_tables[-1].cells[-1].width = min(int(width), 64) if width.isdigit() and width.isascii() else 1

    def _skip_columns(self, attributes: dict[str, str]) -> None:
        width = attributes.get("val", "")
        self._open_tables[-1].skipped = min(int(width), 64) if width.isdigit() and width.isascii() else 0

    def _set_merge(self, attributes: dict[str, str]) -> None:
        self._open_tables[-1].cells[-1].continues = attributes.get("val", "continue") == "continue"

    def _end_paragraph(self) -> None:
        paragraph = self._paragraphs.pop()
        style = self._styles.get(paragraph.style, Style(is_heading=paragraph.style.lower().startswith("heading")))
        text = "" if style.is_contents else "".join(paragraph.text)
        mark = self._mark(paragraph, style) if text.strip() else ""
        if self._open_tables:
            self._open_tables[-1].cells[-1].text.append(mark + text)
            return
        if style.is_heading and text.strip():
            mark = f"# {mark}"
        self._num_paragraphs += 1
        self.lines += (Line(self._num_paragraphs, line) for line in (mark + text).split("\n"))

    def _mark(self, paragraph: _Paragraph, style: Style) -> str:
        list_id = style.list_id if paragraph.list_id is None else paragraph.list_id
        level = style.level if paragraph.level is None else paragraph.level
        # List "0" is how a paragraph leaves the list of its style.
        if not list_id or list_id == "0":
            return ""
        numbers = self._numbers.setdefault(list_id, [])
        # A level above that had no paragraph of its own counts as its first.
        numbers += [1] * (level - len(numbers))
        del numbers[level + 1 :]
        if len(numbers) > level:
            numbers[level] += 1
        else:
            numbers.append(1)
        return self._lists.mark(list_id, numbers)

    def _end_row(self) -> None:
        table = self._open_tables[-1]
        above = table.rows[-1].cells if table.rows else ()
        texts: list[str] = [""] * table.skipped
        continued: list[int] = []
        spread: list[int] = []
        for cell in table.cells:
            at = len(texts)
            text = "\n".join(cell.text).strip("\n")
            if cell.continues and not text.strip() and at < len(above):
                text = above[at]
                continued.append(at)
            texts += [text] * cell.width
            spread += range(at + 1, at + cell.width)
        table.cells, table.skipped = [], 0
        table.rows.append(Row(len(table.rows) + 1, tuple(texts), tuple(continued), tuple(spread)))

    def _end_table(self) -> None:
        table = self._open_tables.pop()
        if self._open_tables:
            lines = ("\t".join(c for i, c in enumerate(row.cells) if i not in row.spread) for row in table.rows)
            self._open_tables[-1].cells[-1].text.extend(lines)
            return
        title = f"Table {len(self.tables) + 1}"
        self.tables.append(Table(title, self._num_paragraphs, tuple(table.rows)))
