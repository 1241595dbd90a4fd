"""Options that several verbs share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from postil.config import known_encoding, parse_map
from postil.data.options import PURPOSES, Purpose, ReadOptions
from postil.errors import UsageError
from postil.language import LANGUAGES, Language, use_language


def choose_language(value: str | None) -> str | None:
    """Sets the language of everything that is printed from here on.

    Raises:
        UsageError: a language that has no catalog.
    """
    found: Language | None = next((name for name in LANGUAGES if name == value), None)
    if value is not None and found is None:
        raise UsageError("cli.no_such_language", name=value, languages=", ".join(LANGUAGES))
    if found is not None:
        use_language(found)
    return value


def read_options(columns: Sequence[str] | None, encoding: str | None, single_turn: bool) -> ReadOptions:
    """What `--map`, `--encoding` and `--single-turn` say about a file.

    Raises:
        UsageError: `columns` is not purpose=column, a column has two purposes, or there is no such encoding.
    """
    mapped: dict[Purpose, str] = {}
    for text in columns or ():
        try:
            mapped |= parse_map(text)
        except ValueError:
            raise UsageError("cli.bad_map", text=text, purposes=", ".join(PURPOSES)) from None
    if len(set(mapped.values())) < len(mapped):
        raise UsageError("cli.column_twice", text=", ".join(columns or ()))
    try:
        codec = None if encoding is None else known_encoding(encoding)
    except ValueError:
        raise UsageError("cli.no_such_encoding", name=encoding) from None
    return ReadOptions(codec, mapped, single_turn)


def spell_options(options: ReadOptions, *, as_settings: bool = False) -> list[str]:
    """The arguments that say `options` again, for a command to copy.

    Args:
        as_settings: as `postil train` takes them (`--set map=...`).
    """
    columns = ",".join(f"{purpose}={column}" for purpose, column in options.columns.items())
    words: list[str] = []
    if columns:
        words += ["--set", f"map={columns}"] if as_settings else ["--map", columns]
    if options.encoding:
        words += ["--set", f"encoding={options.encoding}"] if as_settings else ["--encoding", options.encoding]
    if options.single_turn:
        words += ["--set", "single_turn=true"] if as_settings else ["--single-turn"]
    return words


MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="PURPOSE=COLUMN", help="cli.option.map", show_default=False),
]
EncodingOption = Annotated[str | None, typer.Option("--encoding", metavar="NAME", help="cli.option.encoding")]
SingleTurnOption = Annotated[bool, typer.Option("--single-turn", help="cli.option.single_turn")]
AsJson = Annotated[bool, typer.Option("--json", help="cli.option.json")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="cli.option.quiet")]
Force = Annotated[bool, typer.Option("--force", help="cli.option.force")]
Device = Annotated[str | None, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="cli.option.device")]
Hub = Annotated[str | None, typer.Option("--hub", metavar="hf|modelscope", help="cli.option.hub")]
Offline = Annotated[bool, typer.Option("--offline", help="cli.option.offline")]
OutDir = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="cli.option.output")]
AdapterDir = Annotated[Path, typer.Argument(metavar="ADAPTER", help="cli.option.adapter")]
LanguageOption = Annotated[
    str | None,
    typer.Option("--lang", metavar="en|zh", help="cli.option.lang", callback=choose_language, is_eager=True),
]
