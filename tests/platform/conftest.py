"""A service over each database: SQLite in a file, and PostgreSQL over a real connection, every test with its own."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy.engine import make_url

from postil.platform.accounts import passwords
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from tools import services

DATABASES = ("sqlite", "postgresql")
NewService = Callable[..., Service]
PASSWORD = "a door in the garden"


@dataclass
class Clock:
    """A time of day that tests set; it begins at noon of 30 January 2026."""

    time: datetime = field(default_factory=lambda: datetime(2026, 1, 30, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        """Now."""
        return self.time

    def go(self, **span: float) -> None:
        """Moves on, or back, by a span such as days=1."""
        self.time += timedelta(**span)


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time; tests of the hashes themselves ask for `real_passwords`."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHash((Argon2Hasher(1, 8, 1),)))
    passwords._nobodys.cache_clear()


@pytest.fixture
def real_passwords(cheap_passwords: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes as the service makes them."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHash.recommended())
    passwords._nobodys.cache_clear()


@pytest.fixture
def clock() -> Clock:
    """The clock of `service`."""
    return Clock()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server: the one that runs already, else one for these tests. Without PostgreSQL a user's machine skips."""
    if running := services.find_running():
        yield running
        return
    binaries = services.find_binaries()
    if binaries is None:
        assert "CI" not in os.environ, "PostgreSQL is not installed, and CI skips nothing; .ci/run installs it"
        pytest.skip("needs PostgreSQL: make services")
    folder = Path(tempfile.mkdtemp(prefix="postil-postgres-"))
    try:
        yield services.start(binaries, folder)
    finally:
        services.stop(binaries, folder)


def plain(url: str) -> str:
    """The address as libpq takes it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextmanager
def new_database(server: str, like: str | None = None) -> Iterator[str]:
    """A database on the server that is dropped afterwards; gives its address.

    Args:
        like: name of a database that is copied.
    """
    name = f"postil_{uuid.uuid4().hex}"
    with psycopg.connect(plain(server), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {like}" if like else ""))
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every table and no row; a copy of it is quick."""
    folder = tmp_path_factory.mktemp("tables")
    close(open_service(load_settings(folder)))
    return folder / "postil.db"


@pytest.fixture(scope="session")
def postgres_tables(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with every table and no row; a copy of it is quick."""
    with new_database(postgres_url) as url:
        close(open_service(load_settings(tmp_path_factory.mktemp("tables"), {"database_url": url})))
        yield str(make_url(url).database)


def close(service: Service) -> None:
    """Lets go of the service's connections."""
    service.database.engine.dispose()


@pytest.fixture(params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn; a test that looks at one alone overrides it by `indirect`."""
    return str(request.param)


@pytest.fixture
def new_service(
    request: pytest.FixtureRequest,
    database_kind: str,
    tmp_path: Path,
    clock: Clock,
) -> Iterator[NewService]:
    """Opens services on one data folder and database; settings may differ: `new_service(cpu_slots=2)`."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    opened: list[Service] = []

    def make(url: str | None, **settings: object) -> Service:
        service = replace(open_service(load_settings(data_dir, {"database_url": url, **settings})), now=clock)
        opened.append(service)
        return service

    if database_kind == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_tables"), data_dir / "postil.db")
        yield partial(make, None)
        for service in opened:
            close(service)
    else:
        tables = request.getfixturevalue("postgres_tables")
        with new_database(request.getfixturevalue("postgres_url"), tables) as url:
            yield partial(make, url)
            for service in opened:
                close(service)


@pytest.fixture
def service(new_service: NewService) -> Service:
    """A service with the settings as they come, no account and no files, and `clock` as its clock."""
    return new_service()
