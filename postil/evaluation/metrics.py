"""How near an answer comes to the expected one."""

import re
from collections import Counter

RIGHT_F1 = 0.8
"""An answer with at least this F1, and the same numbers, counts as right."""

# What is written with spaces (Latin, Greek, Cyrillic, Arabic, Indic ... and digits) is counted word by word, everything
# else sign by sign. Counted letter by letter, any two long English sentences would share four fifths of their letters.
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_UNIT = re.compile(r"[0-9A-Za-z_\u00c0-\u0dff\u1e00-\u1fff]+|\S")


def normalize_space(text: str) -> str:
    """One space for every run of white space, none at the ends."""
    return " ".join(text.split())


def exact_match(answer: str, expected: str) -> bool:
    """The same text but for white space."""
    return normalize_space(answer) == normalize_space(expected)


def character_f1(answer: str, expected: str) -> float:
    """Overlap of two texts as multisets of characters, from 0 to 1; order does not count.

        F1 = 2 * |answer ∩ expected| / (|answer| + |expected|)

    A character of Chinese, Japanese, Korean or Thai is one unit and so is a punctuation mark; a word of a script that
    is written with spaces is one unit too. White space does not count. Two empty texts agree.
    """
    left, right = Counter(_UNIT.findall(answer)), Counter(_UNIT.findall(expected))
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 1.0


def is_right(answer: str, expected: str) -> bool:
    """Nearly word for word, and with the very numbers: "27 months" for "9 months" is wrong and no small slip."""
    if Counter(_NUMBER.findall(answer)) != Counter(_NUMBER.findall(expected)):
        return False
    return character_f1(answer, expected) >= RIGHT_F1
