"""Where work waits: blocking calls run in threads, in lanes, so that a rush on one kind does not hold up the others.

Pages and lists ask the database for milliseconds and share the widest lane. Hashing a password takes a tenth of a
second of a whole core, and a check of a file minutes: they queue by themselves, without holding a thread while they
wait.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Query
from starlette.requests import Request

from postil.errors import TooManyError, TryAgainError

NUM_QUICK, NUM_HASHING, NUM_SUBMITS, NUM_CHECKS, NUM_UPLOADS = 3, 2, 2, 3, 48
MOST_WAITING = 250
MOST_UPLOADS_OF_ACCOUNT, MOST_CHECKS_OF_ACCOUNT, MOST_ANSWERS_OF_ACCOUNT = 8, 2, 8

Result = TypeVar("Result")
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]


@dataclass
class Lanes:
    """The lanes of one process, made inside its event loop."""

    hashing: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(NUM_HASHING))
    submits: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(NUM_SUBMITS))
    checks: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(NUM_CHECKS))
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(NUM_UPLOADS))
    used: Counter[tuple[str, str]] = field(default_factory=Counter)

    @contextmanager
    def place(self, lane: str, account_id: str, most: int) -> Iterator[None]:
        """Holds one of an account's places in a lane while the block runs.

        Raises:
            TooManyError: the account has all of its places in use.
        """
        key = lane, account_id
        if self.used[key] >= most:
            raise TooManyError("web.too_many_at_once", retry_after_seconds=2, most=most)
        self.used[key] += 1
        try:
            yield
        finally:
            self.used[key] -= 1
            if not self.used[key]:
                del self.used[key]


def narrow_quick_lane() -> None:
    """Fewer threads than usual for ordinary calls: more of them would fight for the interpreter's lock.

    Measured on two cores, a job's progress: 140 requests a second with eight threads, 310 with three.
    """
    anyio.to_thread.current_default_thread_limiter().total_tokens = NUM_QUICK


def refuse_crowd() -> None:
    """Turns a request away at once where too many wait for a thread already, as while the database is locked.

    Raises:
        TryAgainError: the queue is full.
    """
    if anyio.to_thread.current_default_thread_limiter().statistics().tasks_waiting >= MOST_WAITING:
        raise TryAgainError("web.crowded", retry_after_seconds=2)


def lanes_of(request: Request) -> Lanes:
    """The lanes of the app that got this request."""
    lanes: Lanes = request.app.state.lanes
    return lanes


async def hashing(request: Request, work: Callable[..., Result], *given: object, **named: object) -> Result:
    """Runs what hashes passwords."""
    return await anyio.to_thread.run_sync(partial(work, *given, **named), limiter=lanes_of(request).hashing)


async def submitting(request: Request, work: Callable[..., Result], *given: object) -> Result:
    """Runs what plans a job and holds money for it; of many at once two go on, and the others wait here, in order."""
    return await anyio.to_thread.run_sync(partial(work, *given), limiter=lanes_of(request).submits)


async def checking(request: Request, account_id: str, work: Callable[..., Result], *given: object) -> Result:
    """Runs what reads a whole file again."""
    lanes = lanes_of(request)
    with lanes.place("checks", account_id, MOST_CHECKS_OF_ACCOUNT):
        return await anyio.to_thread.run_sync(partial(work, *given), limiter=lanes.checks)


async def uploading(request: Request, account_id: str, take: Callable[[Iterator[bytes]], Result]) -> Result:
    """Runs `take` in a thread, with the body's pieces as they arrive; never more than one of them is held."""
    lanes = lanes_of(request)
    body: AsyncIterator[bytes] = request.stream()

    async def next_piece() -> bytes | None:
        return await anext(body, None)

    def pieces() -> Iterator[bytes]:
        while (piece := anyio.from_thread.run(next_piece)) is not None:
            if piece:
                yield piece

    with lanes.place("uploads", account_id, MOST_UPLOADS_OF_ACCOUNT):
        return await anyio.to_thread.run_sync(partial(take, pieces()), limiter=lanes.uploads)
