"""Foreign chat templates run in a process of their own: 2 seconds of CPU and 512 MB each time, then it is over.

    parent                                          child (one, started when first needed, kept)
    ask("render", source, jobs)  -- frame -->       compiles the template once, renders each job under the limits
    texts or TemplateRefusal     <-- frame --       text or the reason for none

A frame is a length of four bytes (big-endian), then msgpack. A job that hangs ends the child by SIGPROF, one that eats
memory gets MemoryError; the parent says so and starts another child for the next job. Where the system has no such
limits (Windows) templates run in this process, within the bounds of `template_sandbox.py`.
"""

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from postil.data.template_sandbox import TemplateRefusal, inspect_source, render_job

CPU_SECONDS = 2.0
MEMORY_BYTES = 512 << 20
_WAIT_SECONDS = 60.0
"""On a busy machine 2 seconds of CPU take longer; a template cannot sleep."""
_MAX_KILLS = 3
"""A template that hung this often is not tried again: ten thousand rows would take hours to refuse."""
HAS_LIMITS = os.name == "posix"
_TOO_SLOW = "it took more than 2 seconds"
_DIED = "it ended the process that it ran in"

Job = Mapping[str, Any]


class _Hung(Exception):
    """The child ended, or had to be ended, over a template; the text says why."""


class TemplateChild:
    """The parent's handle on the one child of this process. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers: dict[str, int] = {}
        self._kills: dict[str, int] = {}

    def ask(self, kind: str, source: str, jobs: Sequence[Job]) -> list[Any]:
        """What the template makes of each job; a reason stands in a TemplateRefusal, in place of its text.

        Args:
            kind: "inspect" (one empty job; True when the template has generation marks) or "render".
        """
        answers: list[Any] = []
        with self._lock:
            while len(answers) < len(jobs):
                if self._kills.get(source, 0) >= _MAX_KILLS:
                    return answers + [TemplateRefusal(_TOO_SLOW)] * (len(jobs) - len(answers))
                try:
                    answers += self._exchange(kind, source, jobs[len(answers) :])
                except _Hung as hung:
                    self._kills[source] = self._kills.get(source, 0) + 1
                    answers.append(TemplateRefusal(str(hung)))
        return answers

    def close(self) -> None:
        """Ends the child, if there is one."""
        process, self._process = self._process, None
        self._numbers.clear()
        if process is None:
            return
        _close_pipes(process)  # the child reads the end of its input, and ends
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """After a fork the child belongs to the other process: its pipes are closed here, nothing else."""
        process, self._process = self._process, None
        self._lock = threading.Lock()
        self._numbers.clear()
        if process is not None:
            _close_pipes(process)
            process.returncode = 0  # not ours to wait for

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._process.pid if self._process else None

    def _exchange(self, kind: str, source: str, jobs: Sequence[Job]) -> list[Any]:
        """Answers to the jobs up to the first that the child did not survive; raises _Hung where that is the first."""
        process = self._start()
        answers: list[Any] = []
        try:
            assert process.stdin is not None and process.stdout is not None
            number = self._numbers.get(source)  # a template is sent once, and named by its number from then on
            request = [kind, len(self._numbers) if number is None else number, source if number is None else None, jobs]
            _write_frame(process.stdin, msgspec.msgpack.encode(request))
            self._numbers.setdefault(source, len(self._numbers))
            for _ in jobs:
                is_done, value = _read_frame(process.stdout)
                answers.append(value if is_done else TemplateRefusal(value))
        except (OSError, EOFError, TimeoutError, msgspec.DecodeError) as error:
            reason = self._bury(isinstance(error, TimeoutError))
            if not answers:
                raise _Hung(reason) from None
        except BaseException:  # Ctrl-C in the middle: what the child still sends would answer the next question
            if self._process:
                self._process.kill()
            self.close()
            raise
        return answers

    def _bury(self, late: bool) -> str:
        """Ends a child that died or hangs; says what it was."""
        assert self._process is not None
        process = self._process
        if late:
            process.kill()
        code = process.wait()
        self.close()
        return _TOO_SLOW if late or code == -signal.SIGPROF else _DIED

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        modules = [str(Path(entry or ".").resolve()) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # the terminal's Ctrl-C is for the parent, which then closes the child
            env={"PYTHONPATH": os.pathsep.join(modules), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return self._process


CHILD = TemplateChild()
"""The one child of this process."""
atexit.register(CHILD.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CHILD.forget)


def _write_frame(pipe: IO[bytes], data: bytes) -> None:
    """Both sides' pipes are unbuffered, and take as much as fits."""
    left = memoryview(len(data).to_bytes(4, "big") + data)
    while left:
        left = left[os.write(pipe.fileno(), left) :]


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _read_frame(pipe: IO[bytes]) -> Any:
    """The parent's side: never waits for ever."""
    deadline = time.monotonic() + _WAIT_SECONDS
    size = int.from_bytes(_read_exactly(pipe, 4, deadline), "big")
    return msgspec.msgpack.decode(_read_exactly(pipe, size, deadline))


def _read_exactly(pipe: IO[bytes], size: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    waiting = select.poll()
    waiting.register(pipe.fileno(), select.POLLIN)
    while size:
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        part = os.read(pipe.fileno(), min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# --- the child's side ---


def serve() -> None:
    """Answers frames until the parent closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # no handler would run while one long C call hangs
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not fall between the frames
    _warm_up()
    _give_up_rights()
    sources: dict[int, str] = {}
    while head := sys.stdin.buffer.read(4):
        kind, number, source, jobs = msgspec.msgpack.decode(sys.stdin.buffer.read(int.from_bytes(head, "big")))
        if source is not None:
            sources[number] = source
        for job in jobs:
            _write_frame(out, msgspec.msgpack.encode(_within_limits(kind, sources[number], job)))


def _within_limits(kind: str, source: str, job: Job) -> tuple[bool, Any]:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        return True, inspect_source(source) if kind == "inspect" else render_job(source, job)
    except TemplateRefusal as refusal:
        return False, str(refusal)
    except (MemoryError, RecursionError) as error:
        return False, f"it needs more than it may have ({type(error).__name__})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _warm_up() -> None:
    """Loads what jinja loads late, while files can still be opened."""
    empty: dict[str, Any] = {"special_tokens": {}, "today": "2000-01-01", "messages": [], "tools": None, "marks": None}
    with contextlib.suppress(TemplateRefusal):
        render_job("{{ strftime_now('%d %b %Y') }}{{ [1] | tojson | trim }}{{ raise_exception('') }}", empty)
    with contextlib.suppress(TemplateRefusal):
        inspect_source("{% if %}")


def _give_up_rights() -> None:
    """Memory is bounded for good; no file is written, no new one opened but Python's own, no program run."""
    import resource

    from postil.data.files.landlock import confine

    for name, value in (("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0), ("RLIMIT_AS", _address_space() + MEMORY_BYTES)):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (value, value))
    confine([Path(entry) for entry in {sys.prefix, sys.base_prefix, *sys.path} if entry and entry != os.sep])


def _address_space() -> int:
    """Bytes that this process has mapped already; a guess where only Linux could tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 256 << 20


if __name__ == "__main__":
    serve()
