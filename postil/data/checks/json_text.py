"""JSON that stands as text in a table's cell or in a string: changed inside, written back as JSON."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from postil.data.files.json_values import decode_json

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode_json(value: Any) -> str:
    """A value in one line: Chinese as it is, numbers as they were written, keys in their order."""
    text = _encoder.encode(value).decode()
    return text


def inside_json(text: str, change: Callable[[Any], Any]) -> str | None:
    """The text with `change` done to the list or object that it holds; None where it holds none.

    A text that the change leaves as it was comes back as it was written.
    """
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = decode_json(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list | dict) or _is_bare(value):
        return None
    changed = change(value)
    return text if changed == value else encode_json(changed)


def _is_bare(value: Any) -> bool:
    """True for lists of numbers such as "[1]", which are a text's own brackets."""
    return isinstance(value, list) and all(isinstance(item, int | float | Decimal) for item in value)
