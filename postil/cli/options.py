"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

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
