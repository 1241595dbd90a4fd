"""Ranges of time and money as people say them: "12-15 min", "40-60 s", "3.10"."""

from postil.advice.pricing import spell_micro
from postil.language import say

MINUTE, HOUR, DAY = 60, 3600, 86400


def duration_range(low: float, high: float, longest: float | None = None) -> str:
    """A range of seconds in the largest unit that still says something; one number where both ends are equal.

    Args:
        longest: of several ranges that stand beside each other, which are then told in one unit.
    """
    unit, size = _unit(high if longest is None else longest)
    places = 0 if size == 1 or (size == MINUTE and high >= 10 * MINUTE) else 1
    first, last = _number(low / size, places), _number(high / size, places)
    text = first if first == last else f"{first}-{last}"
    return say(f"advice.time.{unit}", amount=text)


def amount_range(low_micro: float, high_micro: float | None = None) -> str:
    """Micro-yuan as "3.10", or "3.10-4.20"."""
    first = spell_micro(round(low_micro))
    last = first if high_micro is None else spell_micro(round(high_micro))
    return first if first == last else f"{first}-{last}"


def _unit(seconds: float) -> tuple[str, int]:
    if seconds < 1.5 * MINUTE:
        return "seconds", 1
    if seconds < 1.5 * HOUR:
        return "minutes", MINUTE
    return ("hours", HOUR) if seconds < 2 * DAY else ("days", DAY)


def _number(value: float, places: int) -> str:
    return f"{value:.{places}f}".removesuffix(".0")
