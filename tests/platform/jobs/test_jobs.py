"""Jobs on both databases: what may be asked for in which state, whose they are, and changes that come too late."""

import pytest

from postil.errors import ConflictError, MissingInputError
from postil.platform.jobs.jobs import (
    AT_WORK,
    ENDED,
    MOVES,
    STATES,
    change_state,
    delete_job,
    insert_job,
    request_cancel,
    request_pause,
    request_resume,
    run_folder,
)
from postil.platform.jobs.logs import read_log
from postil.platform.jobs.views import error_view, get_job, list_jobs
from postil.platform.money import ledger
from postil.platform.service import Service
from postil.platform.store.tables import Job, LedgerEntry
from postil.recipes.launch import attempt_folder
from tests.platform.rows import add_account, new_job


def add_job(service: Service, account_id: str, state: str, **entries: object) -> str:
    row = new_job(service, account_id, state=state, **{"attempt": 1, "queued_at": service.now(), **entries})
    with service.database.writing() as session:
        session.add(row)
    return row.id


@pytest.mark.parametrize("state", STATES)
def test_cancelling_in_every_state_any_number_of_times(service: Service, state: str) -> None:
    account = add_account(service)
    job_id = add_job(service, account, state)
    first, second = (request_cancel(service, account, job_id) for _ in range(2))
    assert first == second
    if state in ENDED:
        assert first.state == state and not first.wish
    elif state in AT_WORK:
        assert (first.state, first.wish) == (state, "cancel")
    else:
        assert first.state == "cancelled" and first.ended_at == service.now()


@pytest.mark.parametrize("state", STATES)
def test_holding_in_every_state(service: Service, state: str) -> None:
    account = add_account(service)
    job_id = add_job(service, account, state)
    if state in ("queued", "paused"):
        assert request_pause(service, account, job_id).state == "paused"
        assert request_pause(service, account, job_id).state == "paused"
    elif state in ("starting", "running"):
        assert request_pause(service, account, job_id).wish == "pause"
        assert request_resume(service, account, job_id).wish == ""
    else:
        with pytest.raises(ConflictError, match="cannot be held"):
            request_pause(service, account, job_id)


def test_a_held_job_keeps_its_place(service: Service, clock: object) -> None:
    account = add_account(service)
    job_id = add_job(service, account, "queued", priority=3)
    queued_at = get_job(service, account, job_id).queued_at
    request_pause(service, account, job_id)
    clock.go(hours=1)  # type: ignore[attr-defined]
    view = request_resume(service, account, job_id)
    assert (view.state, view.queued_at, view.priority) == ("queued", queued_at, 3)
    assert request_resume(service, account, job_id) == view


def test_a_wish_to_cancel_is_not_turned_into_one_to_hold(service: Service) -> None:
    account = add_account(service)
    job_id = add_job(service, account, "running")
    request_cancel(service, account, job_id)
    for ask in (request_pause, request_resume):
        with pytest.raises(ConflictError):
            ask(service, account, job_id)
    assert get_job(service, account, job_id).wish == "cancel"


def test_somebody_elses_job_is_not_there(service: Service) -> None:
    ann, bob = add_account(service, "ann"), add_account(service, "bob")
    job_id = add_job(service, ann, "queued")
    for ask in (get_job, request_cancel, request_pause, request_resume, delete_job):
        with pytest.raises(MissingInputError, match=job_id):
            ask(service, bob, job_id)
        with pytest.raises(MissingInputError):
            ask(service, ann, "job_'; drop table jobs")
    assert list_jobs(service, bob) == () and len(list_jobs(service, ann)) == 1


def test_an_old_attempt_changes_nothing(service: Service) -> None:
    account = add_account(service)
    job_id = add_job(service, account, "running", attempt=2)
    with service.database.writing() as session:
        now = service.now()
        assert not change_state(session, job_id, ["running"], "failed", 1, now=now)
        assert not change_state(session, job_id, ["starting"], "failed", 2, now=now)
        assert change_state(session, job_id, ["running"], "publishing", 2, now=now)
    assert get_job(service, account, job_id).state == "publishing"


def test_moves_that_are_not_drawn_are_refused(service: Service) -> None:
    with service.database.writing() as session, pytest.raises(AssertionError):
        change_state(session, "job_0000000000000000", ["succeeded"], "queued", 1, now=service.now())
    assert all(not MOVES[state] for state in ENDED)
    assert all("cancelled" in MOVES[state] for state in STATES if state not in ENDED)


def test_a_job_that_never_trained_gives_its_money_back(service: Service) -> None:
    account = add_account(service)
    with service.database.writing() as session:
        job = insert_job(
            session,
            account_id=account,
            name="shop",
            dataset_id=None,
            dataset_version=1,
            base="starter",
            spec={},
            now=service.now(),
        )
        ledger.reserve(session, service, job, [100_000] * 1500, 2)
    view = get_job(service, account, job.id)
    assert view.ahead == 0
    request_cancel(service, account, job.id)
    with service.database.reading() as session:
        lines = ledger.lines_of(session, job.id)
        assert "refund" in lines and sum(line.amount_micro for line in lines.values()) == 0
        assert session.get_one(Job, job.id).ended_at == service.now()
        assert session.query(LedgerEntry).count() == len(lines)


def test_pages_of_the_list(service: Service, clock: object) -> None:
    account = add_account(service)
    made = []
    for _ in range(5):
        made.append(add_job(service, account, "queued"))
        clock.go(seconds=1)  # type: ignore[attr-defined]
    first = list_jobs(service, account, limit=2)
    second = list_jobs(service, account, limit=2, after=first[-1].id)
    assert [view.id for view in (*first, *second)] == made[::-1][:4]
    assert [view.id for view in list_jobs(service, account, state="paused")] == []


def test_deleting_takes_the_runs_folder_along(service: Service) -> None:
    account = add_account(service)
    job_id = add_job(service, account, "running")
    with pytest.raises(ConflictError, match="not ended"):
        delete_job(service, account, job_id)
    ended = add_job(service, account, "failed")
    folder = run_folder(service, ended)
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(b"x" * 1000)
    assert delete_job(service, account, ended) == 1000 and not folder.exists()


def test_an_error_is_told_in_the_readers_language_or_in_the_runs_own_words() -> None:
    known = error_view({"key": "recipes.gpu_failed", "values": {"reason": "Xid 79"}})
    assert known is not None and "Xid 79" in known.message and known.hint
    unknown = error_view({"key": "of.another.version", "values": {}, "message": "As it was said.", "hint": "Do this."})
    assert unknown is not None and (unknown.message, unknown.hint) == ("As it was said.", "Do this.")


def test_the_log_is_the_owners_and_names_no_path(service: Service) -> None:
    ann, bob = add_account(service, "ann"), add_account(service, "bob")
    job_id = add_job(service, ann, "failed")
    assert read_log(service, ann, job_id) == ""
    place = attempt_folder(run_folder(service, job_id), 1)
    place.mkdir(parents=True)
    (place / "stderr").write_text(f"Traceback in {place}/x\n", "utf-8")
    assert read_log(service, ann, job_id) == f"Traceback in DATA/runs/{job_id}/attempts/1/x\n"
    with pytest.raises(MissingInputError):
        read_log(service, bob, job_id)
