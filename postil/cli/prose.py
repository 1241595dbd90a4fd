"""Text that wraps in Chinese as in English.

Rich breaks lines at spaces only; a Chinese sentence has none, so it would jump to a new line whole or be cut off.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

_WIDE = "\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60"
_NEVER_FIRST = "，。、；：？！）》」』】”’…,.;:?!)"
_PIECES = re.compile(rf"[（《「『【“‘(]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[{_NEVER_FIRST}]*\s*|\s+")


@dataclass(frozen=True, slots=True)
class Prose:
    """A renderable paragraph: breaks at spaces and between Chinese characters, never before closing punctuation."""

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in wrap(self.text, options.max_width):
            yield Text(line, style=self.style, no_wrap=True, overflow="ignore")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = max((cell_len(line) for line in self.text.split("\n")), default=0)
        piece = max((cell_len(p.rstrip()) for p in _PIECES.findall(self.text)), default=0)
        return Measurement(min(piece, options.max_width), min(longest, options.max_width))


def wrap(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` cells; a Chinese character takes two. Line breaks in the text stay."""
    for paragraph in text.split("\n"):
        line = ""
        for piece in _short_enough(paragraph, max(2, width)):
            if line and cell_len(line) + cell_len(piece.rstrip()) > width:
                if line.strip():
                    yield line.rstrip()
                line = ""
            line += piece
        yield line.rstrip()


def _short_enough(paragraph: str, width: int) -> Iterator[str]:
    """The pieces that stay together, those wider than a line cut into lines."""
    for piece in _PIECES.findall(paragraph):
        rest = piece
        while cell_len(rest.rstrip()) > width:
            end = next(n for n in range(len(rest), 0, -1) if cell_len(rest[:n]) <= width)
            yield rest[:end]
            rest = rest[end:]
        yield rest
