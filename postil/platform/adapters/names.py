"""What an adapter is called: its display name, and the names by which a request to /v1 asks for it.

    ft:{base}:{account}:{suffix}:{8 letters}     the letters are the beginning of its identifier, and alone decide
    ft:{base, "/" as "--"}:...                   the same without a slash, for clients that cannot encode one

Account and suffix are there to be read; they follow a renaming, and a name that was given out earlier goes on to work.
"""

import re
import unicodedata

from postil.errors import UsageError

MAX_NAME_CHARS = 120
MAX_SUFFIX_CHARS = 64
_LETTERS = 8
_MODEL_NAME = re.compile(rf"ft:(?P<base>[^:]+):[^:]*:[^:]*:(?P<letters>[a-z0-9]{{{_LETTERS}}})")
_NOT_IN_A_WORD = re.compile(r"[^\w.-]+")


def check_name(name: str) -> str:
    """A display name as it is kept: NFC, blanks around it gone.

    Raises:
        UsageError: empty, longer than 120 characters, or with line breaks or invisible control characters.
    """
    kept = unicodedata.normalize("NFC", name).strip()
    if not 0 < len(kept) <= MAX_NAME_CHARS or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in kept):
        raise UsageError("platform.names.bad", name=kept[:MAX_NAME_CHARS], most=MAX_NAME_CHARS)
    if kept.startswith("ft:"):
        raise UsageError("platform.names.taken_form", name=kept)
    return kept


def fit_name(name: str, taken: set[str]) -> str:
    """A name that may be kept, as near to `name` as can be: the second "shop" is "shop 2"."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in name)
    clean = " ".join(unicodedata.normalize("NFC", clean).split()).removeprefix("ft:") or "adapter"
    numbers = range(2, len(taken) + 3)
    endings = ["", *(f" {number}" for number in numbers)]
    return next(n for n in (clean[: MAX_NAME_CHARS - len(e)].strip() + e for e in endings) if n not in taken)


def as_word(text: str) -> str:
    """A name without blanks, colons and slashes, such as "客服-2026" for "客服 2026"."""
    return _NOT_IN_A_WORD.sub("-", unicodedata.normalize("NFC", text)).strip("-.").lower()[:MAX_SUFFIX_CHARS]


def letters_of(adapter_id: str) -> str:
    """The eight letters that stand for an adapter in its name."""
    return adapter_id.partition("_")[2][:_LETTERS]


def model_name(base: str, owner: str, name: str, adapter_id: str) -> str:
    """What requests to /v1 call an adapter."""
    return f"ft:{base}:{as_word(owner)}:{as_word(name)}:{letters_of(adapter_id)}"


def without_slash(text: str) -> str:
    """The same name for clients that cannot send a slash."""
    return text.replace("/", "--")


def read_model_name(text: str) -> tuple[str, str] | None:
    """The base (with or without its slash) and the eight letters of a name; None for what is no such name."""
    found = _MODEL_NAME.fullmatch(text)
    return None if found is None else (found["base"], found["letters"])
