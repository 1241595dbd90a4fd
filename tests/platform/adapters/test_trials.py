"""Trials: questions with answers side by side, votes, corrections; one's own, and gone with what they are about."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from postil.errors import ConflictError, MissingInputError, UsageError
from postil.platform.accounts.deletion import delete_account
from postil.platform.adapters import corrections, trials
from postil.platform.adapters.adapters import delete_adapter
from postil.platform.adapters.corrections import correct_answer
from postil.platform.adapters.sharing import share_adapter, unshare_adapter
from postil.platform.adapters.trial_views import TrialView, Votes
from postil.platform.datasets.checks import check_dataset
from postil.platform.datasets.datasets import delete_dataset
from postil.platform.datasets.edits import leave_out
from postil.platform.datasets.rows import preview
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.service import Service
from postil.platform.store.tables import Adapter, Trial, TrialAnswer
from postil.problems import Place
from tests.platform.adapters.test_adapters import publish, write_adapter
from tests.platform.conftest import Clock
from tests.platform.dataset_lives import pairs, upload
from tests.platform.datasets.test_edits import ONLY_SQLITE
from tests.platform.rows import add_account

NOTHING = Votes(0, 0, 0, 0, 0)


@pytest.fixture
def mei(service: Service) -> str:
    return add_account(service)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "adapter"
    path.mkdir()
    write_adapter(path)
    return path


def answered(service: Service, account: str, trial: TrialView) -> TrialView:
    """The trial with a whole answer at every place, which says whose it is."""
    for answer in trial.answers:
        trials.keep_answer(service, account, trial.id, answer.place, f"{answer.side} on {trial.question}", "stop")
    return trials.get_trial(service, account, trial.adapter_id, trial.id)


def count_rows(service: Service) -> tuple[int, int]:
    with service.database.reading() as session:
        return len(session.scalars(select(Trial)).all()), len(session.scalars(select(TrialAnswer)).all())


def test_a_question_is_kept_with_a_place_for_each_answer(service: Service, mei: str, folder: Path) -> None:
    adapter = publish(service, mei, folder, name="shop")
    trial = trials.start_trial(service, mei, adapter, "  Do you ship? ")
    assert trial.question == "Do you ship?" and not trial.has_ended and not trial.is_hidden
    assert [(a.side, a.adapter_id, a.name, a.text) for a in trial.answers] == [
        ("base", None, None, ""),
        ("tuned", adapter, "shop", ""),
    ]
    assert trial.options["temperature"] == 0 and trial.options["seed"] >= 0
    freer = trials.start_trial(service, mei, adapter, "Do you ship?", is_freer=True)
    assert freer.options["temperature"] == 0.7 and freer.options["seed"] != trial.options["seed"]
    trials.keep_answer(service, mei, trial.id, 0, "No\x00pe", "length")
    trials.keep_answer(service, mei, trial.id, 1, "Ye", "broken")
    trials.keep_answer(service, mei, trial.id, 1, "", "broken")
    seen = trials.get_trial(service, mei, adapter, trial.id)
    assert [(a.text, a.ended) for a in seen.answers] == [("No\ufffdpe", "length"), ("Ye", "broken")]
    assert seen.has_ended and not seen.is_whole, "a try that brought nothing takes nothing away"


@pytest.mark.parametrize("question", ["", " \n ", "x" * 20_001, "a\x00b", "half a \ud800"])
@ONLY_SQLITE
def test_questions_that_are_none(service: Service, mei: str, folder: Path, question: str) -> None:
    adapter = publish(service, mei, folder)
    with pytest.raises(UsageError, match="1 to 20000 characters"):
        trials.start_trial(service, mei, adapter, question)
    assert count_rows(service) == (0, 0)


def test_every_side_is_asked_the_same_and_goes_on_from_its_own_answers(
    service: Service, mei: str, folder: Path
) -> None:
    adapter = publish(service, mei, folder)
    with service.database.writing() as session:
        row = session.get_one(Adapter, adapter)
        row.manifest = {**row.manifest, "system": "You are the shop."}
    first = trials.start_trial(service, mei, adapter, "Do you ship?")
    asked = [trials.asked_at(service, mei, adapter, first.id, place) for place in (0, 1)]
    assert [one.adapter_id for one in asked] == [None, adapter]
    system, question = {"role": "system", "content": "You are the shop."}, {"role": "user", "content": "Do you ship?"}
    assert asked[0].messages == asked[1].messages == (system, question)
    assert asked[0].options == asked[1].options == first.options and asked[0].base == "starter"
    with pytest.raises(ConflictError, match="cannot go on"):
        trials.start_trial(service, mei, adapter, "And where?", follows=first.id)
    answered(service, mei, first)
    second = trials.start_trial(service, mei, adapter, "And where?", follows=first.id)
    assert second.before == ("Do you ship?",)
    for place, side in enumerate(("base", "tuned")):
        said = trials.asked_at(service, mei, adapter, second.id, place).messages
        assert [m["content"] for m in said] == [
            "You are the shop.",
            "Do you ship?",
            f"{side} on Do you ship?",
            "And where?",
        ]
    with pytest.raises(MissingInputError):
        trials.asked_at(service, mei, adapter, second.id, 2)


def test_a_third_answers_too_when_it_stands_on_the_same_base(service: Service, mei: str, folder: Path) -> None:
    one, other = publish(service, mei, folder), publish(service, mei, folder, name="other")
    far = publish(service, mei, folder, name="far", base="Qwen/Qwen3-0.6B")
    trial = trials.start_trial(service, mei, one, "Do you ship?", other_id=other)
    assert [a.side for a in trial.answers] == ["base", "tuned", "other"] and trial.answers[2].name == "other"
    for wrong in (one, far):
        with pytest.raises(UsageError, match="another base"):
            trials.start_trial(service, mei, one, "Do you ship?", other_id=wrong)
    with pytest.raises(MissingInputError):
        trials.start_trial(service, mei, one, "?", other_id="ad_" + "x" * 16)
    delete_adapter(service, mei, other)
    assert [a.side for a in trials.get_trial(service, mei, one, trial.id).answers] == ["base", "tuned"]


def test_a_blind_trial_is_mixed_up_and_told_after_the_vote(service: Service, mei: str, folder: Path) -> None:
    adapter = publish(service, mei, folder)
    made = [trials.start_trial(service, mei, adapter, f"{n}?", is_blind=True) for n in range(40)]
    assert {tuple(a.side for a in t.answers) for t in made} == {("base", "tuned"), ("tuned", "base")}
    trial = made[0]
    with pytest.raises(ConflictError, match="answer is missing"):
        trials.give_vote(service, mei, adapter, trial.id, 0)
    trial = answered(service, mei, trial)
    assert trial.is_hidden
    following = trials.start_trial(service, mei, adapter, "And?", follows=trial.id)
    assert following.is_hidden and [a.side for a in following.answers] == [a.side for a in trial.answers]
    with pytest.raises(MissingInputError):
        trials.give_vote(service, mei, adapter, trial.id, 2)
    tuned = trial.answer_of("tuned")
    assert tuned is not None
    voted = trials.give_vote(service, mei, adapter, trial.id, tuned.place)
    assert voted.vote == "tuned" and not voted.is_hidden
    with pytest.raises(ConflictError, match="voted on this question already"):
        trials.give_vote(service, mei, adapter, trial.id, None)
    assert trials.count_votes(service, mei, adapter) == Votes(base=0, tuned=1, other=0, same=0, num_blind=1)


def test_open_votes_may_change_and_are_counted_once(service: Service, mei: str, folder: Path) -> None:
    adapter = publish(service, mei, folder)
    trial = answered(service, mei, trials.start_trial(service, mei, adapter, "?"))
    for choice, side in ((0, "base"), (1, "tuned"), (None, "same")):
        assert trials.give_vote(service, mei, adapter, trial.id, choice).vote == side
    assert trials.count_votes(service, mei, adapter) == Votes(0, 0, 0, 1, 0)


def test_what_was_asked_stays_the_newest_first(service: Service, mei: str, folder: Path, clock: Clock) -> None:
    adapter = publish(service, mei, folder)
    for number in range(5):
        clock.go(seconds=number % 2)
        trials.start_trial(service, mei, adapter, f"{number}?")
    seen: list[TrialView] = []
    while page := trials.list_trials(service, mei, adapter, limit=2, after=seen[-1].id if seen else None):
        seen += page
    assert sorted(t.question for t in seen) == [f"{n}?" for n in range(5)]
    assert [t.created_at for t in seen] == sorted((t.created_at for t in seen), reverse=True)
    trials.drop_trial(service, mei, adapter, seen[0].id)
    assert trials.clear_trials(service, mei, adapter) == 4
    assert count_rows(service) == (0, 0)


def test_trials_are_of_who_asked(service: Service, mei: str, folder: Path) -> None:
    lei = add_account(service, "lei")
    adapter = publish(service, mei, folder)
    own = answered(service, mei, trials.start_trial(service, mei, adapter, "Mei's?"))
    for share in (False, True):
        if share:
            share_adapter(service, mei, adapter, "lei")
            assert trials.list_trials(service, lei, adapter) == ()
            assert trials.count_votes(service, lei, adapter) == NOTHING
        for verb in (
            lambda: trials.get_trial(service, lei, adapter, own.id),
            lambda: trials.asked_at(service, lei, adapter, own.id, 0),
            lambda: trials.give_vote(service, lei, adapter, own.id, 0),
            lambda: trials.drop_trial(service, lei, adapter, own.id),
            lambda: correct_answer(service, lei, adapter, own.id, "mine"),
            lambda: trials.start_trial(service, lei, adapter, "?", follows=own.id),
        ):
            with pytest.raises(MissingInputError):
                verb()
    trials.keep_answer(service, lei, own.id, 0, "forged", "stop")
    assert trials.clear_trials(service, lei, adapter) == 0
    assert trials.get_trial(service, mei, adapter, own.id) == own
    asked = answered(service, lei, trials.start_trial(service, lei, adapter, "Lei's?"))
    with pytest.raises(MissingInputError):  # whose data they are, lei is not told, and cannot add to them
        correct_answer(service, lei, adapter, asked.id, "better")
    unshare_adapter(service, mei, adapter, "lei")
    with pytest.raises(MissingInputError):
        trials.list_trials(service, lei, adapter)


def test_they_go_with_the_adapter_and_with_the_account(service: Service, mei: str, folder: Path) -> None:
    lei = add_account(service, "lei")
    adapter, kept = publish(service, mei, folder), publish(service, mei, folder)
    for one in (adapter, kept):
        share_adapter(service, mei, one, "lei")
        first = answered(service, lei, trials.start_trial(service, lei, one, "?"))
        trials.start_trial(service, lei, one, "And?", follows=first.id)
    trials.start_trial(service, mei, kept, "?")
    assert count_rows(service) == (5, 10)
    delete_adapter(service, mei, adapter)
    assert count_rows(service) == (3, 6)
    delete_account(service, lei)
    assert count_rows(service) == (1, 2)


def adapter_of_data(service: Service, account: str, folder: Path) -> tuple[str, str]:
    data = upload(service, account, pairs())
    return publish(service, account, folder, dataset_id=data.id, state="succeeded"), data.id


def test_a_better_answer_is_a_row_of_the_next_version(
    service: Service, mei: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, data = adapter_of_data(service, mei, folder)
    first = answered(service, mei, trials.start_trial(service, mei, adapter, "Do you ship?"))
    corrected = correct_answer(service, mei, adapter, first.id, " Yes, everywhere. ")
    assert (corrected.correction, corrected.corrected_version) == ("Yes, everywhere.", 2)
    assert get_dataset(service, mei, data).version == 2
    with pytest.raises(ConflictError, match="version 2"):
        correct_answer(service, mei, adapter, first.id, "Twice.")

    # two tabs at once: the second sees the note of the first in the transaction that would have added the row again
    twice = answered(service, mei, trials.start_trial(service, mei, adapter, "Do you wrap?"))
    real_add = corrections.add_conversation

    def second_tab(*given: Any, **named: Any) -> DatasetView:
        monkeypatch.setattr(corrections, "add_conversation", real_add)
        correct_answer(service, mei, adapter, twice.id, "In paper.")
        return real_add(*given, **named)

    monkeypatch.setattr(corrections, "add_conversation", second_tab)
    with pytest.raises(ConflictError, match="version 3"):
        correct_answer(service, mei, adapter, twice.id, "In cloth.")
    assert get_dataset(service, mei, data).version == 3

    # of a conversation the whole of it, and the turns before as they were corrected
    second = answered(service, mei, trials.start_trial(service, mei, adapter, "And where?", follows=first.id))
    real, leaves = get_dataset, iter([True])

    def seen_late(*given: Any) -> Any:  # somebody is quicker, once
        view = real(*given)
        if next(leaves, False):
            leave_out(service, mei, data, version=view.version, places=[Place("", 2)])
        return view

    monkeypatch.setattr("postil.platform.adapters.corrections.get_dataset", seen_late)
    monkeypatch.setattr("postil.platform.adapters.corrections._own_data", lambda *given: data)
    assert correct_answer(service, mei, adapter, second.id, "To Mars.").corrected_version == 5
    monkeypatch.undo()
    check_dataset(service, data)
    rows = preview(service, mei, data, limit=50)
    assert [[m["content"] for m in row.messages] for row in rows[-3:]] == [
        ["Do you ship?", "Yes, everywhere."],
        ["Do you wrap?", "In paper."],
        ["Do you ship?", "Yes, everywhere.", "And where?", "To Mars."],
    ]


@ONLY_SQLITE
def test_corrections_that_are_none(service: Service, mei: str, folder: Path) -> None:
    adapter, data = adapter_of_data(service, mei, folder)
    trial = answered(service, mei, trials.start_trial(service, mei, adapter, "Do you ship?"))
    with pytest.raises(UsageError):
        correct_answer(service, mei, adapter, trial.id, "  ")
    assert get_dataset(service, mei, data).version == 1
    delete_dataset(service, mei, data)
    with pytest.raises(MissingInputError):
        correct_answer(service, mei, adapter, trial.id, "Yes.")
    assert trials.get_trial(service, mei, adapter, trial.id).corrected_version is None
