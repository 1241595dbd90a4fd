"""Ctrl-C and SIGTERM while a run works: the first asks it to stop after a checkpoint, the second stops at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from postil.errors import Stopped


@dataclass
class StopFlag:
    """What has been asked for so far.

    Args:
        by_signal: the first signal that came; None as long as none has.
        can_finish_step: True while a training loop asks `asked` after every step. Outside of it (a download, loading
            weights) nothing would be saved by waiting, so the first signal already stops.
    """

    by_signal: int | None = None
    can_finish_step: bool = False

    def asked(self) -> bool:
        """The run's `should_stop`."""
        return self.by_signal is not None


@contextmanager
def stop_on_signals(on_first: Callable[[], None]) -> Iterator[StopFlag]:
    """Turns SIGINT and SIGTERM into a flag while the block runs.

    Args:
        on_first: called when the first signal has been taken and the step in hand is being finished.

    Raises:
        Stopped: a signal that did not wait for the loop ended the block.
    """
    flag = StopFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        repeated, flag.by_signal = flag.asked(), flag.by_signal or number
        if repeated or not flag.can_finish_step:
            raise KeyboardInterrupt
        on_first()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    except KeyboardInterrupt:
        raise Stopped("cli.stopped", by_signal=flag.by_signal or signal.SIGINT) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
