"""The parts of a Word document beside its text: XML within limits, styles, and how lists are numbered."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from postil.data.files.archives import read_member
from postil.errors import DataError

MAX_XML_BYTES = 256 << 20
_MAX_DEPTH = 400


@dataclass(frozen=True, slots=True)
class Style:
    """What a paragraph's style says of it: heading, line of a table of contents, and the list that it belongs to."""

    is_heading: bool = False
    is_contents: bool = False
    list_id: str = ""
    level: int = 0


class WordParser:
    """Receives Word's elements by their short names; those of other namespaces keep theirs."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins; `attributes` by short name."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, data: str) -> None:
        """Text between the marks."""


def parse_part(path: Path, member: str, parser: WordParser) -> None:
    """Hands a part's elements to the parser; a part that is not there has none.

    Raises:
        DataError: it is damaged, too big, nested too deeply, or declares entities.
    """
    data = read_member(path, member, MAX_XML_BYTES)
    if not data:
        return
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise _broken(path)
        parser.start(_short(name), {_short(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        parser.end(_short(name))

    def refuse(*_: Any) -> None:
        # Word writes no DTD; entities that multiply each other need one.
        raise _broken(path)

    reader = expat.ParserCreate(namespace_separator=" ")
    reader.buffer_text = True
    reader.StartElementHandler, reader.EndElementHandler = start, end
    reader.CharacterDataHandler = parser.text
    reader.StartDoctypeDeclHandler = refuse
    try:
        reader.Parse(data, True)
    except (expat.ExpatError, ValueError, KeyError, IndexError) as error:
        raise _broken(path) from error


def _broken(path: Path) -> DataError:
    return DataError("data.broken_document", path=str(path))


def _short(name: str) -> str:
    return name.rpartition(" ")[2]


class StyleParser(WordParser):
    """Style id -> what it says; ids differ between languages of Word ("1", "Heading1"), names do not."""

    def __init__(self) -> None:
        self.found: dict[str, Style] = {}
        self._id = self._name = self._list_id = ""
        self._level = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        match name:
            case "style":
                self._id, self._name, self._list_id, self._level = attributes.get("styleId", ""), "", "", 0
            case "name":
                self._name = value
            case "numId":
                self._list_id = value
            case "ilvl":
                self._level = word_level(value)

    def end(self, name: str) -> None:
        if name == "style":
            is_heading = re.match(r"(heading|标题|標題) ?\d|(title|标题|標題)$", self._name, re.IGNORECASE) is not None
            is_contents = re.match(r"(toc|目录|目錄) ?\d", self._name, re.IGNORECASE) is not None
            self.found[self._id] = Style(is_heading, is_contents, self._list_id, self._level)


class ListParser(WordParser):
    """How Word marks the paragraphs of each list and level: the kind of number and the text around it."""

    def __init__(self) -> None:
        self._formats: dict[tuple[str, int], str] = {}
        self._texts: dict[tuple[str, int], str] = {}
        self._definitions: dict[str, str] = {}
        self._definition = self._list_id = ""
        self._level = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        key = self._definition, self._level
        match name:
            case "abstractNum":
                self._definition, self._list_id = attributes.get("abstractNumId", ""), ""
            case "lvl":
                self._level = word_level(attributes.get("ilvl", ""))
            case "numFmt" if not self._list_id:
                self._formats.setdefault(key, value)
            case "lvlText" if not self._list_id:
                self._texts.setdefault(key, value[:40])
            case "num":
                self._list_id = attributes.get("numId", "")
            case "abstractNumId" if self._list_id:
                self._definitions[self._list_id] = value

    def mark(self, list_id: str, numbers: Sequence[int]) -> str:
        """What stands before a paragraph; `numbers` are those of all levels down to its own."""
        definition, level = self._definitions.get(list_id, ""), len(numbers) - 1
        if self._formats.get((definition, level)) == "bullet":
            return "- "
        text = self._texts.get((definition, level), f"%{len(numbers)}.")

        def number(found: re.Match[str]) -> str:
            at = int(found[1]) - 1
            if not 0 <= at < len(numbers):
                return ""
            is_letter = self._formats.get((definition, at), "").endswith("Letter") and numbers[at] <= 26
            return chr(ord("A") + numbers[at] - 1) if is_letter else str(numbers[at])

        mark = re.sub(r"%(\d)", number, text)
        return f"{mark} " if mark.strip() else ""


def word_level(value: str) -> int:
    """The level of a list, 0 to 8."""
    return int(value) if value.isdigit() and len(value) == 1 else 0
