"""The learning curve as a drawing: inside its box, with round labels, and in words."""

import re
from itertools import pairwise
from typing import Any

import pytest

from postil.language import use_language
from postil.platform.jobs.learning_curve import LearningCurve
from postil.web.pages.charts import HEIGHT, WIDTH, Chart, learning_chart
from postil.web.pages.formats import number


def progress_of(*losses: float, heldout: tuple[tuple[int, float], ...] = (), steps: int = 0) -> dict[str, Any]:
    curve = LearningCurve()
    for step, loss in enumerate(losses, 1):
        curve.add_step(step, loss, loss)
    for step, loss in heldout:
        curve.add_measurement(step, loss)
    return {"curve": curve.as_dict(), "steps": steps or len(losses)}


def chart_of(*losses: float, **more: Any) -> Chart:
    chart = learning_chart(progress_of(*losses, **more))
    assert chart is not None
    return chart


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_there_is_no_chart_before_there_is_a_line() -> None:
    assert learning_chart({}) is None
    assert learning_chart(progress_of(3.0)) is None


@pytest.mark.parametrize("scale", [1e-4, 0.3, 1.0, 7.0, 950.0])
def test_every_point_lies_in_the_box_and_lower_is_lower(scale: float) -> None:
    chart = chart_of(4 * scale, 2 * scale, 1 * scale, heldout=((0, 5 * scale), (3, 3 * scale)), steps=10)
    for path in (chart.raw, chart.smooth, chart.heldout):
        assert all(chart.left <= x <= chart.right and 0 < y <= chart.bottom for x, y in points(path))
    heights = [y for _, y in points(chart.smooth)]
    assert heights == sorted(heights)  # from the top, so that a loss that falls goes down
    assert points(chart.smooth)[-1][0] < chart.left + 0.4 * (WIDTH - chart.left)  # three of ten steps are done
    assert len(chart.dots) == 2 and (chart.dots[0].x, chart.dots[0].text) == (chart.left, number(5 * scale, 2))
    assert 3 <= len(chart.y_ticks) <= 6 and chart.y_ticks[0].at == chart.bottom
    assert all(0 < tick.at <= HEIGHT for tick in chart.y_ticks)


def test_labels_are_round() -> None:
    chart = chart_of(3.7, 1.2)
    assert [tick.text for tick in chart.y_ticks] == ["0", "1", "2", "3", "4"]
    assert [tick.text for tick in chart.x_ticks] == ["0%", "50%", "100%"]


def test_a_loss_of_nothing_is_drawn_at_the_bottom() -> None:
    chart = chart_of(0.0, 0.0)
    assert {y for _, y in points(chart.smooth)} == {chart.bottom}


def test_the_smooth_line_follows_the_real_one_and_the_sentence_says_where_it_ends() -> None:
    short = chart_of(*(4 * 0.75**step for step in range(12)))
    assert short.smooth == short.raw and short.summary.endswith("from 4 to 0.17.")
    begun = chart_of(4.0, 1.0, 0.2, steps=300)  # of a long run that has just begun the line is short as well
    assert begun.smooth == begun.raw and begun.summary.endswith("from 4 to 0.2.")
    falling = [4 * 0.95**step + (0.3 if step % 2 else -0.3) for step in range(100)]
    chart = chart_of(*falling, heldout=((100, 0.5),))
    raw, smooth = points(chart.raw), points(chart.smooth)
    assert sum(abs(after[1] - before[1]) for before, after in pairwise(smooth)) < 0.5 * sum(
        abs(after[1] - before[1]) for before, after in pairwise(raw)
    )
    last = number(sum(falling[-6:]) / 6, 2)
    assert f"to {last}." in chart.summary and abs(smooth[-1][1] - raw[-1][1]) < 0.4 * (HEIGHT / 5)


def test_the_same_in_words() -> None:
    assert chart_of(4.0, 1.5).summary == "While learning, the distance went from 4 to 1.5."
    kept = chart_of(4.0, 1.5, heldout=((0, 5.0), (2, 2.25))).summary
    assert kept.endswith("On questions kept aside, from 5 to 2.25.")
    use_language("zh")
    assert chart_of(4.0, 1.5).summary == "学习过程中，差距从 4 变为 1.5。"
