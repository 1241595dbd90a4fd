"""Rows that say nearly the same: MinHash over runs of three characters, sorted neighbours, Jaccard similarity.

Every text is a set of hashed three-character runs of its letters and digits, case and width set aside. Of each set the
smallest value under 128 orders of the hashes is kept: two rows agree in a share of these that is about the Jaccard
similarity of their sets. Rows are sorted by these values, begun at eight different ones, so that rows that are alike
come to stand side by side; neighbours are then compared by their sets themselves (all runs up to 256 of an answer and
96 of a question, by samples of these sizes beyond).
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from postil.data.checks.letter_runs import Array, letter_runs, mixed
from postil.data.conversations import Message

MAX_ROWS = 200_000
SAME = 0.9
"""Jaccard similarity of two rows, their questions and answers together, from which they are nearly the same."""
PART_SAME = 0.6
"""What their questions, and their answers, must each have in common: a reworded question is useful."""

_NUM_ORDERS = 128
_NUM_STARTS = 8
_WINDOW = 3
_MIN_AGREEMENT = 0.835  # of the 128 values; two and a half standard deviations below SAME
_BATCH_CHARS = 1 << 16
_PAIRS_AT_ONCE = 1 << 12
_MIX = np.random.default_rng(20).integers(1, 1 << 32, (2, _NUM_ORDERS), np.uint32, endpoint=False) | 1


@dataclass(slots=True)
class NearDuplicates:
    """What is remembered of each row to find those that are alike: at most 850 bytes, fewer for short texts.

    Args:
        max_rows: later rows are not looked at.
    """

    max_rows: int = MAX_ROWS
    num_rows: int = 0
    _waiting: list[tuple[str, str]] = field(default_factory=list)
    _waiting_chars: int = 0
    # Arrays grow in place; a list of pieces would have to be copied into one.
    _signatures: "array[int]" = field(default_factory=lambda: array("B"))
    _samples: "array[int]" = field(default_factory=lambda: array("H"))
    _shifts: "array[int]" = field(default_factory=lambda: array("B"))
    _sizes: "array[int]" = field(default_factory=lambda: array("I"))
    _kept: "array[int]" = field(default_factory=lambda: array("I"))

    def add(self, messages: Sequence[Message]) -> None:
        """Remembers the next row; its system message does not count."""
        if self.num_rows == self.max_rows:
            return
        self.num_rows += 1
        question = "\n".join([m.content for m in messages if m.role == "user"])
        answer = "\n".join([m.content for m in messages if m.role not in ("user", "system")])
        self._waiting.append((question, answer))
        self._waiting_chars += len(question) + len(answer)
        if self._waiting_chars >= _BATCH_CHARS:
            self._take_in()

    def pairs(self) -> list[tuple[int, int, float]]:
        """(row, the earliest row that it is nearly the same as, their similarity), numbered as added, in order."""
        self._take_in()
        if self.num_rows < 2:
            return []
        signatures = np.frombuffer(self._signatures, np.uint8).reshape(-1, _NUM_ORDERS)
        kept = np.frombuffer(self._kept, np.uint32).astype(np.int64).reshape(-1, 2)
        starts = (np.cumsum(kept.ravel(), dtype=np.int64) - kept.ravel()).reshape(-1, 2)
        sizes = np.frombuffer(self._sizes, np.uint32).reshape(-1, 2)
        shifts = np.frombuffer(self._shifts, np.uint8).reshape(-1, 2)
        sets = _Sets(np.frombuffer(self._samples, np.uint16), starts, kept, sizes, shifts)
        first: dict[int, tuple[int, float]] = {}
        candidates = _neighbours(signatures)
        for start in range(0, len(candidates), _PAIRS_AT_ONCE):
            chunk = candidates[start : start + _PAIRS_AT_ONCE]
            alike = _similarities(sets, chunk)
            for (one, other), similarity in zip(chunk[alike > 0].tolist(), alike[alike > 0].tolist(), strict=True):
                if other not in first or one < first[other][0]:
                    first[other] = (one, similarity)
        return sorted((row, earlier, similarity) for row, (earlier, similarity) in first.items())

    def _take_in(self) -> None:
        """Hashes of the waiting texts: two sets for each row, of its question and of its answer."""
        if not self._waiting:
            return
        texts = [text for pair in self._waiting for text in pair]
        owners, hashes = letter_runs(texts)
        signatures = _minima(owners // 2, hashes ^ _PART[owners & 1], len(self._waiting))
        sizes = np.bincount(owners, minlength=len(texts))
        rank = np.arange(len(owners)) - (np.cumsum(sizes) - sizes)[owners]
        kept = np.minimum(sizes, np.tile(_SAMPLE_SIZES, len(self._waiting)))
        shifts, samples = _shortened(hashes[rank < _SAMPLE_SIZES[owners & 1]], kept)
        self._signatures.frombytes(signatures.tobytes())
        self._samples.frombytes(samples.tobytes())
        self._shifts.frombytes(shifts.tobytes())
        self._sizes.frombytes(sizes.astype(np.uint32).tobytes())
        self._kept.frombytes(kept.astype(np.uint32).tobytes())
        self._waiting, self._waiting_chars = [], 0


_PART = np.array((0, 0x9E3779B9), np.uint32)  # the same run is another one in an answer than in a question
_SAMPLE_SIZES = np.array((96, 256))  # of a question's runs, of an answer's


@dataclass(frozen=True, slots=True)
class _Sets:
    """The sets of all rows in one array: `samples[starts[row, part]:][:kept[row, part]]`, smallest first.

    A hash of a set is kept as the first sixteen of its bits after as many as `shifts[row, part]` says, which are zeros
    in all of the set.
    """

    samples: Array
    starts: Array
    kept: Array
    sizes: Array
    shifts: Array


def _shortened(hashes: Array, kept: Array) -> tuple[Array, Array]:
    """(shift of each set, sixteen bits of each hash): the smallest of many hashes begin with zeros that say nothing."""
    largest = np.zeros(len(kept), np.uint32)
    ends = np.cumsum(kept)
    largest[kept > 0] = hashes[ends[kept > 0] - 1]
    shifts = np.where(kept < np.resize(_SAMPLE_SIZES, len(kept)), 0, 32 - np.frexp(largest.astype(np.float64))[1])
    moved = hashes << np.repeat(shifts, kept).astype(np.uint32)
    return shifts.astype(np.uint8), (moved >> np.uint32(16)).astype(np.uint16)


def _minima(owners: Array, hashes: Array, num_rows: int) -> Array:
    """(num_rows, 128) of uint8: the smallest value of each row's hashes under each order; zeros for empty rows."""
    signatures = np.zeros((num_rows, _NUM_ORDERS), np.uint8)
    if not len(owners):
        return signatures
    starts = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
    rows = owners[starts]
    for order in range(_NUM_ORDERS):
        values = (hashes ^ _MIX[0, order]) * _MIX[1, order]
        smallest = np.minimum.reduceat(values, starts)
        # The smallest values all begin with zeros: mixed again, their last bytes differ where they do.
        signatures[rows, order] = mixed(smallest).astype(np.uint8)
    return signatures


