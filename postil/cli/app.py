"""`postil`: the verbs, and the one place where errors become words and exit codes."""

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.main import get_command

from postil.cli.admin import admin
from postil.cli.advise import advise
from postil.cli.backup import backup
from postil.cli.chat import chat
from postil.cli.check import check
from postil.cli.compare import compare
from postil.cli.demo import demo
from postil.cli.doctor import doctor
from postil.cli.exits import INTERRUPTED, Failure, describe_failure
from postil.cli.fix import fix
from postil.cli.help import TaughtCommand, TaughtGroup
from postil.cli.inspect import inspect
from postil.cli.keys import keys
from postil.cli.merge import merge
from postil.cli.migrate import migrate
from postil.cli.models import models
from postil.cli.options import LanguageOption, choose_language
from postil.cli.prepare import prepare
from postil.cli.profile import profile
from postil.cli.screen import open_screen, show_problems
from postil.cli.serve import serve
from postil.cli.train import train
from postil.cli.web import web

app = typer.Typer(
    cls=TaughtGroup,
    help="cli.help",
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)
_VERBS = (
    *(demo, check, fix, profile, inspect, advise, train, chat, compare, merge, prepare, serve, models, doctor),
    *(web, backup, migrate),
)
for _verb in _VERBS:
    app.command(_verb.__name__, cls=TaughtCommand, help=f"cli.{_verb.__name__}.help")(_verb)
for _group, _name in ((admin, "admin"), (keys, "keys")):
    app.add_typer(_group, name=_name)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"postil {version('postil')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="cli.version", callback=_show_version, is_eager=True)
    ] = False,
    language: LanguageOption = None,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit code and never lets a traceback out.

    Args:
        arguments: without the program's name; None takes the process's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given and os.environ.get("RANK", "0") == "0"  # of the workers of a torchrun the first speaks
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a console that lacks a character shows "?" instead of failing
            stream.reconfigure(errors="replace")
    try:
        code = get_command(app).main(args=take_language(given), prog_name="postil", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        return _tell(error, as_json)
    if code == INTERRUPTED:  # the parser turns Ctrl-C into its own exit
        return _tell(KeyboardInterrupt(), as_json)
    return code if isinstance(code, int) else 0


def take_language(arguments: Sequence[str]) -> list[str]:
    """Arguments without `--lang`, which any verb takes at any place; the language is set before anything is said.

    Raises:
        UsageError: a language that has no catalog.
    """
    rest = list(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    for i in reversed(range(end)):
        if rest[i].startswith("--lang="):
            choose_language(rest.pop(i).partition("=")[2])
        elif rest[i] == "--lang" and i + 1 < end:
            choose_language(rest[i + 1])
            del rest[i : i + 2]
    return rest


def _tell(error: BaseException, as_json: bool) -> int:
    """Says what went wrong; with POSTIL_DEBUG=1 also where in the code."""
    failure = describe_failure(error)
    if os.environ.get("POSTIL_DEBUG"):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    with contextlib.suppress(BrokenPipeError):
        _show(failure, as_json)
    return failure.exit_code


def _show(failure: Failure, as_json: bool) -> None:
    screen = open_screen(as_json, to_stderr=True)
    if screen.is_terminal and failure.exit_code == INTERRUPTED:
        screen.line("")  # after the terminal's own ^C
    files = {problem.place.file for problem in failure.problems}
    named = next((file for file in files if len(files) == 1 and file in failure.message), "")
    show_problems(screen, failure.problems, known_file=named)
    screen.line(failure.message, "bold red" if failure.exit_code < INTERRUPTED else "bold")
    if failure.hint:
        screen.line(failure.hint)
    if failure.resume:
        screen.say("cli.train.resume_with", "bold")
        screen.command_line(failure.resume)
    screen.result(failure.as_dict())
