"""`--help`, in the user's language and with examples.

Help texts on commands and options are keys; they become words here, after the language is known.
"""

import difflib
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from postil.cli.prose import Prose
from postil.errors import UsageError
from postil.language import has_sentence, say


class TaughtCommand(TyperCommand):
    """A verb whose help teaches: what it does, examples, every option."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help page."""
        arguments = [p for p in self.get_params(ctx) if p.param_type_name == "argument"]
        names = [str(a.metavar) if a.required else f"[{a.metavar}]" for a in arguments]
        usage = " ".join([ctx.command_path, *names, say("cli.help.options_in_usage")])
        parts = _opening(self, usage)
        parts += _section("cli.help.arguments", _parameter_rows(arguments))
        parts += _section("cli.help.options", _parameter_rows(_options(self, ctx)))
        formatter.write(_draw(parts))


class TaughtGroup(TyperGroup):
    """`postil` itself, or a verb that has verbs of its own: these, options, and for `postil` the exit codes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help page."""
        parts = _opening(self, say("cli.help.usage_of_verbs", command=ctx.command_path))
        room = str(self.help).removesuffix("help")
        rows = [(name, say(f"{room}{name.replace('-', '_')}.help").partition("\n")[0]) for name in self.commands]
        parts += _section("cli.help.verbs", rows)
        parts += _section("cli.help.options", _parameter_rows(_options(self, ctx)))
        if ctx.parent is None:
            parts += [_heading("cli.help.more"), Padding(Prose(say("cli.help.more_text")), (0, 0, 1, 2))]
        formatter.write(_draw(parts))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the verb.

        Raises:
            UsageError: no such verb, with all verbs named.
        """
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            key = "cli.no_such_verb.nearest" if near else "cli.no_such_verb"
            verbs, command = ", ".join(self.commands), ctx.command_path
            raise UsageError(key, name=args[0], near=near[0] if near else "", verbs=verbs, command=command)
        return super().resolve_command(ctx, args)


def show_verbs(context: typer.Context) -> None:
    """What a verb that has verbs of its own does when none of them is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _opening(command: Any, usage: str) -> list[RenderableType]:
    key = str(command.help)
    parts: list[RenderableType] = [Text.assemble((say("cli.help.usage"), "bold"), " ", usage), Text("")]
    parts += [Padding(Prose(say(key)), (0, 0, 1, 1))]
    examples = key.removesuffix(".help") + ".examples"
    if has_sentence(examples):
        parts += [_heading("cli.help.examples"), _examples(say(examples))]
    return parts


def _examples(text: str) -> RenderableType:
    """Commands to copy, whole on their lines; what follows two spaces and # explains, and stands above its command."""
    lines: list[RenderableType] = []
    for line in text.splitlines():
        command, _, comment = line.partition("  # ")
        lines += [Padding(Prose(f"# {comment}", "dim"), (0, 0, 0, 2))] if comment else []
        lines.append(Text(f"  {command}", "cyan", no_wrap=True, overflow="ignore"))
    return Group(*lines, Text(""))


def _heading(key: str) -> Text:
    return Text(say(key), style="bold")


def _section(key: str, rows: list[tuple[str, str]]) -> list[RenderableType]:
    if not rows:
        return []
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    for name, text in rows:
        table.add_row(name, Prose(text))
    return [_heading(key), Padding(table, (0, 0, 1, 2))]


def _options(command: Any, ctx: Any) -> list[Any]:
    return [p for p in command.get_params(ctx) if p.param_type_name == "option" and not p.hidden]


def _parameter_rows(parameters: list[Any]) -> list[tuple[str, str]]:
    return [(_parameter_name(p), _parameter_text(p)) for p in parameters]


def _parameter_name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    names = ", ".join(sorted(parameter.opts, key=len))
    return f"{names} {parameter.metavar}" if parameter.metavar else names


def _parameter_text(parameter: Any) -> str:
    if parameter.name == "help":
        return say("cli.help.help")
    text = say(parameter.help)
    shown = isinstance(parameter.default, int | float | str) and not isinstance(parameter.default, bool)
    return f"{text} {say('cli.help.default', value=parameter.default)}" if shown else text


def _draw(parts: list[RenderableType]) -> str:
    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(Group(*parts), crop=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
