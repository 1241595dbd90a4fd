"""What the checks find in a file while its conversations go by, and what only its end shows."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from postil.data.checks import fixes
from postil.data.checks.personal_data import PersonalData
from postil.data.checks.repetitions import Excerpts, Fingerprints, find_repetitions
from postil.data.checks.text_checks import Remark, check_texts, has_personal_sign, is_too_short
from postil.data.conversations import Message
from postil.data.shapes.columns import Kind
from postil.data.shapes.drafts import Origin
from postil.data.shapes.record import Reading
from postil.problems import Fix, Place, Problem

if TYPE_CHECKING:
    from postil.data.checks.near_duplicates import NearDuplicates

MAX_SHARE_OF_SHORT_ANSWERS = 0.1
"""Where more answers than this are a single character, that is how the file answers."""
_NUM_VALUES_NAMED = 3


@dataclass(slots=True)
class Findings:
    """Collects over the conversations of a file, which are numbered as they are added.

    Records with errors are numbered from -1 down.

    Args:
        near: looks for rows that are nearly the same; None leaves that out.
    """

    near: "NearDuplicates | None" = None
    fingerprints: Fingerprints = field(default_factory=Fingerprints)
    _personal: PersonalData = field(default_factory=PersonalData)
    _with_blanks: "array[int]" = field(default_factory=lambda: array("q"))
    _short: list[tuple[int, str]] = field(default_factory=list)
    _num_judged: int = 0
    _faulty: list[Place] = field(default_factory=list)

    def check(self, reading: Reading, place: Place, from_table: bool) -> list[Problem]:
        """Warnings about the texts of one record. Call before its conversations are added.

        Those of a record with errors are looked at as well: once these are mended, nothing new is wrong with it.
        """
        messages, origins, index = reading.messages, reading.origins, len(self.fingerprints)
        if reading.readable:
            messages, origins = tuple(m for m, _ in reading.readable), tuple(o for _, o in reading.readable)
        if not reading.messages:
            index = ~len(self._faulty)
            self._faulty.append(place)
        text = " ".join([m.content for m in messages])
        if has_personal_sign(text):
            for message in messages:
                self._personal.add(message.content, index)
        self._look_at_answers(messages, reading.kind, index)
        remarks = check_texts(messages, text, reading.kind, from_table)
        return [_problem(remark, origins, place) for remark in remarks] if remarks else []

    def add(self, messages: Sequence[Message], place: Place) -> None:
        """Remembers a conversation that trains, to compare others with it."""
        self.fingerprints.add(messages, place)
        if self.near is not None:
            self.near.add(messages)

    def finish(self, file: str, excerpts: Excerpts) -> Iterator[Problem]:
        """Everything that is known at the end of the file."""
        num_compared = len(self.fingerprints) if self.near is None else self.near.num_rows
        pairs = self.near.pairs() if self.near is not None else []
        self.near = None  # what it remembers is large, and the rest needs room
        yield from find_repetitions(self.fingerprints, excerpts, pairs)
        place_of = self._place
        for row in self._personal.rows():
            place = place_of(row.index)
            found = ", ".join(row.found[:_NUM_VALUES_NAMED]) + (" ..." if len(row.found) > _NUM_VALUES_NAMED else "")
            fix = fixes.mask_personal_data(place, row.keep)
            yield Problem("personal_data", "warning", place, excerpt=found, values={"found": found}, fix=fix)
        if len(self._short) <= MAX_SHARE_OF_SHORT_ANSWERS * self._num_judged:
            for index, answer in self._short:
                values = {"found": answer}
                yield Problem("answer_too_short", "warning", place_of(index), excerpt=answer, values=values)
        if len(self._with_blanks):
            places = tuple(place_of(index) for index in self._with_blanks)
            yield Problem("outer_blanks", "warning", Place(file), values={"rows": len(places)}, fix=Fix("trim", places))
        if num_compared < len(self.fingerprints):
            yield Problem("near_duplicates_unchecked", "warning", Place(file), values={"rows": num_compared})

    def _place(self, index: int) -> Place:
        return self.fingerprints.place(index) if index >= 0 else self._faulty[~index]

    def _look_at_answers(self, messages: Sequence[Message], kind: Kind, index: int) -> None:
        is_label = kind == "classification"
        has_blanks = False
        for message in messages:
            if message.role == "assistant" and (text := message.content):
                if text[0].isspace() or text[-1].isspace():
                    has_blanks = True
                if len(text) < 13 and not is_label and is_too_short(text):
                    self._short.append((index, text.strip()))
        if has_blanks:
            self._with_blanks.append(index)
        self._num_judged += not is_label


def _problem(remark: Remark, origins: Sequence[Origin], place: Place) -> Problem:
    origin = origins[remark.index] if remark.index < len(origins) else Origin()
    place = origin.place or place
    return Problem(
        remark.code,
        "warning",
        place,
        column=origin.column,
        json_path=origin.json_path,
        excerpt=remark.excerpt,
        values={"found": remark.found},
        fix=_fix(remark.code, place),
    )


def _fix(code: str, place: Place) -> Fix | None:
    match code:
        case "control_characters":
            return fixes.strip_control_characters(place)
        case "mojibake":
            return fixes.decode_mojibake(place)
        case "html":
            return fixes.strip_html(place)
        case "control_tokens":
            return fixes.break_control_tokens(place)
        case "refusal" | "answer_equals_question":
            return fixes.drop_row(place, automatic=False)
        case _:
            return None
