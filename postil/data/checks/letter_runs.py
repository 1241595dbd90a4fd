"""The letters of texts, as sets: every run of three of them once, as a number.

Case, width and everything that is no letter or digit are set aside.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_SPREAD = np.array((0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D), np.uint32)


def letter_runs(texts: Sequence[str]) -> tuple[Array, Array]:
    """(text's number, hash) of every three-character run, each once for its text, ordered by both.

    Texts shorter than three letters are one run each, padded.
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    owners = np.repeat(np.arange(len(texts), dtype=np.uint32), [len(text) for text in texts])
    folded = _folding()[np.minimum(codes, 0xFFFF)]
    beyond = codes > 0xFFFF
    if beyond.any():
        folded[beyond] = codes[beyond]
    codes, owners = folded[folded > 0], owners[folded > 0]
    runs = codes[2:] * _SPREAD[0] + codes[1:-1] * _SPREAD[1] + codes[:-2] * _SPREAD[2]
    inside = owners[2:] == owners[:-2]
    short_runs, short_owners = _short_texts(codes, owners)
    keys = np.concatenate((owners[2:][inside], short_owners)).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= mixed(np.concatenate((runs[inside], short_runs)))
    keys.sort()
    keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)]]
    return (keys >> np.uint64(32)).astype(np.int64), keys.astype(np.uint32)


def mixed(runs: Array) -> Array:
    """Every bit of a hash made to depend on every bit of its run."""
    runs = (runs ^ (runs >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    runs = (runs ^ (runs >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    result: Array = runs ^ (runs >> np.uint32(16))
    return result


def _short_texts(codes: Array, owners: Array) -> tuple[Array, Array]:
    """(run, text's number) of each text of one or two letters, which has no three."""
    starts = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1]))[: len(owners)])
    counts = np.diff(np.append(starts, len(owners)))
    starts, counts = starts[counts < 3], counts[counts < 3]
    return codes[starts] * _SPREAD[0] + codes[starts + counts - 1] * _SPREAD[1] + counts.astype(np.uint32), owners[
        starts
    ]


@cache
def _folding() -> Array:
    """For each character of the basic plane its small, narrow form, 0 where it is no letter or digit."""
    table = np.zeros(1 << 16, np.uint32)
    for code in range(1 << 16):
        folded = unicodedata.normalize("NFKC", chr(code)).casefold()[:1]
        if folded.isalnum():
            table[code] = ord(folded)
    return table
