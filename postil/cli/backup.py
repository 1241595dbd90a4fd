"""`postil backup`: a copy of the service's database while it is in use."""

from pathlib import Path
from typing import Annotated

import typer

from postil.cli.opening import DataOption, opened
from postil.cli.options import AsJson
from postil.cli.screen import byte_size, open_screen


def backup(
    data: DataOption = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="cli.backup.to")] = None,
    as_json: AsJson = False,
) -> None:
    """Says where the copy is."""
    from postil.platform.store.backups import backup as copy_database

    screen = open_screen(as_json)
    with opened(data) as service:
        path = copy_database(service, to)
    num_bytes = path.stat().st_size
    screen.say("cli.backup.done", path=path, size=byte_size(num_bytes))
    screen.result({"path": str(path), "bytes": num_bytes})
