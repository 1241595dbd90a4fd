"""Rates: counted, told when there is room again, not fooled by the clock (F6)."""

import time

import pytest

from postil.errors import TooManyError
from postil.platform.limits import RATES, Limits


def test_a_bucket_fills_and_others_do_not() -> None:
    limits = Limits()
    for _ in range(5):
        limits.allow("sign_in", "ann", "192.0.2.1")
    with pytest.raises(TooManyError, match=r"Wait \d+ seconds") as caught:
        limits.allow("sign_in", "ann", "192.0.2.1")
    assert 1 <= caught.value.retry_after_seconds <= 60
    limits.allow("sign_in", "ann", "192.0.2.2")
    limits.allow("sign_in", "bob", "192.0.2.1")
    limits.allow("link", "ann", "192.0.2.1")
    Limits().allow("sign_in", "ann", "192.0.2.1")


def test_looking_counts_nothing_and_forgetting_empties() -> None:
    limits = Limits()
    for _ in range(100):
        limits.check("wrong_key", "192.0.2.1")
    for _ in range(20):
        limits.allow("wrong_key", "192.0.2.1")
    with pytest.raises(TooManyError):
        limits.check("wrong_key", "192.0.2.1")
    limits.forget("wrong_key", "192.0.2.1")
    limits.check("wrong_key", "192.0.2.1")


def test_the_window_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, began = Limits(), time.time()
    for second in range(5):
        monkeypatch.setattr(time, "time", lambda second=second: began + 10 * second)
        limits.allow("sign_in", "ann")
    with pytest.raises(TooManyError) as caught:
        limits.allow("sign_in", "ann")
    assert caught.value.retry_after_seconds == pytest.approx(20, abs=1)
    monkeypatch.setattr(time, "time", lambda: began + 61)
    limits.allow("sign_in", "ann")
    with pytest.raises(TooManyError):
        limits.allow("sign_in", "ann")


@pytest.mark.parametrize("bucket", ["sign_in", "wrong_key"])
def test_a_clock_that_is_set_back_a_day_shuts_nobody_out_for_a_day(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, began = Limits(), time.time()
    for _ in range(RATES[bucket].amount):
        limits.allow(bucket, "ann")
    monkeypatch.setattr(time, "time", lambda: began - 86_400)
    limits.check(bucket, "ann")
    limits.allow(bucket, "ann")
