"""How near an answer comes to the expected one."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RIGHT_F1 = 0.8
"""An answer with at least this F1, and the same numbers, counts as right."""
RARE_SHARE, FEW_ANSWERS = 0.1, 3
"""A word in less than this share of a file's answers, or in so few of them, tells them apart."""

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


@dataclass(frozen=True, slots=True)
class TellingWords:
    """The words that carry a fact in the answers of one file: those that few of its answers have.

    Answers that are made from one pattern share nearly all their words, so that overlap alone takes "is made of wool"
    for "is made of acrylic". Numbers are told apart by `is_right` in any case.

    Args:
        num_answers: different answers that are known.
        num_with: of a word, in how many of them it stands.
    """

    num_answers: int
    num_with: Mapping[str, int]

    @classmethod
    def of(cls, answers: Iterable[str]) -> "TellingWords":
        """Counted over the different texts among the expected answers of a file, learned ones included."""
        texts = {normalize_space(answer) for answer in answers}
        return cls(len(texts), Counter(word for text in texts for word in _words(text)))

    def missing(self, answer: str, expected: str) -> set[str]:
        """The telling words of the expected answer that a reply lacks, in small letters; the order does not count.

        A word tells where it stands in one answer of several; in up to three, or less than a tenth, of many. A word of
        Chinese, Japanese, Korean or Thai is a sign here, as for `character_f1`; punctuation tells nothing.
        """
        return {word for word in _words(expected) - _words(answer) if self._tells(word)}

    def _tells(self, word: str) -> bool:
        found = self.num_with.get(word, 0)
        if found <= 1:
            return self.num_answers > 1
        return found < self.num_answers / 2 and (found <= FEW_ANSWERS or found < RARE_SHARE * self.num_answers)


def _words(text: str) -> set[str]:
    return {unit.casefold() for unit in _UNIT.findall(text) if unit.isalnum()}


def is_right(answer: str, expected: str, telling: TellingWords | None = None) -> bool:
    """Nearly word for word, and with the very facts: "27 months" for "9 months" is wrong and no small slip.

    Args:
        telling: of the file that `expected` is from; none of its words may be missing. None looks at numbers only.
    """
    if Counter(_NUMBER.findall(answer)) != Counter(_NUMBER.findall(expected)):
        return False
    if telling is not None and telling.missing(answer, expected):
        return False
    return character_f1(answer, expected) >= RIGHT_F1
