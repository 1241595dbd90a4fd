"""Parsers that may crash, hang or eat all memory run in a process of their own, within limits.

The parent starts the child, sends it one job on its standard input, and gets frames back on its standard output: a
length of four bytes (big-endian), then msgpack. However the child ends, the parent goes on with a plain error.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from postil.data.files.landlock import landlock_version
from postil.data.options import ReadOptions
from postil.errors import CannotWriteError, DataError
from postil.language import Language, has_sentence

CHILD_MODULE = "postil.data.files.sandbox_child"
MAX_FRAME_BYTES = 64 << 20
_DEFAULTS = ReadOptions()
_INSIDE = "POSTIL_SANDBOXED"
_KEPT_VARIABLES = ("SYSTEMROOT", "LANG", "LC_ALL", "POSTIL_LANG")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use.

    Args:
        memory_bytes: address space above what Python and Postil themselves need.
        wait_seconds: how long the parent waits for the child in total; its own work between frames does not count.
        file_bytes: the largest file that it may write, in its scratch folder if it has one.
        nice: how far it gives way to other processes, where the system knows such a thing.
    """

    cpu_seconds: int = 60
    memory_bytes: int = 1 << 30
    wait_seconds: float = 180.0
    file_bytes: int = 0
    nice: int = 0


def limits_in_force() -> dict[str, bool]:
    """Which limits this system can hold a child to; the wait is bounded on every one."""
    has_limits = os.name == "posix"
    version = landlock_version()
    return {
        "cpu": has_limits,
        "memory": sys.platform == "linux",
        "file_size": has_limits,
        "files": version > 0,
        "network": version >= 4,
    }


def run_in_child(job: str, arguments: Mapping[str, Any], limits: Limits = Limits()) -> Iterator[Any]:
    """Runs a job of `sandbox_child.JOBS` in a fresh process and yields its frames as they come.

    Args:
        arguments: plain values for the job. `path` is the file or folder that it may read, `scratch` (if there) the
            folder in which it may write.

    Raises:
        DataError: what the job itself raised, or the child ran out of time or memory or ended in some other way.
        CannotWriteError: the job's scratch folder is full.
    """
    if os.environ.get(_INSIDE):
        from postil.data.files.sandbox_child import JOBS

        yield from JOBS[job](**arguments)
        return
    path = str(arguments["path"])
    request = {"job": job, "arguments": dict(arguments), "limits": asdict(limits)}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", CHILD_MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_child_environment(arguments.get("scratch")),
    )
    assert child.stdin is not None and child.stdout is not None
    if limits.nice and os.name == "posix":
        with contextlib.suppress(ProcessLookupError):  # it has ended already, and is heard of below
            os.setpriority(os.PRIO_PROCESS, child.pid, limits.nice)
    reader = _FrameReader(child, child.stdout, limits.wait_seconds)
    try:
        _send(child.stdin, msgspec.msgpack.encode(request))
        yield from _frames(reader, path, limits)
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def check_file(
    path: Path,
    options: ReadOptions = _DEFAULTS,
    *,
    system: str | None = None,
    language: Language = "en",
    limits: Limits = Limits(memory_bytes=4 << 30, file_bytes=1 << 30),
) -> dict[str, Any]:
    """Reads and validates a whole file in a child: the report as `ValidationReport.as_dict` gives it.

    Raises:
        DataError: as `read_records`, or the child died.
    """
    with tempfile.TemporaryDirectory(prefix="postil-", ignore_cleanup_errors=True) as scratch:
        arguments = {"path": str(path), "options": asdict(options), "system": system}
        report: dict[str, Any] = {}
        problems: list[Any] = []
        for part in run_in_child("check", arguments | {"language": language, "scratch": scratch}, limits):
            problems += part.pop("problems", ())
            report |= part
        return report | {"problems": problems}


def _send(pipe: IO[bytes], data: bytes) -> None:
    try:
        pipe.write(data)
        pipe.close()
    except OSError:  # it died already; reading its frames tells how
        return


def _frames(reader: "_FrameReader", path: str, limits: Limits) -> Iterator[Any]:
    while True:
        frame = reader.read()
        match frame:
            case ["item", value]:
                yield value
            case ["end", _]:
                return
            case ["error", [str(key), dict(values)]] if key.startswith("data.") and has_sentence(key):
                raise DataError(key, **values)
            case ["cannot_write", [str(key), dict(values)]] if key.startswith("data.") and has_sentence(key):
                raise CannotWriteError(key, **values)
            case ["no_memory", _]:
                raise _out_of_memory(path, limits)
            case ["failed", str(reason)]:
                raise DataError("data.reader_died", path=path, reason=reason[:80])
            case None:
                raise reader.end(path, limits)
            case _:
                raise DataError("data.reader_died", path=path, reason="unknown answer")


class _FrameReader:
    """Reads frames with one budget of waiting for all of them; when it is spent the child is killed."""

    def __init__(self, child: "subprocess.Popen[bytes]", pipe: IO[bytes], wait_seconds: float):
        self._child, self._pipe = child, pipe
        self._left_seconds = wait_seconds
        self._is_late = False

    def read(self) -> Any:
        """The next frame; None when the child has ended without saying so, ["garbage"] for what is no frame."""
        started = time.monotonic()
        # Closing over a timer rather than waiting on the pipe: that works on every system.
        timer = threading.Timer(self._left_seconds, self._give_up)
        timer.start()
        try:
            return self._read_frame()
        finally:
            timer.cancel()
            self._left_seconds = max(self._left_seconds - (time.monotonic() - started), 0.0)

    def _read_frame(self) -> Any:
        head = self._pipe.read(4)
        length = int.from_bytes(head, "big")
        if length > MAX_FRAME_BYTES:
            return ["garbage"]
        data = self._pipe.read(length)
        if len(head) < 4 or len(data) < length:
            return None
        try:
            return msgspec.msgpack.decode(data)
        except msgspec.DecodeError:
            return ["garbage"]

    def _give_up(self) -> None:
        self._is_late = True
        self._child.kill()

    def end(self, path: str, limits: Limits) -> DataError:
        """What to say of a child that ended before its job did."""
        code = self._child.wait()
        if self._is_late or code == -getattr(signal, "SIGXCPU", 0):
            return DataError("data.reader_too_slow", path=path)
        # Parsers abort when memory is refused them; the system itself kills the largest process.
        if code in (-getattr(signal, "SIGABRT", 6), -getattr(signal, "SIGKILL", 9)):
            return _out_of_memory(path, limits)
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return DataError("data.reader_died", path=path, reason=reason)


def _out_of_memory(path: str, limits: Limits) -> DataError:
    return DataError("data.reader_out_of_memory", path=path, megabytes=limits.memory_bytes >> 20)


def _child_environment(scratch: str | None) -> dict[str, str]:
    """Nothing of the user's but the language; modules come from where the parent has them."""
    modules = [str(Path(entry or ".").resolve()) for entry in sys.path]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    fixed = {
        _INSIDE: "1",
        "PYTHONPATH": os.pathsep.join(modules),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    return kept | fixed | ({"TMPDIR": scratch, "TEMP": scratch} if scratch else {})
