"""The database under stress (F5): locked, read-only, deleted, exchanged, full, out of connections; it recovers."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, select, text
from sqlalchemy.exc import IntegrityError

from postil.errors import CannotWriteError, TryAgainError, UnavailableError, UsageError
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.store import database as database_room
from postil.platform.store.database_copies import copy_sqlite
from postil.platform.store.sqlite import driver as sqlite
from postil.platform.store.tables import Machine
from tests.platform.conftest import plain

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


def write(service: Service, key: str = "k") -> None:
    """A row."""
    with service.database.writing() as session:
        session.add(Machine(key=key, value={}, updated_at=service.now()))


def keys(service: Service) -> list[str]:
    """Of all rows."""
    with service.database.reading() as session:
        return sorted(session.scalars(select(Machine.key)))


def file_of(service: Service) -> Path:
    """SQLite's file."""
    assert service.database.file is not None
    return service.database.file


def takes_at_most(seconds: float, call: Callable[[], object]) -> TryAgainError:
    """The error that a call ends with, in time."""
    began = time.monotonic()
    with pytest.raises(TryAgainError) as caught:
        call()
    assert time.monotonic() - began < seconds
    assert caught.value.retry_after_seconds > 0
    return caught.value


@on_sqlite
@pytest.mark.parametrize("journal_mode", ["WAL", "TRUNCATE"])
def test_a_locked_database_is_told_after_a_while_and_recovers(
    service: Service, monkeypatch: pytest.MonkeyPatch, journal_mode: str
) -> None:
    """Who only reads notices nothing where there is a write-ahead log."""
    monkeypatch.setattr(database_room, "JOURNAL_MODE", journal_mode)
    write(service, "before")
    holder = sqlite.connect(file_of(service), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    calls = [lambda: write(service), lambda: keys(service)]
    if journal_mode == "WAL":
        assert keys(service) == ["before"]
        calls.pop()
    for call in calls:
        error = takes_at_most(database_room.BUSY_TIMEOUT_SECONDS + 3, call)
        assert "busy" in error.message
    holder.execute("COMMIT")
    write(service, "after")
    assert keys(service) == ["after", "before"]


@on_sqlite
def test_a_short_lock_is_waited_for(service: Service) -> None:
    holder = sqlite.connect(file_of(service), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.5, lambda: holder.execute("COMMIT"))
    timer.start()
    write(service)
    assert keys(service) == ["k"]
    timer.join()


def test_six_writers_at_once_all_succeed(service: Service) -> None:
    def write_many(writer: int) -> None:
        for number in range(10):
            with service.database.writing() as session:
                # read first, then write: what makes deferred transactions fail
                count = len(session.scalars(select(Machine.key)).all())
                session.add(Machine(key=f"{writer}-{number}", value={"seen": count}, updated_at=service.now()))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write_many, range(6)))
    assert len(keys(service)) == 60


