"""How fast a base goes on a device: measured, or worked out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Range:
    """Two numbers that the true one should lie between."""

    low: float
    high: float

    def plus(self, other: "Range") -> "Range":
        """The sum of two ranges."""
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> "Range":
        """Both ends multiplied."""
        return Range(self.low * factor, self.high * factor)

    @property
    def middle(self) -> float:
        """Half way."""
        return (self.low + self.high) / 2

    def holds(self, value: float) -> bool:
        """True for a number within."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast this base goes on this device, with these rows.

    Args:
        hardware: in words, such as "cpu, 2 threads".
        launch_seconds: Python and its imports; 0 for a run in a process that has them already.
        startup_seconds: reading, loading and tokenizing, until the first step.
        step_tokens_per_second: of training steps after the first.
        spread: standard deviation of a step's time per token, as a share of its mean.
        first_step_seconds: what the first step takes longer than the others.
        reading_tokens_per_second: of held-out rows that are only measured.
        decode_seconds: of one more token for a batch of answers; from, to.
        save_seconds: of a checkpoint.
        peak_memory_bytes: None where nothing was measured.
        is_measured: False for rates out of the count of operations.
    """

    hardware: str
    launch_seconds: float
    startup_seconds: float
    step_tokens_per_second: Range
    first_step_seconds: float
    reading_tokens_per_second: Range
    decode_seconds: Range
    save_seconds: float
    peak_memory_bytes: int | None = None
    spread: float = 0.0
    is_measured: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Rates":
        """Reads what `as_dict` wrote."""
        names = ("step_tokens_per_second", "reading_tokens_per_second", "decode_seconds")
        return cls(**{**values, **{name: Range(**values[name]) for name in names}})
