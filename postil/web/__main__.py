"""`python -m postil.web --data DIR (--fd N | --port N)`: the web process alone; `postil web` starts it so."""

import argparse
import socket
import sys
from pathlib import Path

from postil.errors import PostilError
from postil.platform.redaction import Redaction
from postil.platform.service import open_service
from postil.platform.settings import load_settings
from postil.web.app import create_app
from postil.web.logs import log_to
from postil.web.server import serve


def main() -> int:
    """Serves until it is asked to stop; exits like the shell."""
    parser = argparse.ArgumentParser(prog="python -m postil.web")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fd", type=int, help="a listening socket that was inherited")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    try:
        service = open_service(load_settings(given.data))
    except PostilError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    log_to(service.settings.data_dir / "logs", "web", filters=(Redaction(),))
    if given.fd is None:
        listening = socket.create_server(("127.0.0.1", given.port), backlog=256)
    else:
        listening = socket.socket(fileno=given.fd)
    with listening:
        serve(create_app(service), listening, exit_with_parent=given.fd is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
