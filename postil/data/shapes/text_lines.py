"""Lines of a text, and what can be seen in one of them: numbers, titles, questions. Every test is of a short head."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

_HEAD_CHARS = 200  # marks stand at the beginning; with a bound on the head no pattern can be slow on a long line
_ZERO_WIDTH = "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
BLANKS = "".join(c for c in map(chr, range(0x3001)) if c.isspace()) + _ZERO_WIDTH
# Full-width ASCII as ASCII, one character for one, so that a mark found in the head ends at the same place in the line.
FOLDS = {0xFF01 + i: 0x21 + i for i in range(94)} | dict.fromkeys(map(ord, BLANKS), " ")
CJK_DIGITS = "一二三四五六七八九十百"
_LINE_ENDS = re.compile(r"\r\n|[\r\n\u2028\u2029]")
_FENCE = re.compile(r"(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Line:
    """A physical line.

    Args:
        number: counts from 1.
        text: as written, without white space and invisible marks at its end.
        head: the first 200 characters after the indentation, full-width marks folded; "" in code, where nothing is a
            mark.
    """

    number: int
    text: str
    head: str

    @property
    def is_blank(self) -> bool:
        return not self.text

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip(BLANKS))

    def after(self, end: int) -> str:
        """What follows the first `end` characters of the head."""
        return self.text.lstrip(BLANKS)[end:].strip(BLANKS)


def number_lines(lines: Iterable[tuple[int, str]]) -> list[Line]:
    """Lines ready to be looked at: code between fences, and a block of settings at the top, hold no marks."""
    made: list[Line] = []
    for number, raw in lines:
        for part in _LINE_ENDS.split(raw.rstrip("\r\n")):
            text = part.rstrip(BLANKS)
            made.append(Line(number, text, text.lstrip(BLANKS)[:_HEAD_CHARS].translate(FOLDS)))
    for start, end in (*_settings(made), *_fences(made)):
        made[start:end] = [Line(line.number, line.text, "") for line in made[start:end]]
    return made


def _settings(lines: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """The block between two "---" with which a Markdown file may begin."""
    if lines and lines[0].head == "---":
        ends = (i for i, line in enumerate(lines[1:60], start=1) if line.head in ("---", "..."))
        inner = lines[1 : (end := next(ends, 0))]
        if end and all(re.match(r"[\w-]+\s*:|[-#]|\s", line.text) for line in inner if line.text):
            yield 0, end + 1


def _fences(lines: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """Begin and end of fenced code; a fence that is never closed fences nothing."""
    opened, fence = 0, ""
    for i, line in enumerate(lines):
        mark = _FENCE.match(line.head)
        if mark and not fence:
            opened, fence = i, mark[1]
        elif mark and mark[1].startswith(fence) and line.head == mark[1]:
            yield opened, i + 1
            fence = ""


_RULE_MARKS = "-=*_~#—─━┄┈═+·"
_RULE = re.compile(rf"(?:[{re.escape(_RULE_MARKS)}]\s*){{3,}}$")


def is_rule(line: Line) -> bool:
    """True for a line that only divides: "-----", "***", "====="."""
    head = line.head
    return bool(head) and head[0] in _RULE_MARKS and len(head) < _HEAD_CHARS and _RULE.match(head) is not None


# --- Questions -------------------------------------------------------------------------------------------------------

_ENDS_ASKING = re.compile(r"[?][\s*_)\"'”’」』】.。]*$")
_ASKS_CJK = re.compile(
    r"吗|嗎|怎么|怎麼|怎样|怎樣|咋|如何|为什么|為什麼|为啥|为何|為何|什么|什麼|啥|哪[里裡儿些个個种種家位]|几[天点个时折号月]"
    r"|幾[天點個]|多少|多久|多长|多長|多大|是否|能否|可否|能不能|可不可以|可以不|有没有|有沒有|是不是|要不要|会不会|會不會"
    r"|谁|誰|怎办|[呢么]$|(?:です|ます|ません|でしょう|った)か$|(?:까요?|나요)$|何[が時日]|どう|いつ|どこ|なぜ"
)
_ASKS_LATIN = re.compile(
    r"(?:how|what|what's|why|when|where|where's|who|which|whose|can|could|does|do|did|is|are|was|were|will|would|should"
    r"|may|has|have|am)\s+[a-z]",
    re.I,
)
_SENTENCE_END = re.compile(r"[.。!！;；:…,，、]$")
_ASKED_CHARS = 160
_WORDED_CHARS = 60


def ends_asking(text: str) -> bool:
    """True where a text of one or two sentences ends with a question mark."""
    return len(text) <= _ASKED_CHARS and _ENDS_ASKING.search(text[-12:].translate(FOLDS)) is not None


def asks(text: str) -> bool:
    """True where a text reads as a question: by its end, or as a short phrase by its words."""
    if ends_asking(text):
        return True
    bare = text.strip("*_ " + BLANKS)
    if len(bare) > _WORDED_CHARS or not bare or _SENTENCE_END.search(bare):
        return False
    return bool(_ASKS_CJK.search(bare) or _ASKS_LATIN.match(bare))


def unwrapped(text: str) -> str:
    """A question without the bold marks around it."""
    for mark in ("**", "__"):
        inner = text[2:-2]
        if len(text) > 4 and text.startswith(mark) and text.endswith(mark) and mark not in inner:
            return inner.strip(BLANKS)
    return text


# --- Numbers ---------------------------------------------------------------------------------------------------------

Family = Literal["arabic", "paren", "cjk", "circled", "dotted", "bullet"]

_ITEMS: tuple[tuple[Family, re.Pattern[str]], ...] = (
    ("dotted", re.compile(r"(\d{1,2}\.\d{1,3})(?:[.、)]\s*|\s+)(?=[^\s\d])")),
    ("arabic", re.compile(r"(\d{1,4})\s*(?:[.:](?!\d)|[、)])\s*(?=\S)")),
    ("paren", re.compile(rf"\(\s*(\d{{1,4}}|[{CJK_DIGITS}]{{1,4}})\s*\)\s*[.、:]?\s*(?=\S)")),
    ("cjk", re.compile(rf"([{CJK_DIGITS}]{{1,4}})\s*[、.:)]\s*(?=\S)")),
    ("cjk", re.compile(rf"第\s*(\d{{1,3}}|[{CJK_DIGITS}]{{1,4}})\s*(?:个问题|问|題|题|条)\s*[、.:]?\s*(?=\S)")),
    ("circled", re.compile(r"([\u2460-\u2473])\s*(?=\S)")),
    ("bullet", re.compile(r"([-+•·●◆■▪*])\s+(?=\S)")),
)
_BOLD = re.compile(r"(?:\*\*|__)\s*")


@dataclass(frozen=True, slots=True)
class Item:
    """A numbered line.

    Args:
        index: where it stands among the lines.
        number: counts from 1; of "2.3" the last part; 0 for a bullet.
        text: what follows the number, without bold marks.
        is_apart: a blank line, or the beginning of the text, stands above it.
    """

    family: Family
    index: int
    number: int
    text: str
    indent: int
    is_apart: bool
    prefix: str = ""


def find_items(lines: Sequence[Line]) -> list[Item]:
    """Every numbered line, in order."""
    items: list[Item] = []
    for index, line in enumerate(lines):
        if (found := split_number(line)) is not None:
            family, written, text = found
            is_apart = index == 0 or lines[index - 1].is_blank or is_rule(lines[index - 1])
            prefix, _, last = written.rpartition(".")
            items.append(Item(family, index, _value(last), text, line.indent, is_apart, prefix))
    return items


def split_number(line: Line) -> tuple[Family, str, str] | None:
    """(family, the number as written, the rest) of a numbered line."""
    head = line.head
    if not head or not (
        head[0].isdigit() or head[0] in "(第*_-+•·●◆■▪" or head[0] in CJK_DIGITS or head[0] >= "\u2460"
    ):
        return None
    bold = _BOLD.match(head)
    start = bold.end() if bold else 0
    for family, pattern in _ITEMS:
        if (found := pattern.match(head, start)) is not None and not is_rule(line):
            rest = line.after(found.end())
            if bold:
                rest = rest.replace(bold[0].strip(), "", 1).strip(BLANKS)
            return family, found[1], unwrapped(rest)
    return None


def without_number(text: str) -> str:
    """A question without the number and the bold marks around it."""
    numbered = split_number(Line(0, text, text[:_HEAD_CHARS].translate(FOLDS)))
    return numbered[2] if numbered else unwrapped(text)


def _value(written: str) -> int:
    if written.isdecimal():
        return int(written)
    if "\u2460" <= written <= "\u2473":
        return ord(written) - 0x245F
    if not set(written) <= set(CJK_DIGITS):
        return 0
    total, digit = 0, 0
    for char in written:
        value = CJK_DIGITS.index(char) + 1
        if value < 10:
            digit = value
        else:
            total, digit = total + (digit or 1) * (10 if char == "十" else 100), 0
    return total + digit


# --- Headings between questions --------------------------------------------------------------------------------------

_MARKED_SECTION = re.compile(
    rf"#{{1,6}}\s|[【\[][^】\]]{{1,40}}[】\]]$|(?:=+|-{{2,}}|\*{{3,}})\s*[^\s=*-].{{0,60}}(?:=|-{{2,}}|\*{{3,}})$"
    rf"|第[{CJK_DIGITS}\d]{{1,4}}[章节節部篇]|[{CJK_DIGITS}]{{1,3}}、.{{1,30}}$|(?:part|section|chapter)\s+[\divx]+\b",
    re.I,
)


def is_marked_section(line: Line) -> bool:
    """True for a line that is written as the title of a section."""
    return _MARKED_SECTION.match(line.head) is not None and not _SENTENCE_END.search(line.text)


def is_short_title(line: Line) -> bool:
    """True for a line of a few words without an end mark, as titles are."""
    return bool(line.head) and is_brief(line.text) and not ends_asking(line.text)


def is_brief(text: str) -> bool:
    """True for a few words without an end mark."""
    text = text.strip(BLANKS)
    return len(text) <= (16 if is_cjk(text) else 40) and not _SENTENCE_END.search(text)


def is_cjk(text: str) -> bool:
    """True where Chinese, Japanese or Korean letters stand at the beginning."""
    return any("\u2e80" <= char <= "\ud7ff" for char in text[:_HEAD_CHARS])
