"""From records to conversations that can train, with every problem located and every record counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from postil.data.checks.findings import Findings
from postil.data.checks.fixes import drop_row
from postil.data.checks.overlay import Overlay
from postil.data.conversations import Conversation, Message
from postil.data.records import Records
from postil.data.reports import Source, ValidationReport, in_file_order, source_readings
from postil.data.shapes.columns import Kind, Layout
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Reading, Record
from postil.problems import Place, Problem

__all__ = ["ValidationReport", "validate_dataset"]

FEW_ROWS = 100
NUM_EXAMPLES = 3
MOST_ANSWER_CHARS = 200
"""Of answers that are shown side by side."""
_MAX_LABELS = 10_000
_NUM_SHAPES_NAMED = 6


@dataclass(slots=True)
class _Ledger:
    """What is counted while a file is read.

    Args:
        keep: conversations are held, not only counted.
        foreign: errors about whole sheets or members; only warnings where others gave conversations.
    """

    findings: Findings
    keep: bool
    conversations: list[Conversation] = field(default_factory=list)
    examples: list[Conversation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    foreign: list[Problem] = field(default_factory=list)
    sources: dict[Source, int] = field(default_factory=dict)
    layouts: dict[Source, tuple[Kind, Layout]] = field(default_factory=dict)
    fields: dict[Source, tuple[str, ...]] = field(default_factory=dict)
    kinds: Counter[Kind] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    last_unread: Place | None = None
    records_in: int = 0
    kept: int = 0
    fixed: int = 0
    dropped: int = 0
    num_conversations: int = 0
    num_trainable: int = 0
    multi_turn: int = 0
    turns: int = 0
    rejected: int = 0
    preferred: int = 0


def validate_dataset(
    records: Records,
    system: str | None = None,
    *,
    overlay: Overlay | None = None,
    single_turn: bool = False,
    keep: bool = True,
    near: bool = False,
) -> ValidationReport:
    """Reads every record of a file and judges it.

    Nothing is raised for what a file says: a file that cannot be used has errors in its report and no conversations.

    Args:
        records: from `read_records`.
        system: a system message for conversations that have none.
        overlay: changes to the records, such as `postil fix` makes; rows that it leaves out count as dropped.
        single_turn: every question of a chat becomes a conversation of its own, with its answer.
        keep: holds the conversations. Without it the memory does not grow with the file, which is read again as far
            as problems need an excerpt.
        near: also looks for rows that are nearly the same, among the first 200,000.

    Raises:
        DataError: the file stopped being readable while it was read.
    """
    ledger = _Ledger(_new_findings(near), keep)
    records = overlay.laid_over(records) if overlay else records
    for item in records:
        if isinstance(item, Problem):
            _take_problem(item, overlay, ledger)
        else:
            _take_record(item, system, overlay, single_turn, ledger)
    file = records.name

    def excerpts(indices: Sequence[int]) -> dict[int, tuple[str, str]]:
        if keep:
            return {index: _beginnings(ledger.conversations[index].messages) for index in indices}
        return _excerpts_again(records, overlay, indices, ledger.findings)

    ledger.problems += ledger.findings.finish(file, excerpts)
    ledger.problems += _remarks_on_file(file, ledger)
    return _report(records, ledger)


def _new_findings(near: bool) -> Findings:
    if not near:
        return Findings()
    from postil.data.checks import near_duplicates

    return Findings(near_duplicates.NearDuplicates(near_duplicates.MAX_ROWS))


def _take_problem(problem: Problem, overlay: Overlay | None, ledger: _Ledger) -> None:
    """Counts what could not become a record: the errors of a place stand for one, those of a sheet for all its rows."""
    if problem.severity != "error":
        if overlay is None or not problem.place.row or not overlay.settles(problem):
            ledger.problems.append(problem)
        return
    rows = problem.values.get("rows")
    is_foreign = not problem.place.row and isinstance(rows, int)
    num_records = rows if is_foreign and isinstance(rows, int) else 1
    if not is_foreign and problem.place == ledger.last_unread:  # another fault of the same record
        num_records = 0
    ledger.last_unread = problem.place
    ledger.records_in += num_records
    ledger.dropped += num_records
    if is_foreign:
        ledger.foreign.append(problem)
    elif overlay is None or not overlay.drops(problem.place):
        ledger.problems.append(_with_fix(problem))


def _with_fix(problem: Problem) -> Problem:
    """An error that nothing else mends is mended by leaving the row out."""
    if problem.severity == "error" and problem.fix is None and problem.place.row:
        return replace(problem, fix=drop_row(problem.place))
    return problem


def _take_record(
    original: Record, system: str | None, overlay: Overlay | None, single_turn: bool, ledger: _Ledger
) -> None:
    ledger.records_in += original.num_rows
    record = original if overlay is None else overlay.apply(original)
    if record is None:
        ledger.dropped += original.num_rows
        return
    reading = read_messages(record)
    _note_shape(record, reading, ledger)
    if _has_errors(reading, ledger):
        ledger.dropped += original.num_rows
        if reading.readable:
            ledger.problems += ledger.findings.check(reading, record.place, record.layout is not None)
        return
    _count(reading, single_turn, ledger)
    if reading.is_rejected:
        ledger.dropped += original.num_rows
        ledger.rejected += 1
        place, excerpt = record.place, reading.messages[-1].content[:80]
        ledger.problems.append(Problem("rejected_answer", "error", place, excerpt=excerpt, fix=drop_row(place)))
        return
    ledger.preferred += reading.kind == "preference"
    if record is original and not record.repairs:
        ledger.kept += original.num_rows
    else:
        ledger.fixed += original.num_rows
    ledger.problems += ledger.findings.check(reading, record.place, record.layout is not None)
    _add_conversations(record.place, reading, system, single_turn, ledger)


def _has_errors(reading: Reading, ledger: _Ledger) -> bool:
    if not reading.problems:
        return not reading.messages
    ledger.problems += map(_with_fix, reading.problems)
    return not reading.messages or any(p.severity == "error" for p in reading.problems)


def _note_shape(record: Record, reading: Reading, ledger: _Ledger) -> None:
    if not reading.shape:
        return
    place = record.place
    source = (place.file, place.sheet, reading.shape)
    ledger.kinds[reading.kind] += 1
    ledger.sources[source] = ledger.sources.get(source, 0) + 1
    if source not in ledger.layouts:
        ledger.layouts[source] = (reading.kind, reading.layout)
        ledger.fields[source] = tuple(map(str, record.fields))
        ledger.problems += _ignored_columns(record, reading.layout, ledger)


def _ignored_columns(record: Record, layout: Layout, ledger: _Ledger) -> Iterator[Problem]:
    """Once per sheet: another field could be the question or the answer as well, and is not read."""
    if any(isinstance(record.fields.get(name), list) for name in layout.turns):
        return
    place = Place(record.place.file, 0, record.place.sheet)
    for used, ignored in layout.ignored_pairs:
        problem = Problem("ignored_column", "warning", place, column=ignored, values={"used": used, "ignored": ignored})
        if problem not in ledger.problems:
            yield problem


def _count(reading: Reading, single_turn: bool, ledger: _Ledger) -> None:
    turns = 1
    if len(reading.messages) > 2:
        turns = sum(m.role == "user" for m in reading.messages)
    if turns > 1 and single_turn:
        turns = len(split_turns(reading.messages))
        ledger.num_conversations += turns
    else:
        ledger.num_conversations += 1
        ledger.multi_turn += turns > 1
    ledger.turns += turns
    if reading.kind == "classification" and len(ledger.labels) < _MAX_LABELS:
        ledger.labels.add(reading.messages[-1].content)


def _add_conversations(place: Place, reading: Reading, system: str | None, single_turn: bool, ledger: _Ledger) -> None:
    parts: Sequence[tuple[Message, ...]] = (reading.messages,)
    if single_turn:
        parts = split_turns(reading.messages)
    ledger.num_trainable += len(parts)
    for messages in parts:
        ledger.findings.add(messages, place)
        if ledger.keep or len(ledger.examples) < NUM_EXAMPLES:
            if system and messages[0].role != "system":
                messages = (Message("system", system), *messages)
            conversation = Conversation(messages, place, reading.tools)
            if len(ledger.examples) < NUM_EXAMPLES:
                ledger.examples.append(conversation)
            if ledger.keep:
                ledger.conversations.append(conversation)


def split_turns(messages: Sequence[Message]) -> list[tuple[Message, ...]]:
    """Each question of a chat with its answer, after the chat's system message; answers of weight 0 are left out.

    A chat with tools stays whole: what a tool answers belongs to the question before.
    """
    if any(m.role == "tool" or m.tool_calls for m in messages):
        return [tuple(messages)]
    before = tuple(messages[:1]) if messages[0].role == "system" else ()
    turns = messages[len(before) :]
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return [(*before, question, answer) for question, answer in pairs if answer.weight]


def _excerpts_again(
    records: Records, overlay: Overlay | None, indices: Sequence[int], findings: Findings
) -> dict[int, tuple[str, str]]:
    """The beginnings of questions and answers, read from the file once more."""
    wanted: dict[Place, list[int]] = {}
    for index in indices:
        wanted.setdefault(findings.fingerprints.place(index), []).append(index)
    found: dict[int, tuple[str, str]] = {}
    if not wanted:
        return found
    for item in records:
        if isinstance(item, Record) and (numbers := wanted.pop(item.place, None)):
            record = item if overlay is None else overlay.apply(item)
            messages = read_messages(record).messages if record else ()
            found.update(dict.fromkeys(numbers, _beginnings(messages)))
            if not wanted:
                break
    return found


def _beginnings(messages: Sequence[Message]) -> tuple[str, str]:
    """Of the first question, and of the first answer."""
    asked = next((m.content for m in messages if m.role == "user"), "")
    answered = next((m.content for m in messages if m.role == "assistant"), "")
    return asked[:80], answered[:MOST_ANSWER_CHARS]


def _remarks_on_file(file: str, ledger: _Ledger) -> Iterator[Problem]:
    place = Place(file)
    for problem in ledger.foreign:
        yield replace(problem, severity="warning") if ledger.num_conversations else problem
    if ledger.kinds["preference"]:
        counts = {"conversations": ledger.preferred, "rejected": ledger.rejected}
        yield Problem("preference_data", "warning", place, values=counts)
    if num := ledger.kinds["tool_calls"]:
        yield Problem("tool_calls", "warning", place, values={"conversations": num})
    if ledger.kinds["classification"]:
        layout = next(layout for kind, layout in ledger.layouts.values() if kind == "classification")
        values = {"question": layout.question, "answer": layout.answer, "labels": len(ledger.labels)}
        yield Problem("classification", "warning", place, column=layout.answer, values=values)
    kept = ledger.kept + ledger.fixed
    if ledger.records_in == 0 and not any(p.severity == "error" for p in ledger.problems):
        yield Problem("no_rows", "error", place)
    elif 0 < kept < FEW_ROWS:
        yield Problem("too_few_rows", "warning", place, values={"rows": kept, "enough": FEW_ROWS})


def _report(records: Records, ledger: _Ledger) -> ValidationReport:
    shapes: Counter[str] = Counter()
    for (_, _, shape), count in ledger.sources.items():
        shapes[shape] += count
    named = [shape for shape, _ in shapes.most_common(_NUM_SHAPES_NAMED)]
    return ValidationReport(
        file=records.name,
        format=records.format,
        kind=ledger.kinds.most_common(1)[0][0] if ledger.kinds else "not_qa",
        shape=" + ".join(named) + (" ..." if len(shapes) > len(named) else ""),
        encoding=records.encoding.removesuffix("-sig"),
        sheets=records.sheets,
        hidden_sheets=records.hidden_sheets,
        readings=source_readings(ledger.sources, ledger.layouts, ledger.fields),
        conversations=tuple(ledger.conversations),
        examples=tuple(ledger.examples),
        problems=in_file_order(records.name, records.sheets, ledger.problems),
        records_in=ledger.records_in,
        kept=ledger.kept,
        fixed=ledger.fixed,
        dropped=ledger.dropped,
        num_conversations=ledger.num_conversations,
        num_trainable=ledger.num_trainable,
        multi_turn=ledger.multi_turn,
        turns=ledger.turns,
    )
