"""Places, the queue's end, and the bound on memory."""

import pytest

from postil.errors import TooManyError
from postil.serving.scheduler import Limits, Scheduler


def scheduler(**limits: int) -> Scheduler[str]:
    return Scheduler(Limits(**({"max_running": 2, "max_queued": 3, "cache_tokens": 100} | limits)))


def test_first_come_first_served() -> None:
    queue = scheduler()
    queue.enqueue(["a", "b", "c"], 10)
    queue.enqueue(["d"], 10)
    assert queue.admit() == ["a", "b"] and queue.admit() == []
    queue.leave("a")
    assert queue.admit() == ["c"]
    queue.leave("b")
    queue.leave("c")
    assert queue.admit() == ["d"] and queue.num_waiting == 0


def test_the_queue_has_an_end_and_says_when_to_come_again() -> None:
    queue = scheduler()
    queue.enqueue(["a", "b"], 10)
    queue.admit()
    queue.enqueue(["c", "d"], 10)
    with pytest.raises(TooManyError) as caught:
        queue.enqueue(["e", "f"], 10)  # one would fit, two do not: all or none
    assert queue.num_waiting == 2 and caught.value.retry_after_seconds >= 1
    queue.enqueue(["e"], 10)
    with pytest.raises(TooManyError):
        queue.enqueue(["f"], 10)


def test_a_burst_into_an_empty_house_fills_places_and_chairs() -> None:
    queue = scheduler()
    queue.enqueue(["a"], 10)
    queue.enqueue(["b", "c", "d", "e"], 10)
    with pytest.raises(TooManyError):
        queue.enqueue(["f"], 10)


def test_caches_are_bounded_and_nobody_overtakes() -> None:
    queue = scheduler(max_running=10)
    queue.enqueue(["a"], 60)
    queue.enqueue(["large"], 80)
    queue.enqueue(["small"], 10)
    assert queue.admit() == ["a"] and queue.cache_tokens_used == 60
    assert queue.admit() == []  # the small one would fit, but the large one was first
    queue.leave("a")
    assert queue.admit() == ["large", "small"] and queue.cache_tokens_used == 90


def test_who_leaves_the_queue_is_forgotten() -> None:
    queue = scheduler()
    queue.enqueue(["a", "b", "c"], 10)
    queue.leave("b")
    assert queue.admit() == ["a", "c"]
    queue.leave("nobody")
    assert queue.num_running == 2


def test_slow_answers_lengthen_the_wait_up_to_a_bound() -> None:
    queue = scheduler()
    queue.enqueue(["a", "b", "c", "d", "e"], 10)
    queue.admit()
    assert queue.retry_after_seconds() <= 2
    for _ in range(50):
        queue.leave("nobody", 600.0)
    assert queue.retry_after_seconds() == 30
