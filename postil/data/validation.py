"""From records to conversations that can train, with every problem located and every record counted."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from postil.data.shapes.columns import find_layout, list_names
from postil.data.conversations import Conversation, Message, normalize_question
from postil.data.shapes.formats import read_messages
from postil.data.records import Record, Records
from postil.problems import Place, Problem, Severity

FEW_ROWS = 100
_PLACEHOLDER = re.compile(r"\{\{\s*[^\W\d][\w.\- ]{0,40}\}\}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What a file holds. The ledger always adds up: records_in = kept + fixed + dropped.

    Args:
        file: the file's name.
        shape: how its records are laid out, such as "alpaca"; several are joined by " + ", the most frequent first.
        conversations: the good rows only, in file order.
        problems: everything found, in file order; problems of the whole file come first.
        kept: records that became a conversation as they stood.
        fixed: records that became one after a change.
        dropped: records that did not.
    """

    file: str
    format: str
    shape: str
    encoding: str
    sheets: tuple[str, ...]
    conversations: tuple[Conversation, ...]
    problems: tuple[Problem, ...]
    records_in: int
    kept: int
    fixed: int
    dropped: int

    def __post_init__(self) -> None:
        assert self.records_in == self.kept + self.fixed + self.dropped
        assert len(self.conversations) == self.kept + self.fixed

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
            "shape": self.shape,
            "encoding": self.encoding,
            "sheets": list(self.sheets),
            "records_in": self.records_in,
            "kept": self.kept,
            "fixed": self.fixed,
            "dropped": self.dropped,
            "num_conversations": len(self.conversations),
            "num_turns": sum(c.num_turns for c in self.conversations),
            "num_errors": len(self.errors),
            "num_warnings": len(self.warnings),
            "problems": [p.as_dict() for p in self.problems],
        }


