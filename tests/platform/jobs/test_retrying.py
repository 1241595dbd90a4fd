"""What becomes of a job when its run has ended: every cause, budgets, wishes."""

from pathlib import Path

import pytest

from postil.platform.jobs.retrying import Decision, EndCause, Ending, Tally, decide
from postil.platform.settings import ServiceSettings
from postil.recipes.launch import RunError

SETTINGS = ServiceSettings(data_dir=Path("/nowhere"))
FRESH = Tally()
ERROR = RunError(key="recipes.run_failed", values={"reason": "x"})


def after(cause: EndCause, tally: Tally = FRESH, wish: str = "", step: int = 5, checkpoint: int = 0) -> Decision:
    return decide(Ending(cause, step, checkpoint, ERROR), tally, wish, SETTINGS)


def test_what_the_user_must_change_is_never_tried_again() -> None:
    decision = after("user")
    assert decision.to == "failed" and decision.error is not None and decision.error["key"] == ERROR.key


def test_a_kill_from_outside_counts_as_nothing() -> None:
    tally = Tally(failures=2, retries=3, failed_step=5)
    decision = after("killed", tally)
    assert decision == Decision("queued", tally)


@pytest.mark.parametrize("cause", ["disk", "cuda", "again", "lost", "not_started"])
def test_the_machine_is_given_three_longer_and_longer_waits(cause: EndCause) -> None:
    waits, tally = [], Tally()
    while (decision := after(cause, tally)).to == "queued":
        waits.append(decision.wait_seconds)
        tally = decision.tally
    assert waits == [10, 60, 300] and decision.to == "failed"


def test_a_checkpoint_that_went_further_renews_the_budget() -> None:
    spent = Tally(retries=3, last_checkpoint_step=40)
    assert after("disk", spent, checkpoint=40).to == "failed"
    decision = after("disk", spent, checkpoint=50)
    assert decision.to == "queued" and decision.tally.retries == 1 and decision.tally.last_checkpoint_step == 50


def test_three_failures_at_one_step_are_a_crash_loop() -> None:
    tally = Tally()
    for _ in range(2):
        decision = after("own", tally, step=412)
        assert decision.to == "queued" and decision.wait_seconds == 0
        tally = decision.tally
    decision = after("own", tally, step=412)
    assert decision.to == "failed" and decision.error is not None
    assert decision.error["key"] == "platform.jobs.crash_loop" and decision.error["values"]["step"] == 412


def test_failures_at_different_steps_are_no_loop() -> None:
    tally = Tally()
    for step in (1, 2, 3, 4):
        decision = after("own", tally, step=step)
        assert decision.to == "queued"
        tally = decision.tally


@pytest.mark.parametrize("cause", ["memory", "killed_for_memory"])
def test_memory_gets_one_smaller_try(cause: EndCause) -> None:
    first = after(cause)
    assert first.to == "queued" and first.tally.is_smaller and first.tally.retries == 0
    second = after("memory", first.tally)
    assert second.to == "failed"


def test_a_system_short_of_memory_is_waited_for_after_that() -> None:
    decision = after("killed_for_memory", Tally(is_smaller=True))
    assert decision.to == "queued" and decision.wait_seconds == 10


@pytest.mark.parametrize(
    ("cause", "wish", "to"),
    [
        ("stopped", "", "queued"),
        ("stopped", "pause", "paused"),
        ("stopped", "cancel", "cancelled"),
        ("killed", "pause", "paused"),
        ("killed", "cancel", "cancelled"),
        ("finished", "", "publishing"),
        ("finished", "pause", "publishing"),
        ("finished", "cancel", "cancelled"),
        ("disk", "pause", "paused"),
        ("user", "pause", "failed"),
        ("user", "cancel", "cancelled"),
    ],
)
def test_wishes_are_carried_out(cause: EndCause, wish: str, to: str) -> None:
    assert after(cause, wish=wish).to == to
