"""A JSON file seen through a window that moves on, so that its records can be read one by one."""

import json
import re
from typing import TextIO

from postil.data.files.json_faults import find_faults

CHUNK_CHARS = 1 << 20
MAX_BROKEN_CHARS = 4_000_000
_BLANK = re.compile(r"[ \t\r\n\ufeff]*")
_find_end = json.JSONDecoder().raw_decode


class JsonWindow:
    """Text from a position in the file on, as much of it as is needed at a time."""

    def __init__(self, file: TextIO):
        self._file = file
        self._text = ""
        self._at = 0
        self._end = 0
        self._first_line = 1
        self._column_offset = 0
        self._is_last = False

    def next_mark(self) -> str:
        """The next character that is not blank, which the window then stands at; "" at the end of the file."""
        while True:
            found = _BLANK.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._grow():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Moves on by one character."""
        self._at += 1

    def take_value(self) -> str | None:
        """The text of the value that begins here, kept until `accept`; None where there is none."""
        while True:
            try:
                _, end = _find_end(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._text) - 16 or error.msg.startswith("Unterminated string")
                if not is_cut or not self._grow():
                    return None
            except (ValueError, RecursionError):
                return None
            else:
                # A number at the end of the window may go on behind it.
                if end < len(self._text) or not self._grow():
                    self._end = end
                    return self._text[self._at : end]

    def accept(self) -> None:
        """Moves behind the value that was taken."""
        self._at = self._end

    def take_broken(self) -> tuple[str, int, int]:
        """(text, line, column) of the broken value here; moves behind it.

        It ends before the next line that begins like its own first line, where there is one; else where its brackets
        close; else with the file.
        """
        end = self._next_alike()
        if end is None:
            end = self._closing()
        line, column = self.where()
        text = self._text[self._at : end]
        self._at = max(end, self._at + 1)
        return text, line, column

    def where(self) -> tuple[int, int]:
        """(line, column) of the position, from 1."""
        before = self._text[: self._at]
        line = self._first_line + before.count("\n")
        column = self._at - before.rfind("\n") if "\n" in before else self._at + 1 + self._column_offset
        return line, column

    def around(self) -> str:
        """The text around the position, on its line."""
        return self._text[max(self._at - 40, 0) : self._at + 40].split("\n")[0].strip()

    def _next_alike(self) -> int | None:
        start = self._text.rfind("\n", 0, self._at) + 1
        indent = self._text[start : self._at]
        if indent.strip() or (self._at == 0 and self._first_line == 1):
            return None
        pattern = re.compile(r"\n" + re.escape(indent) + re.escape(self._text[self._at]))
        while True:
            if found := pattern.search(self._text, self._at):
                return found.start()
            if len(self._text) - self._at > MAX_BROKEN_CHARS or not self._grow():
                return None

    def _closing(self) -> int:
        while True:
            end = find_faults(self._text, self._at, is_alone=False).end
            if end is not None:
                return end
            if len(self._text) - self._at > MAX_BROKEN_CHARS or not self._grow():
                return len(self._text)

    def _grow(self) -> bool:
        """Reads on, and forgets what lies before the position; False at the end of the file."""
        if self._is_last:
            return False
        more = self._file.read(max(CHUNK_CHARS, len(self._text) - self._at))
        self._is_last = not more
        # The blanks before a record on its line tell where the next one may begin.
        start = self._text.rfind("\n", 0, self._at) + 1
        start = self._at if self._text[start : self._at].strip() else start
        forgotten = self._text[:start]
        self._first_line += forgotten.count("\n")
        line_start = forgotten.rfind("\n") + 1
        self._column_offset = len(forgotten) - line_start + (0 if line_start else self._column_offset)
        self._text, self._at = self._text[start:] + more, self._at - start
        return bool(more)