@on_sqlite
def test_a_read_only_database_is_told_and_recovers(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with service.database.writing() as session:
        session.connection().exec_driver_sql("PRAGMA query_only=ON")  # root may write what is write-protected
        session.add(Machine(key="k", value={}, updated_at=service.now()))
        with pytest.raises(Exception, match="readonly") as caught:
            session.flush()
        session.rollback()
    explained = database_room.explain(caught.value)
    assert isinstance(explained, TryAgainError) and "not written" in explained.message
    service.database.engine.dispose()
    write(service)


@on_postgres
def test_a_read_only_server_is_told(service: Service) -> None:
    def write_there() -> None:
        with service.database.writing() as session:
            session.execute(text("SET TRANSACTION READ ONLY"))
            session.add(Machine(key="k", value={}, updated_at=service.now()))

    assert "not written" in takes_at_most(2, write_there).message
    write(service)


@on_sqlite
def test_a_deleted_database_is_told_not_replaced_and_recovers(service: Service, tmp_path: Path) -> None:
    write(service, "before")
    file, away = file_of(service), tmp_path / "away.db"
    os.rename(file, away)
    for call in (lambda: write(service), lambda: keys(service)):
        assert "not where it was" in takes_at_most(2, call).message
    assert not file.exists(), "an empty database in its place would look as if everything were lost"
    os.rename(away, file)
    write(service, "after")
    assert keys(service) == ["after", "before"]


@on_sqlite
def test_what_was_written_into_a_file_without_a_name_is_not_called_written(service: Service, tmp_path: Path) -> None:
    def write_and_lose() -> None:
        with service.database.writing() as session:
            session.add(Machine(key="k", value={}, updated_at=service.now()))
            session.flush()
            os.rename(file_of(service), tmp_path / "away.db")

    takes_at_most(2, write_and_lose)


@on_sqlite
def test_an_exchanged_database_is_not_opened_beside_the_log_of_the_first(service: Service, tmp_path: Path) -> None:
    write(service, "first")
    file = file_of(service)
    copy = copy_sqlite(file, tmp_path / "backup.db")
    write(service, "second")
    away = tmp_path / "away.db"
    os.rename(file, away)
    os.replace(copy, file)
    for call in (lambda: write(service), lambda: keys(service)):
        assert "not where it was" in takes_at_most(2, call).message
    os.replace(away, file)
    assert keys(service) == ["first", "second"]


@on_sqlite
def test_a_full_disk_is_told_and_recovers(service: Service) -> None:
    def write_much() -> None:
        with service.database.writing() as session:
            pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar_one()
            session.connection().exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
            session.add(Machine(key="k", value={"much": "x" * 100_000}, updated_at=service.now()))

    with pytest.raises(CannotWriteError, match="disk is full"):
        write_much()
    service.database.engine.dispose()
    assert keys(service) == []
    write(service)


@on_sqlite
def test_a_damaged_database_is_told(service: Service) -> None:
    service.database.engine.dispose()
    with file_of(service).open("r+b") as file:
        file.write(b"not a database at all" * 100)
    with pytest.raises(UnavailableError, match="damaged"):
        keys(service)


@on_postgres
def test_a_lock_on_the_server_is_told_after_a_while(service: Service) -> None:
    with psycopg.connect(plain(service.database.engine.url.render_as_string(hide_password=False))) as holder:
        holder.execute("LOCK TABLE machine IN ACCESS EXCLUSIVE MODE")
        assert "busy" in takes_at_most(database_room.BUSY_TIMEOUT_SECONDS + 3, lambda: write(service)).message
    write(service)


@on_postgres
def test_a_lost_connection_is_told_and_made_anew(service: Service) -> None:
    def lose() -> None:
        with service.database.reading() as session:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert "does not answer" in takes_at_most(2, lose).message
    write(service)


@on_postgres
def test_a_server_that_is_not_there_is_told(service: Service, tmp_path: Path) -> None:
    nobody = database_room.open_database(f"postgresql+psycopg://postil@/postgres?host={tmp_path}")

    def read() -> None:
        with nobody.reading() as session:
            session.execute(text("SELECT 1"))

    assert "does not answer" in takes_at_most(10, read).message


def test_a_database_that_cannot_hold_every_letter_is_refused(postgres_url: str, tmp_path: Path) -> None:
    name = f"postil_ascii_{os.getpid()}"
    with psycopg.connect(plain(postgres_url), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
            with pytest.raises(UnavailableError, match="SQL_ASCII"):
                open_service(load_settings(tmp_path, {"database_url": url}))
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_no_connection_left_is_told_as_busy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = service.database.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.1)
    with ExitStack() as held:
        for _ in range(database_room.POOL_CONNECTIONS + database_room.MORE_CONNECTIONS):
            held.enter_context(service.database.reading()).execute(text("SELECT 1"))
        assert "busy" in takes_at_most(2, lambda: keys(service)).message
    assert keys(service) == []


def test_a_wrong_question_stays_what_it_is(service: Service) -> None:
    write(service)
    with pytest.raises(IntegrityError):
        write(service)


@on_sqlite
def test_what_is_deleted_is_overwritten(service: Service) -> None:
    canary = "canary-" + "7" * 40
    with service.database.writing() as session:
        session.add(Machine(key="k", value={"said": canary}, updated_at=service.now()))
    files = [file_of(service), file_of(service).with_name("postil.db-wal")]
    assert any(canary.encode() in file.read_bytes() for file in files)
    with service.database.writing() as session:
        session.delete(session.get_one(Machine, "k"))
    service.database.empty_log()
    assert not any(canary.encode() in file.read_bytes() for file in files)


@pytest.mark.parametrize("start", ["postgres://", "postgresql://", "postgresql+psycopg://"])
def test_addresses_as_hosts_hand_them_out(start: str) -> None:
    database = database_room.open_database(f"{start}ann:secret@db.example/postil")
    assert database.engine.url.drivername == "postgresql+psycopg" and database.file is None


@pytest.mark.parametrize(
    "url", ["mysql://db/postil", "sqlite://", "sqlite", "", "http://x", "postgresql+asyncpg://db/x"]
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="POSTIL_DATABASE_URL"):
        database_room.open_database(url)


@pytest.mark.parametrize("name", ["a?b=1", "100% mine", "数据 文件夹", "a#b&c"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    service = open_service(load_settings(tmp_path / name))
    write(service)
    assert keys(service) == ["k"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert (tmp_path / name / "postil.db").exists()
    service.database.engine.dispose()


def test_an_errors_text_shows_nothing_that_was_typed(service: Service) -> None:
    write(service)
    with pytest.raises(IntegrityError) as caught, service.database.writing() as session:
        session.add(Machine(key="k", value={"said": "canary"}, updated_at=service.now()))
    assert "canary" not in str(caught.value)
