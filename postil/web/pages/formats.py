"""Numbers, money, sizes and times as the reader's language writes them."""

from datetime import datetime
from decimal import Decimal

from babel.dates import format_datetime
from babel.numbers import format_currency, format_decimal, format_percent

from postil.language import current_language, say

_LOCALES = {"en": "en", "zh": "zh_Hans_CN"}
_MICRO = 1_000_000


def locale_now() -> str:
    """Babel's name of the language in force."""
    return _LOCALES[current_language()]


def number(value: float, digits: int = 0) -> str:
    """A number with at most so many digits behind the point."""
    return str(format_decimal(round(value, digits), locale=locale_now()))


def percent(value: float) -> str:
    """A share of 100, such as 30.4, in whole per cents."""
    return str(format_percent(value / 100, locale=locale_now()))


def money(micro: int, currency: str) -> str:
    """An amount in millionths of its currency; small ones keep the digits that say something."""
    amount = Decimal(micro) / _MICRO
    pattern = None if abs(amount) >= 1 or not amount else "¤#,##0.00##;-¤#,##0.00##"
    return str(format_currency(amount, currency, pattern, locale=locale_now(), currency_digits=pattern is None))


def size(num_bytes: float) -> str:
    """Bytes as people say them: 12 KB, 3.4 MB, 1.2 GB; as `models.memory.gigabytes` says them elsewhere."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if num_bytes >= least:
            scaled = num_bytes / least
            return f"{number(scaled, 0 if round(scaled, 1) >= 10 else 1)} {unit}"
    return f"{number(num_bytes)} B"


def moment(at: datetime) -> str:
    """A date and time of this machine's clock; the script writes it anew in the reader's own zone."""
    return str(format_datetime(at.astimezone(), "medium", locale=locale_now()))


def span(seconds: float) -> str:
    """A span of time in the words that fit: 40 seconds, 3 minutes, 2.5 hours."""
    key, amount = _amount(seconds)
    return say(key, n=amount)


def _amount(seconds: float) -> tuple[str, int | str]:
    """The sentence of the unit that fits, and how many of it."""
    if seconds < 90:
        return "pages.seconds", max(1, round(seconds))
    if seconds < 90 * 60:
        return "pages.minutes", round(seconds / 60)
    return "pages.hours", number(seconds / 3600, 1)


def span_range(low: float, high: float) -> str:
    """Two ends of a span: "3 to 5 minutes", or one where they are told the same way."""
    (first_key, first), (last_key, last) = _amount(low), _amount(high)
    if first_key == last_key and first != last:
        return say(first_key, n=say("pages.from_to", low=first, high=last))
    return span(low) if first_key == last_key else say("pages.from_to", low=span(low), high=span(high))


def money_range(low: int, high: int, currency: str) -> str:
    """Two amounts, or one where they are told the same way."""
    first, last = money(low, currency), money(high, currency)
    return first if first == last else say("pages.from_to", low=first, high=last)
