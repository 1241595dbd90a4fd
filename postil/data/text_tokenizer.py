"""What the data room asks of a tokenizer, and two things that it finds out by asking."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Protocol

_BLANKS = re.compile(r"[\s\u2581]+")


class TextTokenizer(Protocol):
    """What the data room asks of a tokenizer; `models/tokenizer.py` wraps a real one."""

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and the characters (start, end) of each; special tokens in the text are recognised, none are added."""
        ...

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        ...

    @property
    def pad_id(self) -> int | None:
        """The token that fills rows up; never trained as such."""
        ...

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """`bos_token`, `eos_token` and so on: what templates may name."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The source of its chat template, if it has one."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256: equal fingerprints give equal ids for every text."""
        ...


class ControlTokens:
    """Which ids are control tokens, found by decoding: without special tokens nothing is left of one."""

    def __init__(self, tokenizer: TextTokenizer):
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def text_of(self, token_id: int) -> str:
        """The text of a control token, "" for an ordinary one."""
        known = self._texts.get(token_id)
        if known is None:
            is_control = not self._tokenizer.decode([token_id], skip_special_tokens=True)
            known = self._tokenizer.decode([token_id], skip_special_tokens=False).strip() if is_control else ""
            self._texts[token_id] = known
        return known

    def find_in(self, text: str) -> list[tuple[str, int]]:
        """Control tokens that are written in a text, and where each begins; unknown characters are none."""
        ids, offsets = self._tokenizer.encode(text)
        return [
            (control, start)
            for i, (start, end) in zip(ids, offsets, strict=True)
            if (control := self.text_of(i)) and control == text[start:end].strip()
        ]


def encode_with_ranges(tokenizer: TextTokenizer, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids, and for each the characters since the token before it: some tokenizers leave blanks out of their offsets."""
    ids, offsets = tokenizer.encode(text)
    ends = list(accumulate((end for _, end in offsets), max))
    ranges = [(min(start, before), end) for (start, _), before, end in zip(offsets, [0, *ends], ends, strict=False)]
    return ids, ranges


def common_end(ranges: Sequence[tuple[int, int]], rows: Sequence[Sequence[int]]) -> int:
    """How far in the text the tokens reach that all rows begin with; `ranges` are the first row's."""
    num_common = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*rows, strict=False)))
    return ranges[num_common - 1][1] if num_common else 0


def first_difference(text: str, decoded: str) -> tuple[str, str] | None:
    """Where the decoded text first says something else, from both; None where only blanks or letter forms differ.

    Tokenizers may drop or add blanks and fold full-width letters (NFKC); a character that is lost is a difference.
    """
    if text == decoded:
        return None
    said, heard = _folded(text), _folded(decoded)
    if said == heard:
        return None
    at = next((i for i, (a, b) in enumerate(zip(said, heard, strict=False)) if a != b), min(len(said), len(heard)))
    return said[max(0, at - 10) : at + 20], heard[max(0, at - 10) : at + 20]


def _folded(text: str) -> str:
    return _BLANKS.sub("", unicodedata.normalize("NFKC", text))
