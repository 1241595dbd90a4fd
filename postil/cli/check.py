"""`postil check`: what a file holds, and everything that is wrong with it."""

from pathlib import Path
from typing import Annotated

import typer

from postil.cli.options import AsJson, LanguageOption
from postil.cli.screen import open_screen, show_problems
from postil.data.records import read_records
from postil.data.validation import ValidationReport, validate_dataset
from postil.errors import DataError
from postil.language import say

NUM_SHOWN = 2


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.check.file")],
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="cli.check.system")] = None,
    as_json: AsJson = False,
    language: LanguageOption = None,
) -> int:
    """Checks a file; ends with 65 when rows could not train.

    Raises:
        DataError: not one row of the file could train.
    """
    screen = open_screen(as_json)
    report = validate_dataset(read_records(file), system)
    if as_json:
        exit_code = DataError.exit_code if report.errors else 0
        screen.result({**report.as_dict(), "exit_code": exit_code})
        return exit_code
    counts = {name: getattr(report, name) for name in ("records_in", "kept", "fixed", "dropped")}
    screen.say("cli.run.read", file=report.file, format=report.format, **counts)
    key = "cli.check.shape_of_sheets" if report.sheets else "cli.check.shape"
    if report.shape:
        screen.say(key, shape=report.shape, encoding=report.encoding, sheets=", ".join(report.sheets))
    show_problems(screen, report.problems)
    for conversation in report.conversations[:NUM_SHOWN]:
        screen.say("cli.check.example", "dim", place=conversation.place)
        for message in conversation.messages:
            screen.line(f"  {message.role}: {message.content}")
    screen.line(_verdict(report), "bold")
    return DataError.exit_code if report.errors else 0


def _verdict(report: ValidationReport) -> str:
    turns = sum(c.num_turns for c in report.conversations)
    key = "cli.check.some_bad" if report.errors else "cli.check.good"
    if not report.conversations:
        key = "cli.check.all_bad"
    return say(key, conversations=len(report.conversations), turns=turns, bad=report.dropped)
