"""How often something may be tried: moving windows in the memory of one process, counted before any work is done.

Each bucket has its rate here. Who is counted is the caller's choice: an account, an address, or both.
"""

import time
from dataclasses import dataclass, field
from math import ceil
from types import MappingProxyType

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from postil.errors import TooManyError

# Per account name and address: passwords guessed. Per address alone: names tried one after the other.
RATES = MappingProxyType(
    {
        "sign_in": parse("5/minute"),
        "sign_in_address": parse("60/minute"),
        "sign_up": parse("20/hour"),
        "link": parse("10/minute"),
        "wrong_key": parse("20/minute"),
        "lookup": parse("30/minute"),
        "upload": parse("60/minute"),
        "submit": parse("120/minute"),
        "chat": parse("120/minute"),
    }
)


@dataclass(frozen=True)
class Limits:
    """What has been counted in this process."""

    windows: MovingWindowRateLimiter = field(default_factory=lambda: MovingWindowRateLimiter(MemoryStorage()))

    def allow(self, bucket: str, *who: str) -> None:
        """Counts one try.

        Args:
            bucket: a key of `RATES`.
            who: what is counted together, such as an account's id and an address.

        Raises:
            TooManyError: the bucket is full; it says when there is room again.
        """
        rate = RATES[bucket]
        if not self.windows.hit(rate, bucket, *who):
            self._refuse_or_forgive(rate, bucket, *who)

    def check(self, bucket: str, *who: str) -> None:
        """As `allow`, counting nothing: for buckets that hold failures only.

        Raises:
            TooManyError: the bucket is full.
        """
        rate = RATES[bucket]
        if not self.windows.test(rate, bucket, *who):
            self._refuse_or_forgive(rate, bucket, *who)

    def forget(self, bucket: str, *who: str) -> None:
        """Empties a bucket, as after the right password."""
        self.windows.clear(RATES[bucket], bucket, *who)

    def _refuse_or_forgive(self, rate: RateLimitItem, bucket: str, *who: str) -> None:
        wait = self.windows.get_window_stats(rate, bucket, *who).reset_time - time.time()
        if wait > rate.get_expiry():  # the clock was set back: nobody is kept out for as long as that was
            self.windows.clear(rate, bucket, *who)
            return
        seconds = max(1, ceil(wait))
        raise TooManyError("platform.limits.too_many", retry_after_seconds=seconds, seconds=seconds)
