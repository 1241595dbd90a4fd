"""`postil web`: the whole service on this machine, as three processes that are kept alive.

web          pages, REST and /v1; the only one that listens to others
supervisor   starts and looks after the runs; they go on when it stops
serving      holds the base in memory and answers; listens on loopback, to whoever has its token
"""

from pathlib import Path
from typing import Annotated

import typer

from postil.cli.options import AsJson
from postil.cli.screen import open_screen


def web(
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="cli.web.data")] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="N", help="cli.web.port")] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="H", help="cli.web.host")] = None,
    without_serving: Annotated[bool, typer.Option("--no-serving", help="cli.web.no_serving")] = False,
    as_json: AsJson = False,
) -> int:
    """Starts everything, says where it is, and keeps it running until Ctrl-C or SIGTERM."""
    # the database's libraries, which other verbs do without
    from postil.cli.children import watch
    from postil.cli.house import House, listen, refuse_open_door, stop_asked
    from postil.cli.whereabouts import listening_at
    from postil.platform.service import open_service
    from postil.platform.settings import default_data_dir, load_settings

    screen = open_screen(as_json)
    settings = load_settings(data or default_data_dir(), {"port": port, "host": host})
    service = open_service(settings)
    try:
        refuse_open_door(service)
        with listen(settings.host, settings.port) as listening, stop_asked() as stop:
            house = House(settings, listening, screen)
            children = [house.web, house.supervisor, *([] if without_serving else [house.serving])]
            with listening_at(settings.data_dir, house.address):
                house.greet(service)
                watch(children, stop.is_set)
            house.leave()
    finally:
        service.database.engine.dispose()
    failed = next((child for child in children if child.has_given_up), None)
    screen.say("cli.web.stopped" if failed is None else "cli.web.gave_up", name=failed.name if failed else "")
    return house.exit_code
