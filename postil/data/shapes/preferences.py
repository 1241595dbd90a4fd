"""Comparisons of a good and a bad answer: the good side is read, the bad one only recognised."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from postil.data.shapes.columns import Layout, normalize_name
from postil.data.shapes.drafts import ROLES, Draft, is_blank
from postil.data.shapes.turns import parsed_list, value_drafts

_MARKED_TURNS = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")
_BOOLEANS = {"true": True, "false": False}


def chosen_column(fields: Mapping[str, Any], layout: Layout) -> str | None:
    """The field of the better answer."""
    return next((name for name in layout.chosen if _says_something(fields.get(name))), None)


def is_comparison(fields: Mapping[str, Any], layout: Layout) -> bool:
    """True where a worse answer stands beside the better one, or the better one is called so."""
    return chosen_column(fields, layout) is not None or any(_says_something(fields.get(n)) for n in layout.rejected)


def marked_good(fields: Mapping[str, Any], layout: Layout) -> bool | None:
    """What the record's label says of its answer (KTO); None where there is no such label."""
    marks = (_mark(name, fields.get(name)) for name in layout.kto_labels if name != layout.answer)
    return next((mark for mark in marks if mark is not None), None)


def chosen_drafts(before: Sequence[Draft], value: Any, column: str) -> list[Draft]:
    """The conversation with the better answer, which is text, messages, or the whole conversation.

    Args:
        before: the drafts of the turns that lead to it.
    """
    after = _marked_text(value, column) or value_drafts("assistant", parsed_list(value), column, column)
    begins_anew = after and ROLES.get(after[0].role) in ("user", "system")
    return list(after) if begins_anew else [*before, *after]


def _says_something(value: Any) -> bool:
    return not isinstance(value, bool) and not is_blank(value)


def _mark(name: str, value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _BOOLEANS.get(value.strip().casefold())
    is_certain = normalize_name(name).startswith("kto")  # 0 and 1 under "label" may be classes
    return bool(value) if is_certain and value in (0, 1) else None


def _marked_text(value: Any, column: str) -> list[Draft]:
    """Turns of a text like "\\n\\nHuman: ...\\n\\nAssistant: ...", as the first public comparisons were written."""
    if not isinstance(value, str) or not value.lstrip().startswith("Human:"):
        return []
    pieces = _MARKED_TURNS.split("\n\n" + value.lstrip())
    return [
        Draft(normalize_name(role), text.strip("\n"), column, column)
        for role, text in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
