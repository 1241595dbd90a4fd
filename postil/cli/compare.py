"""`postil compare`: the same questions, answered by base and adapter, side by side."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.rule import Rule
from rich.table import Table

from postil.cli.options import (
    AdapterDir,
    AsJson,
    EncodingOption,
    Force,
    MapOption,
    SingleTurnOption,
    read_options,
)
from postil.cli.prose import Prose
from postil.cli.screen import Screen, open_screen
from postil.data.options import ReadOptions
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.errors import CannotWriteError, DataError, MissingInputError, UsageError
from postil.language import say
from postil.models.manifest import read_manifest

NARROWEST_BESIDE = 80
AS_FOUND = ReadOptions()


def compare(
    adapter: AdapterDir,
    questions: Annotated[Path, typer.Option("--questions", metavar="FILE", help="cli.compare.questions")],
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="cli.compare.html")] = None,
    columns: MapOption = None,
    encoding: EncodingOption = None,
    single_turn: SingleTurnOption = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Answers and shows them.

    Raises:
        CannotWriteError: the page exists already.
        UsageError: the page's name does not end in .html.
    """
    screen = open_screen(as_json)
    if html is not None and html.suffix.lower() not in {".html", ".htm"}:
        raise UsageError("cli.compare.not_html", path=html)
    if html is not None and html.exists() and not force:
        raise CannotWriteError("answering.exists", path=html)
    asked, left_out = read_questions(questions, read_options(columns, encoding, single_turn))
    if left_out:
        screen.say("cli.compare.left_out", "yellow", count=left_out, path=questions)
    read_manifest(adapter)  # a wrong folder is said before the seconds that loading takes
    screen.say("cli.chat.loading", "dim", path=adapter)
    from postil.answering import compare as compare_answers

    comparison = compare_answers(adapter, list(asked)).beside(asked)
    if html is not None:
        comparison.to_html(html, force=force)
    for row in comparison.rows:
        show_answers(screen, row.question, row.base, row.tuned, row.expected)
    if html is not None:
        screen.say("cli.compare.html_written", path=html)
    answers = [asdict(row) for row in comparison.rows]
    screen.result({"adapter_dir": str(adapter), "html": html and str(html), "left_out": left_out, "answers": answers})


def read_questions(path: Path, options: ReadOptions = AS_FOUND) -> tuple[dict[str, str | None], int]:
    """Questions in file order, each once, with the expected answer where the file has one.

    Returns:
        The questions, and how many rows were left out: those with errors, and chats of several turns.

    Raises:
        MissingInputError: no such file.
        DataError: not text, or no question in it.
    """
    if path.suffix.lower() == ".txt":
        found: dict[str, str | None] = dict.fromkeys(_lines(path))
        left_out = 0
    else:
        report = validate_dataset(read_records(path, options), single_turn=options.single_turn)
        single = [c for c in report.conversations if c.num_turns == 1]
        found = {c.question: c.answer for c in single}
        left_out = report.dropped + len(report.conversations) - len(single)
    if not found:
        raise DataError("cli.compare.no_questions", path=path)
    return found, left_out


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise MissingInputError("data.no_file", path=str(path)) from None
    except UnicodeDecodeError:
        raise DataError("cli.compare.not_text", path=path) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def show_answers(
    screen: Screen,
    question: str,
    base: str,
    tuned: str,
    expected: str | None = None,
    mark: str = "",
    always_beside: bool = False,
) -> None:
    """One question: base and tuned beside each other, or one below the other where it is narrow."""
    screen.show(Rule(style="dim"))
    screen.line(question, "bold")
    if mark:
        screen.line(f"[{mark}]", "yellow")
    if expected is not None:
        screen.line(f"{say('cli.compare.expected')}: {expected}", "dim")
    show_sides(screen, {"base": base, "tuned": tuned}, always_beside)


def show_sides(screen: Screen, answers: dict[str, str], always_beside: bool = False) -> None:
    """Finished answers: a table on a terminal, whole lines elsewhere unless the table is wanted there too."""
    if screen.is_terminal or always_beside:
        screen.show(side_by_side(screen, answers))
        return
    for side, text in answers.items():
        screen.line(f"{_label(side)}> {text}")


def side_by_side(screen: Screen, answers: dict[str, str]) -> Table:
    """Answers under their labels, as many columns as there are answers; stacked below 80 columns."""
    if screen.console.width >= NARROWEST_BESIDE:
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, 3, 0, 0), header_style="cyan")
        for side in answers:
            table.add_column(_label(side), ratio=1)
        table.add_row(*(Prose(text) for text in answers.values()))
        return table
    stacked = Table.grid(padding=(0, 2))
    stacked.add_column(style="cyan", no_wrap=True)
    stacked.add_column()
    for side, text in answers.items():
        stacked.add_row(_label(side), Prose(text))
    return stacked


def _label(side: str) -> str:
    """What a side is called in the current language."""
    return say(f"answering.{side}")
