"""The learning curve as SVG: paths and labels that a template draws, with attributes only; and the same in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postil.language import say
from postil.web.pages.formats import number, percent

WIDTH, HEIGHT = 480, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 6, 10, 28
_FEWEST_POINTS = 2
_MOST_TICKS = 4
_POINTS_OF_WINDOW = 20
"""For so many points that are there, one more on either side is averaged: a short line is drawn as it is."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, at so many units from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A measurement, and what is read when it is pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart, in units of `width` by `height`.

    Args:
        raw, smooth, heldout: path data; "" for none.
        dots: of the held-out measurements.
        summary: what it shows, in one or two sentences.
    """

    width: int
    height: int
    left: int
    right: int
    bottom: int
    raw: str
    smooth: str
    heldout: str
    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str


def learning_chart(progress: Mapping[str, Any]) -> Chart | None:
    """The chart of a job's progress; None before there are two points of a line.

    Args:
        progress: of a JobView; its "curve" is `LearningCurve.as_dict()`.
    """
    curve = progress.get("curve") or {}
    train: list[list[float]] = curve.get("train", [])
    heldout: list[list[float]] = curve.get("heldout", [])
    if len(train) < _FEWEST_POINTS:
        return None
    steps = max(progress.get("steps") or 0, train[-1][0], *(point[0] for point in heldout))
    losses = [loss for _, loss, _ in train]
    smooth = _smoothed(losses, reach=len(losses) // _POINTS_OF_WINDOW)
    top, ticks = _scale(max(*losses, *(loss for _, loss in heldout)))

    def x(step: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * step / steps, 1)

    def y(loss: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * max(0.0, loss) / top, 1)

    dots = tuple(Dot(x(step), y(loss), number(loss, 2)) for step, loss in heldout)
    return Chart(
        width=WIDTH,
        height=HEIGHT,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        bottom=HEIGHT - _BOTTOM,
        raw=_path([(x(step), y(loss)) for step, loss, _ in train]),
        smooth=_path([(x(point[0]), y(loss)) for point, loss in zip(train, smooth, strict=True)]),
        heldout=_path([(dot.x, dot.y) for dot in dots]),
        dots=dots,
        x_ticks=tuple(Tick(x(steps * share / 100), percent(share)) for share in (0, 50, 100)),
        y_ticks=tuple(Tick(y(value), number(value, 2)) for value in ticks),
        summary=_summary(smooth, heldout),
    )


def _smoothed(losses: Sequence[float], reach: int) -> list[float]:
    """The mean of each with its neighbours, `reach` on either side, fewer at the ends; it does not lag behind."""
    windows = (losses[max(0, i - reach) : i + reach + 1] for i in range(len(losses)))
    return [sum(window) / len(window) for window in windows]


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Path data through the points; "" for fewer than two."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if len(points) > 1 else ""


def _scale(highest: float) -> tuple[float, list[float]]:
    """A round end for an axis from 0, and its round labels."""
    highest = highest if highest > 0 else 1.0
    size = 10.0 ** math.floor(math.log10(highest / _MOST_TICKS))
    distance = next(size * factor for factor in (1, 2, 5, 10) if size * factor * _MOST_TICKS >= highest)
    count = math.ceil(round(highest / distance, 6))
    return distance * count, [distance * i for i in range(count + 1)]


def _summary(smooth: Sequence[float], heldout: Sequence[Sequence[float]]) -> str:
    first, last = number(smooth[0], 2), number(smooth[-1], 2)
    words = say("job_page.chart.learned", first=first, last=last)
    if len(heldout) < _FEWEST_POINTS:
        return words
    kept = say("job_page.chart.heldout", first=number(heldout[0][1], 2), last=number(heldout[-1][1], 2))
    return say("job_page.chart.both", learned=words, heldout=kept)
