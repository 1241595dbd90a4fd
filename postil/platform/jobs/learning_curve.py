"""What a watcher sees of a run besides its numbers: the curve of its loss and the answers to a few questions.

Both stay small however long the run is, since they travel with every progress that is told.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from postil.events import HeldoutMeasured, Sample

MOST_POINTS = 120
MOST_MEASUREMENTS = 60
MOST_CHARS = 400
"""Of a question or an answer; a longer one ends in an ellipsis."""


@dataclass(slots=True)
class LearningCurve:
    """Losses by step, thinned: at most 120 points of training and 60 of held-out rows.

    Args:
        every: of so many told steps one is kept; doubles whenever there are too many points.
    """

    every: int = 1
    _points: list[list[float]] = field(default_factory=list)
    _heldout: list[list[float]] = field(default_factory=list)
    _newest: list[float] | None = None
    _num_told: int = 0

    def add_step(self, step: int, loss: float, smoothed_loss: float) -> None:
        """Takes up the loss of a step."""
        if not math.isfinite(loss):
            return
        point = [step, round(loss, 4), round(smoothed_loss, 4)]
        if self._num_told % self.every == 0:
            self._points.append(point)
        self._newest = point
        self._num_told += 1
        if len(self._points) >= MOST_POINTS:
            del self._points[1::2]
            self.every *= 2

    def add_measurement(self, step: int, loss: float) -> None:
        """Takes up the loss of the held-out rows."""
        if math.isfinite(loss):
            self._heldout = [point for point in self._heldout if point[0] != step] + [[step, round(loss, 4)]]
        if len(self._heldout) > MOST_MEASUREMENTS:
            del self._heldout[1:-1:2]

    def go_back(self, step: int) -> None:
        """Forgets what comes after a step: an attempt begins there anew."""
        self._points = [point for point in self._points if point[0] <= step]
        self._heldout = [point for point in self._heldout if point[0] <= step]
        self._newest = None

    def as_dict(self) -> dict[str, Any]:
        """Points [step, loss, smoothed loss] under "train", [step, loss] under "heldout"; both in order of steps."""
        newest = [self._newest] if self._newest and self._newest not in self._points[-1:] else []
        return {"train": [*self._points, *newest], "heldout": list(self._heldout)}


def follow_samples(known: list[dict[str, Any]], event: HeldoutMeasured) -> list[dict[str, Any]]:
    """The samples with this measurement's answers.

    Args:
        known: as this gave them the last time; [] before the first.

    Returns:
        Of each question: question, expected, answer (the newest) and its step, and base_answer; None where the base was
        not asked.
    """
    if not event.samples:
        return known
    bases = {sample["question"]: sample["base_answer"] for sample in known}
    return [_followed(sample, event.step, bases) for sample in event.samples]


def _followed(sample: Sample, step: int, bases: dict[str, str | None]) -> dict[str, Any]:
    question, answer = shortened(sample.question), shortened(sample.answer)
    return {
        "question": question,
        "expected": shortened(sample.expected),
        "base_answer": bases.get(question) if step else answer,
        "answer": answer,
        "step": step,
    }


def shortened(text: str) -> str:
    """At most 400 characters of a text; an ellipsis says that there are more."""
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1].rstrip() + "…"
