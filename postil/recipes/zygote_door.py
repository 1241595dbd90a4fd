"""How a process without torch asks the zygote for a run: one message over a Unix socket, and three descriptors.

caller                                      zygote
{"folder": ...} + lock, stdout, stderr -->  forks the run, which holds the lock from now on
{"pid": ...} or {"error": ...}         <--
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postil.errors import TryAgainError
from postil.recipes.launch import RunSpec, prepared_attempt, run_environment

ANSWER_SECONDS = 10.0
MAX_MESSAGE_BYTES = 1 << 16


def start_zygote(path: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Starts a zygote that listens on a socket and ends when this process does; runs go on.

    Args:
        path: of the socket; an older one is replaced.
        log: what the zygote itself says, appended.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "postil.recipes.zygote", str(path)],
            stdin=subprocess.PIPE,  # its end tells the zygote that we are gone
            stdout=out,
            stderr=out,
            cwd="/",
            env=run_environment(),
            start_new_session=True,
        )


def is_ready(path: Path) -> bool:
    """True when a zygote answers."""
    try:
        return "ready" in _ask(path, {"ask": "ready"}, ())
    except (OSError, ValueError):
        return False


def start_forked_run(path: Path, folder: Path, spec: RunSpec) -> int:
    """Starts a run as a fork of the zygote; returns its process id.

    Raises:
        TryAgainError: a run trains in the folder already, or the zygote does not answer.
        CannotWriteError: the folder cannot be written.
    """
    with prepared_attempt(folder, spec) as made:
        try:
            answer = _ask(path, {"ask": "run", "folder": str(folder)}, made.descriptors)
            return int(answer["pid"])
        except (OSError, ValueError, KeyError) as error:
            raise TryAgainError("recipes.no_zygote", reason=str(error) or type(error).__name__) from error


def _ask(path: Path, message: dict[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        with short_path(path) as name:
            connection.connect(name)
        data = json.dumps(message).encode() + b"\n"
        if descriptors:
            socket.send_fds(connection, [data], list(descriptors))
        else:
            connection.sendall(data)
        answer = b""
        while not answer.endswith(b"\n") and (part := connection.recv(4096)):
            answer += part
    found: dict[str, Any] = json.loads(answer)
    return found


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name of the socket that fits into the 100 characters which sockets allow, however deep the folder lies."""
    if len(os.fsencode(path)) < 100 or sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
