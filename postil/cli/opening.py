"""The service of this machine, opened for a verb of the shell."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from postil.platform.service import Service, open_service
from postil.platform.settings import ServiceSettings, default_data_dir, load_settings

DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="cli.option.data")]


def settings_of(data: Path | None) -> ServiceSettings:
    """The settings of the data folder that was named, or of the usual one."""
    return load_settings(data or default_data_dir())


@contextmanager
def opened(data: Path | None) -> Iterator[Service]:
    """The service, whose connections are let go afterwards."""
    service = open_service(settings_of(data))
    try:
        yield service
    finally:
        service.database.engine.dispose()
