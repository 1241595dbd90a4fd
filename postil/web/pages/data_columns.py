"""What the columns of a file were taken for, on the user's own header, and what the user says instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postil.data.options import PURPOSES
from postil.errors import UsageError
from postil.language import has_sentence, say
from postil.problems import ADDED
from postil.web.pages.forms import Form

SURE = 0.9


@dataclass(frozen=True, slots=True)
class ColumnShown:
    """A column.

    Args:
        name: its header.
        purpose: what it was taken for; "" where it is not read.
        is_choosable: False for what only the file's own structure tells, such as a list of messages.
    """

    name: str
    purpose: str
    is_choosable: bool

    @property
    def said(self) -> str:
        """The purpose in words."""
        return purpose_in_words(self.purpose)


@dataclass(frozen=True, slots=True)
class TableShown:
    """Sheets or files that are read alike.

    Args:
        names: of the sheets, or of the files where they have none.
        is_sure: False where the user should look.
        reason: why it was read so; a key of the catalog ends with it.
    """

    names: tuple[str, ...]
    columns: tuple[ColumnShown, ...]
    is_sure: bool
    reason: str

    @property
    def is_choosable(self) -> bool:
        """True for a table: its columns may be taken for something else."""
        return any(column.is_choosable for column in self.columns)


def tables_of(summary: Mapping[str, Any]) -> tuple[TableShown, ...]:
    """The readings of a check's summary, those that are alike together."""
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for reading in summary["readings"]:
        if reading["file"] == ADDED:  # has no columns of its own
            continue
        key = tuple(reading["columns"].items()), tuple(reading["unread"]), reading["reason"]
        alike.setdefault(key, []).append(reading)
    return tuple(_table(readings) for readings in alike.values())


def _table(readings: list[Mapping[str, Any]]) -> TableShown:
    first = readings[0]
    is_structure = first["reason"] == "structure"
    columns = [
        ColumnShown(name, purpose, not is_structure and purpose in PURPOSES)
        for purpose, name in first["columns"].items()
    ]
    columns += [ColumnShown(name, "", not is_structure) for name in first["unread"]]
    return TableShown(
        names=tuple(reading["sheet"] or reading["file"] for reading in readings),
        columns=tuple(columns),
        is_sure=min(reading["confidence"] for reading in readings) >= SURE,
        reason=first["reason"],
    )


def purpose_in_words(purpose: str) -> str:
    """What a column is for, as the page says it."""
    key = f"data_page.column.{purpose or 'unread'}"
    return say(key) if has_sentence(key) else purpose


def chosen_columns(form: Form) -> dict[str, str]:
    """Purpose -> header, as the form says: a purpose beside each header, or a header typed in for a purpose.

    Raises:
        UsageError: two columns have one purpose.
    """
    pairs = list(zip(form.all("purpose"), form.all("column"), strict=False))
    pairs += [(purpose, form.get(f"named.{purpose}")) for purpose in PURPOSES]
    chosen: dict[str, str] = {}
    for purpose, name in pairs:
        if not purpose or not name:
            continue
        if purpose in chosen:
            raise UsageError("data_page.two_columns", purpose=purpose_in_words(purpose))
        chosen[purpose] = name
    return chosen
