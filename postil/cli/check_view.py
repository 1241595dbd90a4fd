"""What `postil check` tells a person about a file: how it was understood, what is wrong, and what to do next."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from postil.cli.options import spell_options
from postil.cli.screen import MOST_PER_CODE, Screen, harmless, show_problems
from postil.data.files.encodings import text_lines
from postil.data.options import ReadOptions
from postil.data.records import Records
from postil.data.reports import SourceReading, ValidationReport
from postil.data.shapes.columns import list_names
from postil.errors import CannotWriteError, UsageError
from postil.language import has_sentence, say
from postil.problems import Problem

NUM_EXAMPLES = 2
PREVIEW_LINES = 5
PREVIEW_CHARS = 100
MOST_SOURCES = 20
SURE = 0.9
_STDIN_ENDINGS = {
    "jsonl": ".jsonl",
    "json": ".json",
    "csv": ".csv",
    "md": ".md",
    "xlsx": ".xlsx",
    "parquet": ".parquet",
}
LIST_COLUMNS = ("code", "severity", "file", "sheet", "row", "column", "json_path", "message", "hint", "excerpt", "fix")


def show_reading(screen: Screen, records: Records, report: ValidationReport) -> None:
    """What was read: format, encoding, sheets, columns, chats."""
    encoding = report.encoding.removesuffix("-sig")
    screen.say("cli.check.read", "bold", file=report.file, format=report.format)
    if _is_worth_a_look(records):
        screen.say("cli.check.encoding", encoding=encoding)
        for _, line in islice(text_lines(records.path, records.encoding), PREVIEW_LINES):
            screen.line(f"  | {line[:PREVIEW_CHARS]}", "dim")
        screen.say("cli.check.encoding_wrong", "dim")
    if len(records.files) > 1:
        screen.say("cli.check.files", count=len(records.files))
    if records.hidden_sheets:
        screen.say("cli.check.hidden_sheets", "yellow", sheets=", ".join(records.hidden_sheets))
    for source in report.readings[:MOST_SOURCES]:
        _show_source(screen, source)
    if len(report.readings) > MOST_SOURCES:
        screen.say("cli.check.more_sources", "dim", count=len(report.readings) - MOST_SOURCES)
    if report.multi_turn:
        average = report.turns / report.num_conversations
        values = {"chats": report.multi_turn, "conversations": report.num_conversations, "turns": average}
        screen.say("cli.check.chats", **values)


def _is_worth_a_look(records: Records) -> bool:
    """True for a text that is not plainly UTF-8: another encoding would show other characters."""
    is_text = records.format in ("jsonl", "json", "csv", "txt", "md")
    return is_text and records.encoding.removesuffix("-sig") not in ("utf-8", "ascii")


def _show_source(screen: Screen, source: SourceReading) -> None:
    """One file or sheet: its shape, which column is what, and why where that is not plain."""
    name = source.sheet or source.file
    parts = [say("cli.check.source", name=name, kind=say(f"cli.check.kind.{source.kind}"), rows=source.records)]
    if source.header_row:
        parts.append(say("cli.check.header_row", row=source.header_row))
    if source.columns and source.reason != "structure":
        columns = (f"{_purpose(purpose)} = {column}" for purpose, column in source.columns.items())
        parts.append(say("cli.check.comma").join(columns))
    if source.unread:
        parts.append(say("cli.check.unread", columns=list_names(source.unread)))
    screen.line(say("cli.check.joint").join(parts))
    if source.confidence < SURE:
        is_told = source.reason == "structure" or "speaker" in source.columns  # no question or answer to map
        key = "cli.check.look_at_text" if is_told else "cli.check.look"
        screen.say(key, "yellow", reason=say(f"cli.check.reason.{source.reason}"), share=source.confidence)


def _purpose(purpose: str) -> str:
    key = f"cli.check.column.{purpose}"
    return say(key) if has_sentence(key) else purpose


def show_examples(screen: Screen, report: ValidationReport) -> None:
    """Two conversations as they will be learned."""
    for conversation in report.examples[:NUM_EXAMPLES]:
        screen.line("")
        screen.say("cli.check.example", "dim", place=conversation.place.in_words(known_file=report.file))
        for message in conversation.messages:
            calls = " ".join(
                f"{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False)})" for call in message.tool_calls
            )
            text = " ".join(part for part in (message.content, calls) if part)
            screen.line(say("cli.check.message", role=say(f"cli.role.{message.role}"), text=text))


def show_verdict(screen: Screen, file: Path, options: ReadOptions, report: ValidationReport) -> None:
    """The ledger, the verdict, and the next command to type."""
    counts = {name: getattr(report, name) for name in ("records_in", "kept", "fixed", "dropped")}
    screen.line("")
    screen.say("cli.run.read", file=report.file, format=report.format, **counts)
    usable = report.num_trainable
    key = "cli.check.good" if not report.errors else "cli.check.some_bad" if usable else "cli.check.all_bad"
    screen.say(key, "bold", conversations=usable, bad=report.dropped)
    if str(file) == "-":
        screen.say("cli.check.save_first", name=f"faq{_STDIN_ENDINGS.get(report.format, '.txt')}")
        return
    fixes = [p.fix for p in report.problems if p.fix and p.fix.automatic]
    left_out = {place for fix in fixes if fix.action == "drop_row" for place in fix.places}
    mended = {place for fix in fixes for place in fix.places} - left_out
    if mended or (left_out and usable):
        screen.say("cli.check.fix", mended=len(mended), left_out=len(left_out))
        screen.command("postil", "fix", file, *spell_options(options), "-o", fixed_name(file, report.format))
    if usable and not report.errors:
        screen.say("cli.check.train")
        screen.command("postil", "train", file, *spell_options(options, as_settings=True))


def fixed_name(file: Path, file_format: str) -> Path:
    """Where the corrected file may go: beside the original, with the ending that `postil fix` writes."""
    endings = {"xls": ".xlsx", "xlsb": ".xlsx", "ods": ".xlsx", "zip": ""}
    return file.with_name(f"{file.stem}-fixed{endings.get(file_format, file.suffix)}")


def show_found(screen: Screen, file: str, problems: Sequence[Problem]) -> None:
    """Problems by kind, with what mends each.

    Args:
        file: the name that need not be said on every line.
    """
    if problems:
        screen.line("")
    show_problems(screen, problems, known_file=file, with_fixes=True)
    if max(Counter(p.code for p in problems).values(), default=0) > MOST_PER_CODE:
        screen.say("cli.check.whole_list", "dim")


def check_list_path(path: Path) -> None:
    """Sees to it, before a file is read for minutes, that the list of its problems can be written to `path`.

    Raises:
        UsageError: the name ends in neither .csv nor .json.
        CannotWriteError: the file is there already, or there is no such folder.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageError("cli.check.list_kind", path=path)
    if path.exists():
        raise CannotWriteError("cli.check.list_exists", path=path)
    if not path.parent.is_dir():
        raise CannotWriteError("cli.check.list_no_folder", path=path, folder=path.parent)


def write_list(problems: Iterable[Problem], path: Path) -> None:
    """Every problem, one a row of a .csv or one an item of a .json.

    Args:
        path: `check_list_path` found nothing wrong with it.

    Raises:
        CannotWriteError: the file has come to be there since.
    """
    suffix = path.suffix.lower()
    try:
        with path.open("x", encoding="utf-8-sig" if suffix == ".csv" else "utf-8", newline="") as file:
            if suffix == ".csv":
                writer = csv.writer(file)
                writer.writerow(LIST_COLUMNS)
                writer.writerows(_list_row(problem) for problem in problems)
            else:
                json.dump([problem.as_dict() for problem in problems], file, ensure_ascii=False, indent=1)
    except FileExistsError:
        raise CannotWriteError("cli.check.list_exists", path=path) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotWriteError("data.cannot_write", path=str(path), reason=reason) from error


def _list_row(problem: Problem) -> Iterator[str]:
    values = {**problem.as_dict(), "fix": problem.fix.label if problem.fix else ""}
    for name in LIST_COLUMNS:
        text = harmless("" if values[name] is None else str(values[name]))
        # A program that opens the list must not take the user's text for a formula.
        yield f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
