"""A child of the sandbox with jobs that go wrong in every way; run by test_sandbox.py in place of the real one."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postil.data.files import sandbox_child


def _spin(path: str) -> Iterator[Any]:
    while True:
        yield from ()


def _sleep(path: str) -> Iterator[Any]:
    yield "first"
    time.sleep(60)


def _eat(path: str) -> Iterator[Any]:
    yield len(bytearray(4 << 30))


def _abort(path: str) -> Iterator[Any]:
    yield "first"
    os.abort()


def _exit(path: str) -> Iterator[Any]:
    yield "first"
    os._exit(3)


def _noise(path: str) -> Iterator[Any]:
    print("a library's remark")
    sys.stdout.flush()
    yield "clean"


def _garbage(path: str) -> Iterator[Any]:
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\x00\x00\x00\x05hello")
        except OSError:
            continue
    yield "after"


def _wrong(path: str) -> Iterator[Any]:
    raise ZeroDivisionError
    yield


def _probe(path: str, other: str, port: int, scratch: str = "") -> Iterator[Any]:
    """What the child may do: "ok", or the error's name."""
    folder = Path(scratch or Path(path).parent)
    yield {
        "own": _attempt(lambda: Path(path).read_text()),
        "other": _attempt(lambda: Path(other).read_text()),
        "write": _attempt(lambda: (folder / "new").write_text("x" * 100)),
        "write_much": _attempt(lambda: (folder / "much").write_text("x" * 100_000)),
        "overwrite": _attempt(lambda: Path(path).write_text("x")),
        "connect": _attempt(lambda: socket.create_connection(("127.0.0.1", port), timeout=5).close()),
        "program": _attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})),
        "input": sys.stdin.buffer.read().decode(),
        "secret": os.environ.get("POSTIL_TEST_SECRET", ""),
    }


def _attempt(action: Any) -> str:
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "ok"


if __name__ == "__main__":
    jobs = (_spin, _sleep, _eat, _abort, _exit, _noise, _garbage, _wrong, _probe)
    sandbox_child.JOBS.update((job.__name__[1:], job) for job in jobs)
    sandbox_child.main()
