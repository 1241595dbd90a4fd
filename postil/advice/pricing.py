"""What a run costs, in whole micro-yuan: nothing here is rounded twice, and every figure can be computed again.

    billable tokens = all tokens of the trained rows past the free ones, in file order, x passes really run
    price           = billable tokens x rate / 1000, rounded down

Held-out rows are free and use no free row up. Prices are configuration; the defaults are the source's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

MICRO = 1_000_000
"""Micro-yuan of a yuan."""
FREE_ROWS_PER_MONTH = 1000
"""Rows of an account and calendar month that cost nothing: "free within 1000 rows"."""
RATE_MICRO_PER_1000 = 30_000
"""0.03 yuan for 1000 trained tokens."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What training costs here.

    Args:
        free_rows_per_month: of an account.
        rate_micro: micro-units of the currency for 1000 tokens; 0 where only limits are wanted.
        currency: as it is written behind a sum.
    """

    free_rows_per_month: int = FREE_ROWS_PER_MONTH
    rate_micro: int = RATE_MICRO_PER_1000
    currency: str = "CNY"


def billable_tokens(tokens_per_row_in_file_order: Sequence[int], free_rows_left: int, passes: int | Fraction) -> int:
    """Tokens that cost something.

    Args:
        tokens_per_row_in_file_order: all tokens of each row that trains.
        free_rows_left: of the account's month; the first rows of the file take them.
        passes: over the rows, really run; a part of one counts as its share.

    Returns:
        Whole tokens, rounded down.

    Raises:
        ValueError: a negative number.
    """
    if free_rows_left < 0 or passes < 0 or min(tokens_per_row_in_file_order, default=0) < 0:
        raise ValueError("rows, tokens and passes are not negative")
    return int(sum(tokens_per_row_in_file_order[free_rows_left:]) * Fraction(passes))


def free_rows_used(num_rows: int, free_rows_left: int) -> int:
    """Free rows that a file of `num_rows` trained rows takes."""
    return min(num_rows, free_rows_left)


def price_micro(tokens: int, rate_micro: int = RATE_MICRO_PER_1000) -> int:
    """Micro-units for `tokens` billable tokens at `rate_micro` for 1000, rounded down.

    Raises:
        ValueError: a negative number.
    """
    if tokens < 0 or rate_micro < 0:
        raise ValueError("tokens and rates are not negative")
    return tokens * rate_micro // 1000


def spell_micro(amount_micro: int, places: int = 2) -> str:
    """A sum with `places` decimals, rounded half up: 3_104_999 is "3.10"."""
    unit = 10 ** (6 - places)
    whole = (abs(amount_micro) + unit // 2) // unit
    text = f"{whole // 10**places}.{whole % 10**places:0{places}}" if places else str(whole)
    return f"-{text}" if amount_micro < 0 and whole else text
