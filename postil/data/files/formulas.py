"""Cells that a spreadsheet would take for formulas: made harmless in each CSV written, undone when one is read.

A leading apostrophe says "this is text", as it does when it is typed into a cell. Signed numbers such as "-5",
"+86 138-0013-8000" or "-1,200.50" stay as they are: a spreadsheet could only add them up. In a workbook a cell says by
its type that it is text, so nothing is written in front there.
"""

import re

_RISKY = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+\-][\d.,()/%:\s\-]*")
# "'@name' is ..." and "'-v' shows ..." begin with a quotation mark, not with the sign for text.
_QUOTED_WORD = re.compile(r"'[=+\-@][\w.\-]+'")


def is_risky(text: str) -> bool:
    """True where a spreadsheet that opens a CSV file could run the cell."""
    return _RISKY.match(text) is not None and not (_NUMBER.fullmatch(text) and re.search(r"\d", text))


def neutralise(text: str) -> str:
    """The text with an apostrophe in front where it is risky."""
    return f"'{text}" if is_risky(text) else text


def restore(text: str) -> str:
    """The text that `neutralise` was given."""
    return text[1:] if text[:1] == "'" and is_risky(text[1:]) and not _QUOTED_WORD.match(text) else text
