"""Examples to begin with, written for this project: rows that a visitor takes in place of a file of their own.

shop         questions and answers of an online shop, a .csv
hotel        chats at a hotel's desk, a .txt as a chat program saves it
software     a help desk's workbook, with the mistakes that workbooks have
copywriting  texts about products, a .csv
"""

import io
import json
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from postil.errors import MissingInputError
from postil.language import Language, say

EXAMPLES = MappingProxyType({"shop": ".csv", "hotel": ".txt", "software": ".xlsx", "copywriting": ".csv"})
"""Name -> ending of the file."""
_FOLDER = Path(__file__).parents[1] / "examples"
_WIDTHS = (46, 70, 24, 24)
"""Of a workbook's columns, in characters."""


def example_file(name: str, language: Language) -> tuple[str, bytes]:
    """What the file is called in the current language, and its bytes.

    Raises:
        MissingInputError: there is no such example.
    """
    if name not in EXAMPLES:
        raise MissingInputError("new_page.no_example")
    return say(f"new_page.example.{name}.file") + EXAMPLES[name], _content(name, language)


@cache
def _content(name: str, language: Language) -> bytes:
    if EXAMPLES[name] != ".xlsx":
        return (_FOLDER / f"{name}.{language}{EXAMPLES[name]}").read_bytes()
    return _workbook(json.loads((_FOLDER / f"{name}.{language}.json").read_text("utf-8")))


def _workbook(sheets: dict[str, list[list[Any]]]) -> bytes:
    """Sheet -> rows, as a workbook; made here, so that the rows can be read and mended as text."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment
    from openpyxl.utils import get_column_letter

    book = Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for index, width in enumerate(_WIDTHS, start=1):
            sheet.column_dimensions[get_column_letter(index)].width = width
        for row in rows:
            sheet.append(row)
            for cell in sheet[sheet.max_row]:
                cell.alignment = Alignment(wrap_text=True, vertical="top")
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()
