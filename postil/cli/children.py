"""Processes that belong together: started in order, started again when they die, ended in order.

running --died--> waiting (0.5 s, doubled up to 30 s, forgotten after a minute of health) --> running
running --exit 64..69--> given up: the settings are wrong, and another try would end in the same way
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, HEALTHY_SECONDS = 0.5, 30.0, 60.0
STOP_SECONDS = 20.0
_HOPELESS = range(64, 70)
Process = subprocess.Popen[bytes]


@dataclass
class Child:
    """One of the processes.

    Args:
        name: for people and logs: "web", "supervisor" or "serving".
        start: starts it.
        on_end: called with the exit code when it has ended by itself.
        has_given_up: True where it is not started again.
    """

    name: str
    start: Callable[[], Process]
    on_end: Callable[["Child", int], None]
    process: Process | None = None
    started_at_seconds: float = 0.0
    next_start_seconds: float = 0.0
    wait_seconds: float = FIRST_WAIT_SECONDS
    has_given_up: bool = False


def watch(children: Sequence[Child], should_stop: Callable[[], bool], tick_seconds: float = 0.1) -> None:
    """Keeps all children running until `should_stop`, or until one of them has given up; then ends them."""
    try:
        while not should_stop() and not any(child.has_given_up for child in children):
            for child in children:
                _look_after(child)
            time.sleep(tick_seconds)
    finally:
        end(children)


def end(children: Sequence[Child]) -> None:
    """Asks all to end, the last one first, and ends those that do not within a while."""
    alive = [child.process for child in reversed(children) if child.process and child.process.poll() is None]
    for process in alive:
        process.terminate()
    give_up_at = time.monotonic() + STOP_SECONDS
    for process in alive:
        try:
            process.wait(max(0.1, give_up_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_process(
    arguments: Sequence[str], log: IO[bytes], *, inherit: Sequence[int] = (), reads: bool = False
) -> Process:
    """Starts a child that a Ctrl-C of the terminal does not reach, with a pipe as its standard input.

    The pipe says nothing; it closes when this process dies, however that happens.

    Args:
        log: takes what it writes to standard error, and to standard output unless `reads`.
        inherit: descriptors that it gets.
    """
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if reads else log,
        stderr=log,
        pass_fds=tuple(inherit),
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _look_after(child: Child) -> None:
    now = time.monotonic()
    if child.process is None:
        if now >= child.next_start_seconds:
            child.process, child.started_at_seconds = child.start(), now
        return
    code = child.process.poll()
    if code is None:
        return
    child.process = None
    child.has_given_up = code in _HOPELESS
    if now - child.started_at_seconds > HEALTHY_SECONDS:
        child.wait_seconds = FIRST_WAIT_SECONDS
    child.next_start_seconds = now + child.wait_seconds
    child.wait_seconds = min(2 * child.wait_seconds, LONGEST_WAIT_SECONDS)
    child.on_end(child, code)
