"""What is known of a file after it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from postil.data.conversations import Conversation
from postil.data.shapes.columns import Kind, Layout
from postil.problems import Problem

Source = tuple[str, str | None, str]
"""File, sheet, shape of records."""

_PURPOSES = ("question", "answer", "extra_input", "system", "history", "session", "speaker", "content", "time")


@dataclass(frozen=True, slots=True)
class SourceReading:
    """How one file or sheet was understood, by its most frequent shape.

    Args:
        columns: purpose -> header or JSON key.
        header_row: the row of the names; None where there is none or it is not known.
        confidence: 0 to 1; under 0.9 the user is asked to look.
        reason: why it was understood so: "named", "mapped", "by_content", "no_header" or "structure".
        records: how many of its records have a shape that is known.
        unread: columns that are there and not learned, as far as the first record shows.
    """

    file: str
    sheet: str | None
    shape: str
    kind: Kind
    columns: dict[str, str]
    header_row: int | None
    confidence: float
    reason: str
    records: int
    unread: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return {name: getattr(self, name) for name in self.__slots__}


def columns_of(layout: Layout) -> dict[str, str]:
    """Purpose -> field, of those that are read."""
    columns = {purpose: name for purpose in _PURPOSES if (name := getattr(layout, purpose)) is not None}
    lists = {"turns": layout.turns, "tools": layout.tools, "chosen": layout.chosen, "rejected": layout.rejected}
    return columns | {purpose: names[0] for purpose, names in lists.items() if names}


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What a file holds. The ledger always adds up: records_in = kept + fixed + dropped.

    Args:
        file: the file's name.
        kind: what most of its records are; "not_qa" where nothing was understood.
        shape: how its records are laid out, such as "alpaca"; several are joined by " + ", the most frequent first.
        hidden_sheets: not read.
        readings: how each file or sheet was understood.
        conversations: the good rows only, in file order; empty where they were not to be held.
        examples: the first three of them, held always.
        problems: everything found, in file order; problems of the whole file come first.
        records_in: entries of the file: rows of a table, objects of a JSON file, questions of a text.
        kept: records that became conversations as they stood.
        fixed: records that became some after a change.
        dropped: records that did not.
        num_conversations: all that were understood, also those whose answer is marked as a bad one.
        num_trainable: those that can train: of the records that were kept or fixed.
        multi_turn: those with two questions or more.
        turns: questions of all of them.
    """

    file: str
    format: str
    kind: Kind
    shape: str
    encoding: str
    sheets: tuple[str, ...]
    hidden_sheets: tuple[str, ...]
    readings: tuple[SourceReading, ...]
    conversations: tuple[Conversation, ...]
    examples: tuple[Conversation, ...]
    problems: tuple[Problem, ...]
    records_in: int
    kept: int
    fixed: int
    dropped: int
    num_conversations: int
    num_trainable: int
    multi_turn: int
    turns: int

    def __post_init__(self) -> None:
        assert self.records_in == self.kept + self.fixed + self.dropped

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems whose rows cannot train."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems whose rows can."""
        return tuple(p for p in self.problems if p.severity == "warning")

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that every surface shows; conversations as counts only."""
        return {
            "file": self.file,
            "format": self.format,
            "kind": self.kind,
            "shape": self.shape,
            "encoding": self.encoding,
            "sheets": list(self.sheets),
            "hidden_sheets": list(self.hidden_sheets),
            "readings": [reading.as_dict() for reading in self.readings],
            "records_in": self.records_in,
            "kept": self.kept,
            "fixed": self.fixed,
            "dropped": self.dropped,
            "conversations": self.num_conversations,
            "multi_turn": self.multi_turn,
            "turns": self.turns,
            "num_errors": len(self.errors),
            "num_warnings": len(self.warnings),
            "problems": [p.as_dict() for p in self.problems],
        }


def source_readings(
    counts: Mapping[Source, int],
    layouts: Mapping[Source, tuple[Kind, Layout]],
    names: Mapping[Source, Sequence[str]] = MappingProxyType({}),
) -> tuple[SourceReading, ...]:
    """One for each file or sheet, by its most frequent shape.

    Args:
        counts: how many records have the shape, in the order of the file.
        layouts: what the first of these records is.
        names: the fields of that record.
    """
    by_place: dict[tuple[str, str | None], list[Source]] = {}
    for source in counts:
        by_place.setdefault(source[:2], []).append(source)
    readings = []
    for (file, sheet), sources in by_place.items():
        most = max(sources, key=lambda source: counts[source])
        kind, layout = layouts[most]
        columns = columns_of(layout)
        readings.append(
            SourceReading(
                file=file,
                sheet=sheet,
                shape=most[2],
                kind=kind,
                columns=columns,
                header_row=layout.header_row,
                confidence=layout.confidence,
                reason=layout.reason,
                records=sum(counts[source] for source in sources),
                unread=tuple(name for name in names.get(most, ()) if name and name not in columns.values()),
            )
        )
    return tuple(readings)


def in_file_order(file: str, sheet_names: Sequence[str], problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Those about the whole first, then file by file, sheet by sheet and row by row."""
    files: dict[str, int] = {file: -1}
    sheets: dict[str | None, int] = {None: -1, **{sheet: i for i, sheet in enumerate(sheet_names)}}
    for problem in problems:
        files.setdefault(problem.place.file, len(files))
        sheets.setdefault(problem.place.sheet, len(sheets))

    def position(problem: Problem) -> tuple[int, int, int]:
        place = problem.place
        return files[place.file], sheets[place.sheet], place.row

    return tuple(sorted(problems, key=position))
