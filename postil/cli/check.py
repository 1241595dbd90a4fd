"""`postil check`: what a file holds, and everything that is wrong with it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from postil.cli.check_view import check_list_path, show_examples, show_found, show_reading, show_verdict, write_list
from postil.cli.exits import describe_failure
from postil.cli.options import (
    AsJson,
    EncodingOption,
    LanguageOption,
    MapOption,
    SingleTurnOption,
    check_columns,
    read_options,
)
from postil.cli.screen import Screen, open_screen
from postil.data.files.unreadable import unreadable
from postil.data.options import ReadOptions
from postil.data.records import Records, read_records
from postil.data.reports import ValidationReport
from postil.data.shapes.record import Record
from postil.data.validation import validate_dataset
from postil.errors import DataError, MissingInputError
from postil.language import say
from postil.problems import Place, Problem

RECORDS_BETWEEN_SIGNS = 500


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.check.file")],
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="cli.check.system")] = None,
    columns: MapOption = None,
    encoding: EncodingOption = None,
    single_turn: SingleTurnOption = False,
    list_file: Annotated[Path | None, typer.Option("--all", metavar="LIST", help="cli.check.all")] = None,
    as_json: AsJson = False,
    language: LanguageOption = None,
) -> int:
    """Checks a file; ends with 65 when rows could not train.

    Raises:
        UsageError: an option is wrong, or names a column that the file does not have.
        CannotWriteError: the list of problems cannot be written where it was asked for.
        DataError: the file as a whole cannot be read; with `--json` the object says so instead.
        MissingInputError: there is no such file; with `--json` as before.
    """
    screen = open_screen(as_json)
    options = read_options(columns, encoding, single_turn)
    if list_file is not None:
        check_list_path(list_file)
    try:
        with _signs_of_life(screen, file) as seen:
            records = read_records(file, options)
            check_columns(records)
            report = validate_dataset(_watched(records, seen), system, single_turn=single_turn, keep=False, near=True)
    except (DataError, MissingInputError) as error:
        if not as_json:
            raise
        failure = describe_failure(error)
        screen.line(f"{failure.message} {failure.hint}", "bold red")
        screen.result({**_refused(file.name, error).as_dict(), **failure.as_dict()})
        return error.exit_code
    exit_code = DataError.exit_code if report.errors else 0
    _show(screen, file, options, records, report)
    if list_file is not None:
        write_list(report.problems, list_file)
        screen.say("cli.check.list_written", count=len(report.problems), path=list_file)
    screen.result({**report.as_dict(), "exit_code": exit_code})
    return exit_code


def _refused(name: str, error: DataError | MissingInputError) -> ValidationReport:
    """The report of a file of which nothing could be read: zeros, and the reason as its only problem."""
    problem = unreadable(Place(name), DataError(error.key, **error.values))
    nothing: dict[str, Any] = dict.fromkeys(("sheets", "hidden_sheets", "readings", "conversations", "examples"), ())
    nothing |= dict.fromkeys(("records_in", "kept", "fixed", "dropped", "num_conversations"), 0)
    nothing |= dict.fromkeys(("num_trainable", "multi_turn", "turns"), 0)
    return ValidationReport(name, format="", kind="not_qa", shape="", encoding="", problems=(problem,), **nothing)


def _show(screen: Screen, file: Path, options: ReadOptions, records: Records, report: ValidationReport) -> None:
    if screen.as_json:
        return
    show_reading(screen, records, report)
    show_found(screen, report.file, report.problems)
    show_examples(screen, report)
    show_verdict(screen, file, options, report)


@contextmanager
def _signs_of_life(screen: Screen, file: Path) -> Iterator[Callable[[int], None]]:
    """On a terminal a line that says how many records have been read, for as long as it takes."""
    if not screen.is_terminal:
        yield lambda _: None
        return
    with screen.console.status(say("cli.check.reading", file=file.name, count=0)) as status:
        yield lambda count: status.update(say("cli.check.reading", file=file.name, count=count))


def _watched(records: Records, seen: Callable[[int], None]) -> Records:
    return cast("Records", _Watched(records, seen))


class _Watched:
    """A file's records as they are, counted while they pass."""

    def __init__(self, records: Records, seen: Callable[[int], None]):
        self._records, self._seen = records, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def __iter__(self) -> Iterator[Record | Problem]:
        for count, item in enumerate(self._records, start=1):
            if count % RECORDS_BETWEEN_SIGNS == 0:
                self._seen(count)
            yield item
