"""`postil migrate`: the database of an older Postil becomes one that this Postil can use."""

from postil.cli.opening import DataOption, settings_of
from postil.cli.options import AsJson
from postil.cli.screen import open_screen
from postil.errors import CannotWriteError
from postil.operating_system import os_reason


def migrate(data: DataOption = None, as_json: AsJson = False) -> None:
    """Says what was done."""
    from postil.platform.store.migrating import HEAD
    from postil.platform.store.migrating import migrate as renew_tables

    screen = open_screen(as_json)
    settings = settings_of(data)
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWriteError("platform.data_dir", path=settings.data_dir, reason=os_reason(error)) from error
    before = renew_tables(settings.resolved_database_url)
    if before is None:
        screen.say("cli.migrate.made", head=HEAD)
    else:
        screen.say("cli.migrate.current" if before == HEAD else "cli.migrate.done", before=before, head=HEAD)
    screen.result({"before": before, "revision": HEAD})
