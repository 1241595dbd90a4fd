"""Copies of the database in use, once a day, seven of them; and what else is done once in a while."""

import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from postil.errors import CannotWriteError, UnavailableError
from postil.platform.accounts.accounts import create_account, list_accounts
from postil.platform.accounts.one_time_links import make_reset_link
from postil.platform.accounts.sign_ins import sign_in
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.store.backups import NUM_KEPT, backup, backup_daily, list_backups
from postil.platform.store.sqlite import driver as sqlite
from postil.platform.store.tables import Machine, OneTimeLink, SignIn
from postil.platform.upkeep import keep_up
from tests.platform.conftest import PASSWORD, Clock, close

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@on_sqlite
def test_a_copy_made_while_others_write_is_whole(service: Service) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            with service.database.writing() as session:  # always two together
                for half in ("a", "b"):
                    session.add(Machine(key=f"{number}-{half}", value={"x": "y" * 500}, updated_at=service.now()))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [backup(service, service.settings.data_dir / str(number)) for number in range(5)]
    finally:
        stop.set()
        writer.join()
    for copy in copies:
        with sqlite.connect(copy) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            (rows,) = connection.execute("SELECT count(*) FROM machine").fetchone()
        assert rows % 2 == 0, "half of a transaction"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600


@on_sqlite
def test_a_copy_is_restored_by_putting_it_in_place(service: Service, tmp_path: Path) -> None:
    create_account(service, "ann", PASSWORD)
    copy = backup(service)
    create_account(service, "bob", PASSWORD)
    restored = tmp_path / "restored"
    restored.mkdir()
    (restored / "postil.db").write_bytes(copy.read_bytes())
    again = open_service(load_settings(restored))
    assert [account.name for account in list_accounts(again)] == ["ann"]
    assert sign_in(again, "ann", PASSWORD).account.name == "ann"
    close(again)


@on_sqlite
def test_one_copy_a_day_and_the_newest_seven_stay(service: Service, clock: Clock) -> None:
    made = []
    for _ in range(4 * 12):
        path = backup_daily(service)
        made += [path] if path else []
        clock.go(hours=6)
    assert len(made) == 12
    assert list_backups(service) == made[-NUM_KEPT:]
    clock.go(days=-3)
    assert backup_daily(service) is None, "a clock that was set back makes no copies"


@on_sqlite
def test_a_copy_that_cannot_be_written_leaves_nothing(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWriteError, match="--to"):
        backup(service, tmp_path / "file")
    assert list(tmp_path.glob("*.tmp")) == [] and list_backups(service) == []


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_postgresql_is_left_to_its_own_tool(service: Service) -> None:
    with pytest.raises(UnavailableError, match="pg_dump"):
        backup(service)
    assert backup_daily(service) is None


def test_upkeep_forgets_what_has_run_out_and_nothing_else(service: Service, clock: Clock) -> None:
    ann, bob = (create_account(service, name, PASSWORD) for name in ("ann", "bob"))
    sign_in(service, "ann", PASSWORD)
    make_reset_link(service, ann.id)
    clock.go(days=13)
    sign_in(service, "bob", PASSWORD)
    make_reset_link(service, bob.id)
    keep_up(service)
    clock.go(days=2)
    keep_up(service)
    with service.database.reading() as session:
        assert session.scalars(select(SignIn.account_id)).all() == [bob.id]
        assert session.scalars(select(OneTimeLink.account_id)).all() == [bob.id]
    assert len(list_backups(service)) == (2 if service.database.is_sqlite else 0)


def test_upkeep_goes_on_after_a_failure(service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    create_account(service, "ann", PASSWORD)
    sign_in(service, "ann", PASSWORD)
    clock.go(days=40)
    (service.settings.data_dir / "backups").write_text("in the way", "utf-8")
    keep_up(service)
    with service.database.reading() as session:
        assert session.scalars(select(SignIn)).all() == []
