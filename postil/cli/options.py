"""Options that several verbs share."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from postil.config import DataConfig, known_encoding, parse_map
from postil.data.options import PURPOSES, Purpose, ReadOptions
from postil.data.records import Records, read_records
from postil.data.shapes.columns import normalize_name
from postil.errors import UsageError
from postil.language import LANGUAGES, Language, use_language
from postil.problems import Problem


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


def check_columns(records: Records) -> None:
    """Sees to it that a file has the columns that its options name.

    It is read to the first entry that has them, or to its end: records of one JSON file need not have the same fields,
    and of several sheets or files one with these columns is enough.

    Raises:
        UsageError: a column is nowhere; those that there are are named.
    """
    missing: str | None = None
    seen: dict[str, None] = {}
    for part in records.members or (records,) if records.options.columns else ():
        if isinstance(part, Records):
            missing = _find_missing_column(part, seen)
            if missing is None:
                return
    if missing is not None and seen:
        near = difflib.get_close_matches(missing, seen, n=1)
        key = "cli.no_such_column.nearest" if near else "cli.no_such_column"
        raise UsageError(key, name=missing, file=records.name, near="".join(near), columns=", ".join(seen))


def check_mapped_columns(data: DataConfig) -> None:
    """The same for the settings of a run; a prepared folder has no columns any more.

    Raises:
        UsageError: as `check_columns`.
        DataError: the file cannot be read.
    """
    from postil.data.prepared import is_prepared  # pyarrow, which most verbs do without

    source = Path(data.file or "")
    if data.map and source.exists() and not is_prepared(source):
        check_columns(read_records(source, ReadOptions(data.encoding, data.map, data.single_turn), data.name))


def _find_missing_column(records: Records, seen: dict[str, None]) -> str | None:
    """A column that the options name and this file lacks; its own columns are added to `seen`."""
    missing: str | None = None
    wanted = {normalize_name(name): name for name in records.options.columns.values()}
    for item in records:
        if isinstance(item, Problem):
            if item.code == "unknown_column":  # a sheet; its columns may also be named by letters
                missing = item.column
                seen |= dict.fromkeys(str(item.values["columns"]).split(", "))
        elif records.format not in ("json", "jsonl", "parquet") or not item.fields:
            return None
        else:
            seen |= dict.fromkeys(item.fields)
            wanted = {key: name for key, name in wanted.items() if key not in map(normalize_name, item.fields)}
            if not wanted:
                return None
            missing = next(iter(wanted.values()))
    return missing


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
