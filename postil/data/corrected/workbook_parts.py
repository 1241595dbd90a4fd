"""What a workbook's archive holds besides its cells, and whether it is small enough to be opened as a whole."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from postil.data.files.archives import open_archive

Part = Literal["pictures", "charts", "pivot_tables", "macros", "controls", "links", "threads", "extensions"]

MAX_ITEMS = 300_000
"""Cells, filled or only formatted, rows, rules and looks of a workbook whose look is kept: 360,000 of them took 20
seconds of a processor and 245 MB, as much time as a plain copy."""
MAX_ELEMENTS = 3_000_000
MAX_BYTES = 200 << 20
_PIECE_BYTES = 1 << 20
# Whatever becomes an object of its own.
_ITEM = re.compile(
    rb"<(?:\w+:)?(?:c|row|col|xf|dxf|font|fill|border|mergeCell|hyperlink|dataValidation|cfRule|comment|brk|definedName)[\s/>]"
)
_LONGEST_ITEM_START = 60

_NAMES: dict[Part, re.Pattern[str]] = {
    "pictures": re.compile(r"xl/media/"),
    "charts": re.compile(r"xl/(?:charts|chartsheets)/"),
    "pivot_tables": re.compile(r"xl/(?:pivotTables|pivotCache)/"),
    "macros": re.compile(r"xl/(?:vbaProject|macrosheets/)"),
    "controls": re.compile(r"xl/(?:embeddings|ctrlProps|activeX)/"),
    "links": re.compile(r"xl/(?:externalLinks|queryTables)/|xl/connections\.xml"),
    "threads": re.compile(r"xl/threadedComments/"),
    "extensions": re.compile(r"xl/(?:slicers|timelines)/"),
}
_DRAWING = re.compile(r"xl/drawings/drawing\d*\.xml")
# A shape that was drawn; charts and pictures are elements of other names.
_SHAPE = re.compile(rb"<(?:\w+:)?(?:sp|cxnSp)[\s>]")
_EXTENSION = re.compile(rb"<(?:\w+:)?(?:sparklineGroups|slicerList|scenarios)\b|<x14:(?:dataValidations|cond)")


@dataclass(frozen=True, slots=True)
class WorkbookParts:
    """What stands in a workbook's archive.

    Args:
        obstacle: why it cannot be opened as a whole within bounds on time and memory; None where it can.
        left_out: what a corrected copy cannot hold.
    """

    obstacle: Literal["too_large", "not_kept"] | None
    left_out: tuple[Part, ...]


@dataclass(slots=True)
class _Counts:
    items: int = 0
    elements: int = 0
    is_small: bool = True
    has_shapes: bool = False
    has_extensions: bool = False


def survey_parts(path: Path) -> WorkbookParts:
    """Counts every part as it unpacks, whatever its name: a workbook may call any of them a sheet.

    Raises:
        DataError: the archive as a whole is damaged, or does not keep within the limits of reading.
    """
    counts, is_damaged = _Counts(), False
    with open_archive(path) as archive:
        names = archive.namelist()
        counts.is_small = sum(entry.file_size for entry in archive.infolist()) <= MAX_BYTES
        try:
            for name in names:
                _count(archive, name, counts)
        except Exception:  # zip files are damaged in many ways; the rows could be read
            is_damaged = True
    found = {part for part, pattern in _NAMES.items() if any(map(pattern.match, names))}
    if counts.has_shapes:
        found.add("pictures")
    if counts.has_extensions:
        found.add("extensions")
    obstacle: Literal["too_large", "not_kept"] | None = "not_kept" if is_damaged else None
    return WorkbookParts(obstacle if counts.is_small else "too_large", tuple(part for part in _NAMES if part in found))


def _count(archive: zipfile.ZipFile, name: str, counts: _Counts) -> None:
    """Reads one part; of a workbook that is too large only drawings, until their end."""
    is_drawing, rest = _DRAWING.match(name) is not None, b""
    if not (counts.is_small or is_drawing):
        return
    with archive.open(name) as member:
        while (counts.is_small or is_drawing) and (piece := member.read(_PIECE_BYTES)):
            counts.elements += piece.count(b"<") - piece.count(b"</")
            buffer = rest + piece
            rest = buffer[-_LONGEST_ITEM_START:]
            counts.items += len(_ITEM.findall(buffer)) - len(_ITEM.findall(rest))
            counts.is_small &= counts.items <= MAX_ITEMS and counts.elements <= MAX_ELEMENTS
            counts.has_shapes |= is_drawing and _SHAPE.search(buffer) is not None
            counts.has_extensions |= not is_drawing and _EXTENSION.search(buffer) is not None
    counts.items += len(_ITEM.findall(rest))
    counts.is_small &= counts.items <= MAX_ITEMS
