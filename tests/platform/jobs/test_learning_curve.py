"""What a watcher sees of a run stays small, keeps its beginning and its end, and follows a run that goes back."""

import json
import math
from itertools import pairwise

import pytest

from postil.events import HeldoutMeasured, Sample
from postil.platform.jobs.learning_curve import MOST_CHARS, MOST_POINTS, LearningCurve, follow_samples, shortened


def curve_of(num_steps: int) -> LearningCurve:
    curve = LearningCurve()
    for step in range(1, num_steps + 1):
        curve.add_step(step, 4.0 / step, 5.0 / step)
    return curve


@pytest.mark.parametrize("num_steps", [0, 1, 2, 119, 120, 121, 500, 20_000])
def test_however_long_a_run_is_its_curve_has_few_points_evenly_spread(num_steps: int) -> None:
    points = curve_of(num_steps).as_dict()["train"]
    assert len(points) <= MOST_POINTS and len(json.dumps(points)) < 4000
    steps = [step for step, _, _ in points]
    assert steps == sorted(set(steps)) and len(steps) >= min(num_steps, MOST_POINTS // 2)
    if num_steps:
        assert (steps[0], steps[-1]) == (1, num_steps)
        assert points[-1][1:] == [round(4.0 / num_steps, 4), round(5.0 / num_steps, 4)]
    gaps = [after - before for before, after in pairwise(steps[:-1])]
    assert not gaps or max(gaps) == min(gaps)


def test_measurements_are_kept_by_step_and_bounded() -> None:
    curve = LearningCurve()
    for step in (0, 5, 5, 10):
        curve.add_measurement(step, float(10 + step))
    assert curve.as_dict()["heldout"] == [[0, 10.0], [5, 15.0], [10, 20.0]]
    for step in range(11, 2000):
        curve.add_measurement(step, 1.0)
    kept = curve.as_dict()["heldout"]
    assert len(kept) <= 60 and kept[0][0] == 0 and kept[-1][0] == 1999


def test_an_attempt_that_begins_at_a_checkpoint_takes_back_what_came_after() -> None:
    curve = curve_of(50)
    curve.add_measurement(0, 9.0)
    curve.add_measurement(48, 2.0)
    curve.go_back(40)
    curve.add_step(41, 0.5, 0.6)
    told = curve.as_dict()
    assert [step for step, _, _ in told["train"]] == list(range(1, 42))
    assert told["train"][-1] == [41, 0.5, 0.6] and told["heldout"] == [[0, 9.0]]


def test_numbers_that_are_none_are_no_points() -> None:
    curve = LearningCurve()
    curve.add_step(1, math.nan, 1.0)
    curve.add_measurement(1, math.inf)
    assert curve.as_dict() == {"train": [], "heldout": []}


def measured(step: int, *answers: str) -> HeldoutMeasured:
    samples = [Sample(question=f"Q{n}", expected=f"E{n}", answer=answer) for n, answer in enumerate(answers)]
    return HeldoutMeasured(step=step, loss=1.0, samples=samples)


def test_the_bases_answer_stays_beside_the_newest() -> None:
    first = follow_samples([], measured(0, "hm", "well"))
    assert [(s["base_answer"], s["answer"], s["step"]) for s in first] == [("hm", "hm", 0), ("well", "well", 0)]
    later = follow_samples(first, measured(20, "better", "best"))
    assert later[1] == {"question": "Q1", "expected": "E1", "base_answer": "well", "answer": "best", "step": 20}
    assert follow_samples(later, measured(30)) == later
    assert follow_samples([], measured(20, "x"))[0]["base_answer"] is None


def test_long_texts_end_in_an_ellipsis() -> None:
    assert shortened("短" * MOST_CHARS) == "短" * MOST_CHARS
    cut = shortened("长" * (MOST_CHARS + 1))
    assert len(cut) == MOST_CHARS and cut.endswith("长…")
