"""The bill by trainings: months, names, lines in the order in which they are written, and one's own alone."""

from fractions import Fraction

from postil.platform.money import ledger
from postil.platform.money.statements import list_months, list_statements
from postil.platform.service import Service
from postil.platform.store.tables import Job
from tests.platform.conftest import Clock
from tests.platform.money.test_ledger import refund, settle, submit
from tests.platform.rows import add_account, new_job


def test_each_training_has_its_lines_its_name_and_what_it_costs(service: Service, clock: Clock) -> None:
    account, other = add_account(service), add_account(service, "other")
    first = submit(service, account, passes=2)
    clock.go(minutes=1)
    second = submit(service, account)
    submit(service, other)
    clock.go(minutes=1)
    settle(service, first, passes=Fraction(1, 2))
    newest, oldest = list_statements(service, account)
    assert [newest.job_id, oldest.job_id] == [second.id, first.id]
    assert [line.kind for line in oldest.lines] == ["estimate", "reserve", "settle", "release"]
    # half a pass over ten rows takes half of the free rows that were held
    assert (oldest.name, oldest.rows, oldest.free_rows, oldest.cost.settled_micro) == ("shop", 10, 5, 0)
    assert (newest.free_rows, newest.cost.settled_micro) == (10, None)


def test_a_training_that_was_deleted_keeps_its_lines_and_no_name(service: Service) -> None:
    account = add_account(service)
    job = submit(service, account)
    refund(service, job)
    with service.database.writing() as session:
        session.delete(session.get_one(Job, job.id))
    (statement,) = list_statements(service, account)
    assert (statement.name, statement.cost.settled_micro, statement.free_rows) == ("", 0, 0)
    assert [line.kind for line in statement.lines] == ["estimate", "reserve", "refund"]


def test_months(service: Service, clock: Clock) -> None:
    account = add_account(service)
    assert list_months(service, account) == () and list_statements(service, account) == ()
    old = submit(service, account)
    clock.go(days=5)
    new = submit(service, account)
    assert list_months(service, account) == ("2026-02", "2026-01")
    assert [s.job_id for s in list_statements(service, account, "2026-01")] == [old.id]
    assert [s.job_id for s in list_statements(service, account)] == [new.id, old.id]


def test_no_line_is_left_out_however_many_there_are(service: Service) -> None:
    account = add_account(service)
    with service.database.writing() as session:
        for _ in range(600):
            job = new_job(service, account)
            session.add(job)
            ledger.reserve(session, service, job, (10,), 1)
    statements = list_statements(service, account)
    assert sum(len(statement.lines) for statement in statements) == 1200
