"""The service of this machine, opened for a verb of the shell.

The platform is imported when it is used: its database library takes longer to load than most verbs take to run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from postil.platform.service import Service
    from postil.platform.settings import ServiceSettings

DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="cli.option.data")]


def settings_of(data: Path | None) -> "ServiceSettings":
    """The settings of the data folder that was named, or of the usual one."""
    from postil.platform.settings import default_data_dir, load_settings

    return load_settings(data or default_data_dir())


@contextmanager
def opened(data: Path | None) -> "Iterator[Service]":
    """The service, whose connections are let go afterwards."""
    from postil.platform.service import open_service

    service = open_service(settings_of(data))
    try:
        yield service
    finally:
        service.database.engine.dispose()
