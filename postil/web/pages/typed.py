"""What people type into forms as amounts, numbers and days. What cannot be read is kept with its field, all at once."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, TypeVar

from fastapi import Depends

from postil.language import say
from postil.web.pages.forms import Form, read_form

TheForm = Annotated[Form, Depends(read_form)]
"""What a route's form has sent; named after the visitor in the route's arguments, who is looked at first."""
MICRO = 1_000_000
_MOST_MICRO = 2**53
_AMOUNT = re.compile(r"([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]{1,6})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_COUNT = re.compile(r"[0-9]+|[0-9]{1,3}(,[0-9]{3})+")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Typed:
    """Fields of a form, read one after the other.

    Args:
        wrong: name of a field -> the sentence that says what is wrong with it.
    """

    form: Form
    wrong: dict[str, str] = field(default_factory=dict)

    def blame(self, name: str, key: str, **values: object) -> None:
        """Says what is wrong with a field."""
        self.wrong[name] = say(key, **values)

    def text(self, name: str, most: int) -> str:
        """A text that may be empty, of at most so many letters."""
        text = self.form.get(name)
        if len(text) > most:
            self.blame(name, "account_page.wrong.long", most=most)
        return text

    def amount(self, name: str) -> int | None:
        """An amount of money in millionths of its currency; None where nothing was typed, or where it is wrong."""
        return self._read(name, _micro, "account_page.wrong.amount")

    def count(self, name: str) -> int | None:
        """A whole number of 0 or more; None where nothing was typed, or where it is wrong."""
        return self._read(name, _count, "account_page.wrong.count")

    def day_end(self, name: str) -> datetime | None:
        """The end of a day of this machine's calendar, in UTC; None where nothing was typed, or where it is wrong."""
        return self._read(name, _day_end, "account_page.wrong.day")

    def needed(self, name: str) -> None:
        """Blames a field in which nothing was typed."""
        if not self.form.get(name):
            self.blame(name, "account_page.wrong.empty")

    def _read(self, name: str, read: Callable[[str], Value], key: str) -> Value | None:
        text = self.form.get(name)
        if not text:
            return None
        try:
            return read(text)
        except (ValueError, OverflowError):
            self.blame(name, key)
            return None


def spell_amount(micro: int | None) -> str:
    """Millionths as they are typed: 30000 is "0.03", None is ""."""
    if micro is None:
        return ""
    text = f"{Decimal(micro) / MICRO:.6f}".rstrip("0")
    return text.rstrip(".")


def _micro(text: str) -> int:
    if not _AMOUNT.fullmatch(text):
        raise ValueError(text)
    micro = int(Decimal(text.replace(",", "")) * MICRO)
    if micro > _MOST_MICRO:
        raise OverflowError(text)
    return micro


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text) or len(text) > 15:
        raise ValueError(text)
    return int(text.replace(",", ""))


def _day_end(text: str) -> datetime:
    if not _DAY.fullmatch(text):  # Python takes weeks and days without dashes, too
        raise ValueError(text)
    following = date.fromisoformat(text) + timedelta(days=1)
    return datetime(following.year, following.month, following.day).astimezone().astimezone(UTC)