@dataclass(slots=True)
class _Ledger:
    """What has been counted while a file is read. `foreign` are sheets without questions and answers."""

    conversations: list[Conversation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    shapes: Counter[str] = field(default_factory=Counter)
    records_in: int = 0
    foreign: Counter[str | None] = field(default_factory=Counter)
    foreign_columns: dict[str | None, tuple[str, ...]] = field(default_factory=dict)
    seen_layouts: set[tuple[str, ...]] = field(default_factory=set)


def validate_dataset(records: Records, system: str | None = None) -> ValidationReport:
    """Reads every record of a file and judges it.

    Nothing is raised for what a file says: a file that cannot be used has errors in its report and no conversations.

    Args:
        records: from `read_records`.
        system: a system message for conversations that have none.

    Raises:
        DataError: the file stopped being readable while it was read.
    """
    ledger = _Ledger()
    for item in records:
        if isinstance(item, Problem):
            ledger.problems.append(item)
            ledger.records_in += item.severity == "error"
            continue
        ledger.records_in += 1
        _warn_of_ignored_columns(item, ledger)
        if records.is_table and not _has_pair_columns(item):
            ledger.foreign[item.place.sheet] += 1
            ledger.foreign_columns.setdefault(item.place.sheet, tuple(item.fields))
        else:
            _read_conversation(item, system, ledger)
    file = records.path.name
    ledger.problems += _foreign_sheets(file, ledger)
    ledger.problems += _repetitions(ledger.conversations)
    ledger.problems += _too_few(file, ledger)
    return _report(records, ledger)


def _report(records: Records, ledger: _Ledger) -> ValidationReport:
    order = {sheet: i for i, sheet in enumerate((None, *records.sheets))}
    kept = len(ledger.conversations)
    return ValidationReport(
        file=records.path.name,
        format=records.format,
        shape=" + ".join(shape for shape, _ in ledger.shapes.most_common() if shape),
        encoding=records.encoding.removesuffix("-sig"),
        sheets=records.sheets,
        conversations=tuple(ledger.conversations),
        problems=tuple(sorted(ledger.problems, key=lambda p: (order.get(p.place.sheet, -1), p.place.row))),
        records_in=ledger.records_in,
        kept=kept,
        fixed=0,
        dropped=ledger.records_in - kept,
    )


def _has_pair_columns(record: Record) -> bool:
    layout = find_layout(tuple(record.fields))
    return layout.is_pair or bool(layout.turns or layout.rejected or layout.chosen)


def _read_conversation(record: Record, system: str | None, ledger: _Ledger) -> None:
    reading = read_messages(record)
    ledger.shapes[reading.shape] += 1
    ledger.problems += reading.problems
    if any(p.severity == "error" for p in reading.problems):
        return
    messages = reading.messages
    if system and messages[0].role != "system":
        messages = (Message("system", system), *messages)
    ledger.problems += _remarks(messages, record.place)
    ledger.conversations.append(Conversation(messages, record.place))


def _remarks(messages: Sequence[Message], place: Place) -> Iterator[Problem]:
    """Warnings about the text of one conversation, one of each kind."""
    for code, pattern in (("placeholder", _PLACEHOLDER), ("control_characters", _CONTROL)):
        for message in messages:
            if found := pattern.search(message.content):
                excerpt = message.content[max(found.start() - 20, 0) : found.end() + 20]
                yield Problem(code, "warning", place, excerpt=excerpt, values={"found": repr(found[0]).strip("'")})
                break


def _warn_of_ignored_columns(record: Record, ledger: _Ledger) -> None:
    """Once per layout: another field could be the question or the answer as well, and is not read."""
    names = tuple(record.fields)
    if names in ledger.seen_layouts:
        return
    ledger.seen_layouts.add(names)
    layout = find_layout(names)
    if any(isinstance(record.fields[name], list) for name in layout.turns):
        return
    place = Place(record.place.file, 0, record.place.sheet)
    for used, ignored in layout.ignored_pairs:
        values = {"used": used, "ignored": ignored}
        ledger.problems.append(Problem("ignored_column", "warning", place, column=ignored, values=values))


def _foreign_sheets(file: str, ledger: _Ledger) -> Iterator[Problem]:
    """One problem per sheet without the two columns: an error, unless another sheet of the workbook has them."""
    severity: Severity = "warning" if ledger.shapes else "error"
    for sheet, rows in ledger.foreign.items():
        columns = ledger.foreign_columns[sheet]
        layout = find_layout(columns)
        code = "no_pair_columns"
        if layout.answer is not None:
            code = "no_question_column"
        elif layout.question is not None:
            code = "no_answer_column"
        shown = list_names(columns)
        yield Problem(code, severity, Place(file, 0, sheet), excerpt=shown, values={"columns": shown, "rows": rows})


def _repetitions(conversations: Sequence[Conversation]) -> Iterator[Problem]:
    """Rows that repeat an earlier one word for word, and questions that are answered in more than one way."""
    firsts: dict[tuple[tuple[str, str], ...], Place] = {}
    answers: dict[tuple[str, str], dict[str, Place]] = {}
    for conversation in conversations:
        place = conversation.place
        first = firsts.setdefault(tuple((m.role, m.content) for m in conversation.messages), place)
        if first is not place:
            excerpt = conversation.question[:80]
            yield Problem("duplicate", "warning", place, excerpt=excerpt, values={"first": _row(first, place)})
        system = conversation.messages[0].content if conversation.messages[0].role == "system" else ""
        answer = "\n".join(m.content.strip() for m in conversation.messages if m.role == "assistant")
        answers.setdefault((system, normalize_question(conversation.question)), {}).setdefault(answer, place)
    for (_, question), by_answer in answers.items():
        if len(by_answer) > 1:
            places = list(by_answer.values())
            rows = ", ".join(_row(p, places[0]) for p in places[:5]) + (" ..." if len(places) > 5 else "")
            values = {"answers": len(places), "rows": rows}
            yield Problem("conflicting_answers", "warning", places[0], excerpt=question[:80], values=values)


def _row(place: Place, beside: Place) -> str:
    """The row, with its sheet where that is another than the one `beside` stands in."""
    return str(place.row) if place.sheet == beside.sheet else f"{place.sheet}:{place.row}"


def _too_few(file: str, ledger: _Ledger) -> Iterator[Problem]:
    kept = len(ledger.conversations)
    if ledger.records_in == 0:
        yield Problem("no_rows", "error", Place(file))
    elif 0 < kept < FEW_ROWS:
        yield Problem("too_few_rows", "warning", Place(file), values={"rows": kept, "enough": FEW_ROWS})
