"""Text that is nearly JSON made JSON: only wrong marks change, and only where there is one way to do it."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import msgspec

from postil.data.files.json_faults import TOKEN, FaultCode

_REPAIRABLE: frozenset[FaultCode] = frozenset(
    (
        "json_single_quotes",
        "json_comma_too_many",
        "json_missing_comma",
        "json_unquoted_key",
        "json_not_a_number",
        "json_python_word",
        "json_comment",
        "json_stray_bom",
        "json_line_break",
        "json_bad_escape",
        "json_wide_marks",
    )
)
_TEXTS = ("text", "single", "curly")
_PLAIN_MARKS = str.maketrans("｛［｝］，：", "{[}],:")
_PLAIN_WORDS = {"None": "null", "undefined": "null", "True": "true", "False": "false"}
_NULLS = ("NaN", "Infinity", "-Infinity", "+Infinity", "nan", "inf", "Inf")
_CURLY_PAIRS = ("“”", "„“", "„”", "””")
# What needs a look inside quotation marks. "python" stands in its texts only: C:\xa0 may also be a path.
_INSIDE = re.compile(
    r"""\\(?:(?P<quote>["'])|(?P<json>u[0-9a-fA-F]{4}|[\\/bfnrt])|(?P<python>x[0-9a-fA-F]{2}|U[0-9a-fA-F]{8})
      |(?P<stray>.|\Z))|(?P<raw>[\x00-\x1f"])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Repair:
    """The text of one record before and after."""

    row: int
    before: str
    after: str


@dataclass(slots=True)
class Repairs:
    """Which rows of a file are to be repaired while it is read, and what became of them.

    Args:
        done: by row; the reader fills it.
    """

    rows: Collection[int] = ()
    done: dict[int, Repair] = field(default_factory=dict)


def repair_json(text: str, faults: Collection[FaultCode]) -> str | None:
    """The text as an object that is JSON; None where a reader could take it in more than one way.

    What is said inside quotation marks stays; only what JSON must have escaped is.

    Args:
        text: one value, perhaps with commas, comments and blanks around it.
        faults: what `find_faults` found in it.
    """
    if not faults or not _REPAIRABLE.issuperset(faults):
        return None
    try:
        writer = _Writer(_find_escaping(text))
        for token in TOKEN.finditer(text):
            writer.take(token)
        repaired = "".join(writer.pieces).strip()
        value = msgspec.json.decode(repaired)
    except (ValueError, RecursionError):
        return None
    return repaired if isinstance(value, dict) else None


class _UncertainError(ValueError):
    """There is more than one way to read it."""


Escape = Callable[[re.Match[str]], str]


def _find_escaping(text: str) -> Escape:
    r"""How the writer of a record meant backslashes. One that begins nothing shows that none was meant to: C:\data.

    Then there must be none that JSON knows, because C:\new would be read as a line break.
    """
    seen: set[str] = set()
    for token in TOKEN.finditer(text) if "\\" in text else ():
        if token.lastgroup in _TEXTS:
            seen.add(token.lastgroup)
            seen.update(_kind_of_escape(inside) for inside in _INSIDE.finditer(token[0][1:-1]))
    if "cut" in seen or ("python" in seen and "single" not in seen):
        raise _UncertainError
    if "stray" in seen and seen & {"json", "python", "apostrophe"}:
        raise _UncertainError
    return _with_backslashes if "stray" in seen else _as_escaped


def _kind_of_escape(inside: re.Match[str]) -> str:
    match inside.lastgroup:
        case "quote" if inside[0] == r"\'":
            return "apostrophe"
        case "stray" if inside["stray"] <= " ":
            return "cut"  # a backslash before a line break, or before the end
        case kind:
            return kind or ""


def _with_backslashes(inside: re.Match[str]) -> str:
    return f"\\{inside[0]}" if inside.lastgroup == "stray" else _as_escaped(inside)


def _as_escaped(inside: re.Match[str]) -> str:
    match inside.lastgroup:
        case "raw":
            return json.dumps(inside[0])[1:-1]
        case "quote" if inside["quote"] == "'":
            return "'"
        case "python":
            return json.dumps(chr(int(inside["python"][1:], 16)))[1:-1]
        case _:
            return inside[0]


class _Writer:
    """What was read so far, in JSON; it stops at what could be meant in more than one way."""

    def __init__(self, escape: Escape):
        self.pieces: list[str] = []
        self._escape = escape
        self._open: list[str] = []
        self._last: re.Match[str] | None = None  # the token before that says something
        self._end = 0  # of that token, in pieces
        self._before_comma = ""

    def take(self, token: re.Match[str]) -> None:
        """Writes the next token."""
        kind = token.lastgroup or "other"
        if kind == "blank":
            self.pieces.append(token[0])
        elif kind in ("bom", "comment"):
            # An odd mark in a comment may be one that closes a text.
            if token[0].count('"') % 2:
                raise _UncertainError
        elif kind != "comma" or not self._is_too_many():
            self._write(kind, token)

    def _write(self, kind: str, token: re.Match[str]) -> None:
        before = self._kind_before
        match kind:
            case "comma":
                self._before_comma = before
            case "close":
                if before == "comma":
                    self.pieces[self._end - 1] = ""
                del self._open[-1:]
            case "open" | "word" | "number" | "text" | "single" | "curly":
                if before not in ("", "open", "comma", "colon"):
                    self._add_missing_comma(token)
        self.pieces.append(self._in_json(token))
        self._last, self._end = token, len(self.pieces)
        if kind == "open":
            self._open.append(token[0].translate(_PLAIN_MARKS))

    @property
    def _kind_before(self) -> str:
        return "" if self._last is None else self._last.lastgroup or "other"

    def _is_too_many(self) -> bool:
        """Whether a comma is one too many; those around the object are none of its own."""
        before = self._kind_before
        if not self._open or before not in ("open", "comma"):
            return not self._open
        # Between two commas of a list something may have been meant to stand.
        if self._open[-1] == "[" and not (before == "comma" and self._before_comma == "close"):
            raise _UncertainError
        return True

    def _add_missing_comma(self, token: re.Match[str]) -> None:
        """Between an entry and a name, or between two brackets of a list; two texts of a list may also be one."""
        before, last_end = self._kind_before, self._last.end() if self._last else 0
        if self._open and self._open[-1] == "{":
            is_clear = token.lastgroup in _TEXTS and (before not in _TEXTS or token.start() > last_end)
        else:
            is_clear = before == "close" and token.lastgroup == "open"
        if not is_clear:
            raise _UncertainError
        self.pieces.insert(self._end, ",")

    def _in_json(self, token: re.Match[str]) -> str:
        word = token[0]
        match token.lastgroup:
            case "open" | "close" | "comma" | "colon":
                return word.translate(_PLAIN_MARKS)
            case "curly" if word[0] + word[-1] not in _CURLY_PAIRS or '"' in word:
                raise _UncertainError
            case "text" | "single" | "curly":
                return f'"{_INSIDE.sub(self._escape, word[1:-1])}"'
            case "number" | "word" if self._open and self._open[-1] == "{" and self._kind_before != "colon":
                return f'"{word}"'
            case "number" | "word":
                return "null" if word in _NULLS else _PLAIN_WORDS.get(word, word)
            case _:
                raise _UncertainError
