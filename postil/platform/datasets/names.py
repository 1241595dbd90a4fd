"""What a data set and its file are called: text to be shown. No path is ever made of it; stored names are our own."""

import re
import unicodedata
from collections.abc import Collection
from itertools import count

from postil.data.files.archives import shown_name
from postil.errors import UsageError

MAX_NAME_CHARS = 120
MAX_FILE_NAME_CHARS = 255
_LONGEST_SUFFIX = 10
_FOLDERS = re.compile(r"[/\\]")


def check_dataset_name(name: str) -> str:
    """A name as it is kept: NFC, blanks around it gone.

    Raises:
        UsageError: empty, longer than 120 characters, or with line breaks or invisible control characters.
    """
    kept = unicodedata.normalize("NFC", name).strip()
    if not 0 < len(kept) <= MAX_NAME_CHARS or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in kept):
        raise UsageError("platform.datasets.bad_name", name=shown_file_name(kept)[:MAX_NAME_CHARS], most=MAX_NAME_CHARS)
    return kept


def shown_file_name(raw: str) -> str:
    """A file's name as reports show it: its last part, on one line, what cannot be seen spelled out.

    The end stays whole where it is shortened: ".xlsx" tells the reader how to look at the file.
    """
    last = next((part for part in reversed(_FOLDERS.split(raw)) if part.strip(" .")), "")
    printable = last.strip().encode("utf-8", "backslashreplace").decode()
    name = shown_name("".join(map(_visible, printable))) or "file"
    if len(name) <= MAX_FILE_NAME_CHARS:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > _LONGEST_SUFFIX:
        return name[:MAX_FILE_NAME_CHARS]
    return f"{stem[: MAX_FILE_NAME_CHARS - len(suffix) - 2]}….{suffix}"


def name_of_file(file_name: str) -> str:
    """What a data set is called after its file: without the suffix."""
    stem, dot, suffix = file_name.rpartition(".")
    plain = stem if dot and stem and len(suffix) <= _LONGEST_SUFFIX else file_name
    return plain[:MAX_NAME_CHARS].strip() or "file"


def free_name(name: str, taken: Collection[str]) -> str:
    """The name itself, or "name (2)" and so on where it is taken."""
    if name not in taken:
        return name
    numbered = (f"{name[: MAX_NAME_CHARS - len(end)]}{end}" for end in (f" ({n})" for n in count(2)))
    return next(one for one in numbered if one not in taken)


def _visible(character: str) -> str:
    """Marks that turn the direction of text around could show "exe.gpj" for a ".exe"; joiners inside words stay."""
    is_hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    if is_hidden or unicodedata.bidirectional(character) in (
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    ):
        return f"\\u{ord(character):04x}"
    return "" if character in "\u200e\u200f\u061c\ufeff" else character