def _neighbours(signatures: Array) -> Array:
    """(n, 2) pairs of rows, the earlier first, that stand side by side in one of the sortings and may be alike."""
    step = _NUM_ORDERS // _NUM_STARTS
    needed = int(_MIN_AGREEMENT * _NUM_ORDERS)
    found: list[Array] = []
    for start in range(0, _NUM_ORDERS, step):
        # Sixteen bytes compare like one number where the first stands highest.
        keys = np.ascontiguousarray(signatures[:, start : start + step]).view(">u8").astype(np.uint64)
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        for distance in range(1, _WINDOW + 1):
            one, other = order[:-distance], order[distance:]
            near = keys[one, 0] >> np.uint64(40) == keys[other, 0] >> np.uint64(40)
            one, other = one[near], other[near]
            agreeing = _agreements(signatures, one, other)
            pairs = np.stack((one, other), axis=1)[agreeing >= needed]
            pairs.sort(axis=1)
            found.append(pairs)
    return np.unique(np.concatenate(found), axis=0)


def _agreements(signatures: Array, one: Array, other: Array) -> Array:
    counts = np.empty(len(one), np.uint8)
    for start in range(0, len(one), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        counts[part] = (signatures[one[part]] == signatures[other[part]]).sum(axis=1, dtype=np.uint8)
    return counts


def _similarities(sets: _Sets, pairs: Array) -> Array:
    """Jaccard similarity of each pair, 0 where its questions or its answers are not alike enough."""
    parts = [_part_similarity(sets, pairs, part) for part in (0, 1)]
    both = sets.sizes[pairs].astype(np.float64).sum(axis=1)  # (n, 2): runs of both rows, by part
    shared = [both[:, i] * parts[i] / (1 + parts[i]) for i in (0, 1)]
    total = shared[0] + shared[1]
    whole = total / np.maximum(both.sum(axis=1) - total, 1)
    return np.where((whole >= SAME) & (parts[0] >= PART_SAME) & (parts[1] >= PART_SAME), whole, 0.0)


def _part_similarity(sets: _Sets, pairs: Array, part: int) -> Array:
    """Jaccard similarity of the questions (0) or the answers (1) of each pair; of two empty ones 1."""
    # Both in as few bits as the one of which more were kept.
    surplus = sets.shifts[pairs, part] - sets.shifts[pairs, part].min(axis=1, keepdims=True)
    hashes = [_gathered(sets, pairs[:, side], part, surplus[:, side]) for side in (0, 1)]
    # A sample holds all hashes up to its largest: both are compared as far as both are complete.
    limits = np.full(len(pairs), 0xFFFF, np.uint16)
    for (_, values), rows in zip(hashes, pairs.T, strict=True):
        ends = np.cumsum(sets.kept[rows, part])
        is_sample = sets.sizes[rows, part] > sets.kept[rows, part]
        limits[is_sample] = np.minimum(limits[is_sample], values[ends[is_sample] - 1])
    owners = np.concatenate([owner for owner, _ in hashes])
    values = np.concatenate([value for _, value in hashes])
    inside = values <= limits[owners]
    keys = np.sort((owners[inside].astype(np.uint64) << np.uint64(32)) | values[inside])
    twice = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
    shared = np.bincount(twice.astype(np.int64), minlength=len(pairs))
    total = np.bincount(owners[inside], minlength=len(pairs)) - shared
    return np.where(total > 0, shared / np.maximum(total, 1), 1.0)


def _gathered(sets: _Sets, rows: Array, part: int, surplus: Array) -> tuple[Array, Array]:
    """(position in `rows`, hash) of every hash that is kept of them, without its last `surplus` bits."""
    counts = sets.kept[rows, part]
    owners = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    hashes = sets.samples[np.repeat(sets.starts[rows, part], counts) + within]
    return owners, hashes >> np.repeat(surplus, counts).astype(np.uint16)
