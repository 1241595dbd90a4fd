"""A process that has loaded torch and the recipe, and forks a run in an instant: `-m postil.recipes.zygote SOCKET`.

A fresh process needs seconds for its imports; a fork has them already. What makes forking safe: the zygote has no
thread but one, computes nothing with torch (OpenMP's threads do not survive a fork), and touches no GPU; CUDA runs are
fresh processes. Each run is forked twice and has a session of its own, so that it is nobody's child and outlives the
zygote and the supervisor. The zygote ends when its standard input does, which is when the supervisor is gone.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import postil.recipes.run_process as run_process
from postil.recipes.zygote_door import MAX_MESSAGE_BYTES, short_path

NUM_DESCRIPTORS = 3


def serve(path: Path) -> None:
    """Answers until standard input ends."""
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    with short_path(path) as name:
        listener.bind(name)
    os.umask(before)
    listener.listen(64)
    gc.collect()
    gc.freeze()  # a collection in a run would copy the pages that it shares with us
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            if not os.read(sys.stdin.fileno(), 1):
                return
        elif listener in readable:
            connection, _ = listener.accept()
            with connection:
                _answer(connection, listener)


def _answer(connection: socket.socket, listener: socket.socket) -> None:
    connection.settimeout(5)
    descriptors: list[int] = []
    try:
        message, descriptors = _receive(connection)
        if message.get("ask") == "run":
            if len(descriptors) != NUM_DESCRIPTORS:
                raise ValueError(f"{len(descriptors)} descriptors instead of {NUM_DESCRIPTORS}")
            _fork_run(Path(message["folder"]), descriptors, connection, listener)
        else:
            connection.sendall(json.dumps({"ready": os.getpid()}).encode() + b"\n")
    except (OSError, ValueError, KeyError) as error:
        with suppress(OSError):
            connection.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, NUM_DESCRIPTORS)
    while not data.endswith(b"\n") and (part := connection.recv(MAX_MESSAGE_BYTES)):
        data += part
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    found: dict[str, Any] = json.loads(data)
    return found, list(descriptors)


def _fork_run(folder: Path, descriptors: list[int], connection: socket.socket, listener: socket.socket) -> None:
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    # From here on in a child, which never comes back.
    try:
        os.setsid()
        run = os.fork()
        if run:
            connection.sendall(json.dumps({"pid": run}).encode() + b"\n")
            os._exit(0)
        listener.close()
        connection.close()
        _become_run(folder, descriptors)
    except BaseException:
        traceback.print_exc()
    os._exit(70)


def _become_run(folder: Path, descriptors: list[int]) -> NoReturn:
    _, stdout, stderr = descriptors
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
    for descriptor in (null, stdout, stderr):
        os.close(descriptor)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = run_process.run_attempt(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Listens on the socket that the argument names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the supervisor
    _load_everything()
    serve(Path(sys.argv[1]))


def _load_everything() -> None:
    """Imports what runs import late, so that forks have it."""
    import postil.models.generation
    import postil.models.loading
    import postil.models.scoring
    import postil.models.tuned  # noqa: F401


if __name__ == "__main__":
    main()
