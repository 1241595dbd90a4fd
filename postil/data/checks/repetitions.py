"""Rows that repeat an earlier one word for word, and questions that are answered in more than one way.

A row is known by three hashes of 64 bits, so that a million rows take 32 megabytes and no text is held.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from postil.data.checks.fixes import drop_row, keep_added_answer, keep_first_answer
from postil.data.conversations import Message, normalize_question
from postil.problems import ADDED, Fix, Passage, Place, Problem

if TYPE_CHECKING:
    import numpy as np

NUM_ROWS_NAMED = 5
_ROW_BITS = 40
MOST_PASSAGES = 8
"""Rows of one question that are shown side by side; where there are fewer, they are all."""
Excerpts = Callable[[Sequence[int]], dict[int, tuple[str, str]]]
"""Beginnings of the question and the answer of the conversations with these numbers; called once, when it is known
which are needed."""


@dataclass(slots=True)
class Fingerprints:
    """What is remembered of every conversation, in their order: hashes and places, 32 bytes each.

    The hashes are Python's own, which differ from process to process: they are compared, never stored.
    """

    _whole: "array[int]" = field(default_factory=lambda: array("q"))
    _questions: "array[int]" = field(default_factory=lambda: array("q"))
    _answers: "array[int]" = field(default_factory=lambda: array("q"))
    _places: "array[int]" = field(default_factory=lambda: array("q"))
    _source_numbers: dict[tuple[str, str | None], int] = field(default_factory=dict)
    _sources: list[tuple[str, str | None]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, messages: Sequence[Message], place: Place) -> None:
        """Remembers one conversation."""
        whole, question, answer = _pair_hashes(messages) if len(messages) == 2 else _hashes(messages)
        self._whole.append(whole)
        self._questions.append(question)
        self._answers.append(answer)
        source = (place.file, place.sheet)
        number = self._source_numbers.get(source)
        if number is None:
            number = self._source_numbers[source] = len(self._sources)
            self._sources.append(source)
        self._places.append(number << _ROW_BITS | place.row)

    def place(self, index: int) -> Place:
        """Where conversation `index` stands."""
        packed = self._places[index]
        file, sheet = self._sources[packed >> _ROW_BITS]
        return Place(file, packed & ((1 << _ROW_BITS) - 1), sheet)

    def duplicates(self) -> list[tuple[int, int]]:
        """(row, the first that says the same), numbers of conversations, in file order."""
        import numpy as np

        found: list[tuple[int, int]] = []
        for group in _groups(np.frombuffer(self._whole, np.int64)):
            found += [(later, group[0]) for later in group[1:]]
        return sorted(found)

    def conflicts(self) -> list[list[list[int]]]:
        """For each question with several answers: for each answer its conversations, in file order."""
        import numpy as np

        found: list[list[list[int]]] = []
        for group in _groups(np.frombuffer(self._questions, np.int64)):
            by_answer: dict[int, list[int]] = {}
            for index in group:
                by_answer.setdefault(self._answers[index], []).append(index)
            if len(by_answer) > 1:
                found.append(list(by_answer.values()))
        return sorted(found)

    def is_same_question(self, one: int, other: int) -> bool:
        """True where both ask the same, case and final punctuation set aside."""
        return self._questions[one] == self._questions[other]


def _pair_hashes(messages: Sequence[Message]) -> tuple[int, int, int]:
    """Of a question and its answer: the same as `_hashes`, sooner."""
    asked, answered = messages[0].content.strip(), messages[1].content.strip()
    return hash((asked, answered)), hash(("", normalize_question(asked))), hash(answered)


def _hashes(messages: Sequence[Message]) -> tuple[int, int, int]:
    """Of everything, of what is asked (under which system message), and of the answers."""
    system = next((m.content for m in messages if m.role == "system"), "")
    asked = "\n".join([m.content for m in messages if m.role == "user"])
    answered = [m.content.strip() for m in messages if m.role == "assistant"]
    whole = [(m.role, m.content.strip(), repr(m.tool_calls) if m.tool_calls else "") for m in messages]
    answers = hash(answered[0]) if len(answered) == 1 else hash(tuple(answered))
    return hash(tuple(whole)), hash((system, normalize_question(asked))), answers


def _groups(hashes: "np.ndarray[Any, Any]") -> Iterator[list[int]]:
    """Positions of equal values, two or more, each group in order."""
    import numpy as np

    if len(hashes) < 2:
        return
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(ordered))
    for start, end in zip(*(side[ends - starts > 1].tolist() for side in (starts, ends)), strict=True):
        yield order[start:end].tolist()


def find_repetitions(
    fingerprints: Fingerprints, excerpts: Excerpts, near: Sequence[tuple[int, int, float]] = ()
) -> Iterator[Problem]:
    """Warnings `duplicate` and `near_duplicate` on each later row, `conflicting_answers` on the first of each question.

    Args:
        near: (row, an earlier one that says nearly the same, their similarity). Pairs that ask the very same question
            are left to the other two warnings.
    """
    duplicates, conflicts = fingerprints.duplicates(), fingerprints.conflicts()
    near = [pair for pair in near if not fingerprints.is_same_question(pair[0], pair[1])]
    later_rows = [later for later, _ in duplicates] + [later for later, _, _ in near]
    compared = [index for by_answer in conflicts for index in _side_by_side(by_answer)]
    said = excerpts([*later_rows, *compared])
    asked = {index: question for index, (question, _) in said.items()}
    for later, first in duplicates:
        place = fingerprints.place(later)
        values: dict[str, Any] = {"first": row_beside(fingerprints.place(first), place)}
        yield Problem("duplicate", "warning", place, excerpt=asked.get(later, ""), values=values, fix=drop_row(place))
    for later, first, similarity in near:
        place = fingerprints.place(later)
        values = {"first": row_beside(fingerprints.place(first), place), "percent": int(similarity * 100)}
        fix = drop_row(place, automatic=False)
        yield Problem("near_duplicate", "warning", place, excerpt=asked.get(later, ""), values=values, fix=fix)
    for by_answer in conflicts:
        answers = {index: said.get(index, ("", ""))[1] for index in _side_by_side(by_answer)}
        yield _conflict(fingerprints, by_answer, asked.get(by_answer[0][0], ""), answers)


def _side_by_side(by_answer: list[list[int]]) -> list[int]:
    """The rows of one question in file order; of many the first of each answer, the last answers kept in any case."""
    every = sorted(index for indices in by_answer for index in indices)
    if len(every) <= MOST_PASSAGES:
        return every
    firsts = [indices[0] for indices in by_answer]
    return firsts if len(firsts) <= MOST_PASSAGES else [firsts[0], *firsts[1 - MOST_PASSAGES :]]


def _conflict(
    fingerprints: Fingerprints, by_answer: list[list[int]], excerpt: str, answers: Mapping[int, str]
) -> Problem:
    places = [fingerprints.place(indices[0]) for indices in by_answer]
    more = " ..." if len(places) > NUM_ROWS_NAMED else ""
    rows = ", ".join(row_beside(place, places[0]) for place in places[:NUM_ROWS_NAMED]) + more
    values = {"answers": len(places), "rows": rows}
    fix = _one_answer(fingerprints, by_answer)
    passages = tuple(Passage(fingerprints.place(index), answer) for index, answer in answers.items())
    return Problem(
        "conflicting_answers", "warning", places[0], excerpt=excerpt, values=values, fix=fix, passages=passages
    )


def _one_answer(fingerprints: Fingerprints, by_answer: list[list[int]]) -> Fix:
    """Keeps the first answer; where one was added by hand, that one: somebody has corrected what the file says."""
    added = [index for indices in by_answer for index in indices if fingerprints.place(index).file == ADDED]
    kept = max(added, default=by_answer[0][0])
    others = [fingerprints.place(index) for indices in by_answer if kept not in indices for index in indices]
    return keep_added_answer(*others) if added else keep_first_answer(*others)


def row_beside(place: Place, beside: Place) -> str:
    """The row, with its file or sheet where that is another than the one `beside` stands in."""
    if place.file != beside.file:
        return str(place)
    return str(place.row) if place.sheet == beside.sheet else f"{place.sheet}:{place.row}"
