"""Who is answered now and who waits: a queue with an end, places at the table, and a bound on memory.

Rows are taken in the order in which they came. The first of the queue waits until it fits, and nobody overtakes it, so
none waits for ever.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from postil.errors import TooManyError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at once.

    Args:
        max_running: answers that are written at the same time.
        max_queued: answers that wait; one more is refused.
        cache_tokens: tokens of prompts and answers that the key-value caches of all running rows hold together.
        prefill_tokens: tokens of prompts that are read between two steps of the running answers; longer prompts are
            read in parts of this size.
        max_loaded_adapters: adapters in memory; the ones unused for longest are read again when asked for.
        max_answer_tokens: longest answer where the request does not say.
    """

    max_running: int = 32
    max_queued: int = 64
    cache_tokens: int = 65_536
    prefill_tokens: int = 512
    max_loaded_adapters: int = 32
    max_answer_tokens: int = 1024


@dataclass
class Scheduler(Generic[T]):
    """The queue and the places. Not thread-safe: the engine holds its lock."""

    limits: Limits
    waiting: deque[tuple[T, int]] = field(default_factory=deque)
    running: dict[int, tuple[T, int]] = field(default_factory=dict)
    seconds_per_answer: float = 1.0

    @property
    def num_running(self) -> int:
        """Rows that are being answered."""
        return len(self.running)

    @property
    def num_waiting(self) -> int:
        """Rows in the queue."""
        return len(self.waiting)

    @property
    def cache_tokens_used(self) -> int:
        """What the running rows may grow to."""
        return sum(num_tokens for _, num_tokens in self.running.values())

    def enqueue(self, items: list[T], num_tokens: int) -> None:
        """Puts rows of one request at the end of the queue: all of them or none.

        Args:
            num_tokens: what each may grow to, prompt and answer.

        Raises:
            TooManyError: they do not fit into the queue; it says when to ask again.
        """
        if self.num_running + self.num_waiting + len(items) > self.limits.max_running + self.limits.max_queued:
            seconds = self.retry_after_seconds()
            raise TooManyError("serving.queue_full", retry_after_seconds=seconds, seconds=seconds)
        self.waiting.extend((item, num_tokens) for item in items)

    def retry_after_seconds(self) -> int:
        """A guess at when the queue will be half empty, 1 to 30."""
        ahead = (self.num_waiting / 2 + self.num_running) / self.limits.max_running
        return max(1, min(30, round(ahead * self.seconds_per_answer)))

    def admit(self) -> list[T]:
        """Takes from the queue what fits now; those rows run until `leave`."""
        admitted = []
        while self.waiting and self.num_running < self.limits.max_running:
            item, num_tokens = self.waiting[0]
            if self.running and self.cache_tokens_used + num_tokens > self.limits.cache_tokens:
                break
            self.waiting.popleft()
            self.running[id(item)] = (item, num_tokens)
            admitted.append(item)
        return admitted

    def leave(self, item: T, seconds: float | None = None) -> None:
        """Takes a row away, wherever it is.

        Args:
            seconds: how long its answer took; None where it was not written to its end.
        """
        if self.running.pop(id(item), None) is None:
            self.waiting = deque(pair for pair in self.waiting if pair[0] is not item)
        if seconds is not None:
            self.seconds_per_answer += 0.1 * (seconds - self.seconds_per_answer)
