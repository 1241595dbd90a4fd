"""Revisions: they make the tables of `tables.py` on both databases, from anything older, and lose nothing (F10)."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Inspector, inspect, text

from postil.errors import ConflictError, TryAgainError, UnavailableError
from postil.platform.accounts.accounts import create_account, get_account_by_name
from postil.platform.service import open_service
from postil.platform.settings import load_settings
from postil.platform.store import database_health, migrating
from postil.platform.store.backups import list_backups
from postil.platform.store.database import Database, open_database
from postil.platform.store.migrating import FOLDER, HEAD, alembic_config, is_current, migrate
from postil.platform.store.sqlite import driver as sqlite
from postil.platform.store.tables import Table
from tests.platform.conftest import DATABASES, PASSWORD, close, new_database


@contextmanager
def empty_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The address of a database without tables."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/postil.db"
    else:
        with new_database(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture
def url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    with empty_database(database_kind, request, tmp_path) as address:
        yield address


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Its connections are let go afterwards."""
    database = open_database(url)
    yield database
    database.engine.dispose()


def run_to(url: str, revision: str) -> None:
    """Migrates to a revision, as an older Postil has done; makes the file."""
    database = open_database(url, creates=True, keeps_references=False)
    with database.writing() as session:
        command.upgrade(alembic_config(session.connection()), revision)
    database.engine.dispose()


def test_the_newest_revision_is_the_one_that_is_named() -> None:
    assert ScriptDirectory(str(FOLDER)).get_heads() == [HEAD]


def test_revisions_make_the_tables_that_are_declared(url: str) -> None:
    assert migrate(url) is None
    with opened(url) as database, database.reading() as session:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(session.connection(), opts=options)
        differences = compare_metadata(context, Table.metadata)
    assert differences == [], "after a change of tables.py: python -m tools.migration --baseline"


KINDS = {"VARCHAR": "text", "BIGINT": "integer", "INTEGER": "integer", "DOUBLE PRECISION": "float", "FLOAT": "float"}
KINDS |= {"TIMESTAMP": "time", "DATETIME": "time", "JSON": "json", "BOOLEAN": "boolean", "TEXT": "text"}


def described(inspector: Inspector) -> dict[str, Any]:
    """Tables, columns, keys and indexes, in words that both databases share."""
    tables: dict[str, Any] = {}
    for table in sorted(inspector.get_table_names()):
        columns = {
            column["name"]: (KINDS[str(column["type"]).partition("(")[0]], column["nullable"])
            for column in inspector.get_columns(table)
        }
        tables[table] = {
            "columns": columns,
            "primary": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(found["column_names"] for found in inspector.get_unique_constraints(table)),
            "foreign": sorted(
                (f["constrained_columns"], f["referred_table"], f["referred_columns"], f["options"]["ondelete"])
                for f in inspector.get_foreign_keys(table)
            ),
            "indexes": sorted(
                (i["name"], i["column_names"], bool(i["unique"]))
                for i in inspector.get_indexes(table)
                if not i.get("duplicates_constraint")
            ),
        }
    return tables


def test_both_databases_have_the_same_tables(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found = []
    for kind in DATABASES:
        with empty_database(kind, request, tmp_path) as url:
            migrate(url)
            with opened(url) as database:
                found.append(described(inspect(database.engine)))
    assert found[0] == found[1]
    assert len(found[0]) == len(Table.metadata.tables) + 1


def test_a_second_migration_changes_nothing(url: str) -> None:
    migrate(url)
    assert migrate(url) == HEAD
    assert is_current(url)


def test_two_that_start_at_once_make_one_database(url: str) -> None:
    if url.startswith("sqlite"):
        run_to(url, "base")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(migrate, [url, url]))
    assert is_current(url) and None in results


def test_a_revision_that_fails_leaves_what_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "_refuse_lost_references", lambda connection: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        migrate(url)
    with opened(url) as database:
        assert inspect(database.engine).get_table_names() == []


@pytest.mark.parametrize("revision", [s.revision for s in ScriptDirectory(str(FOLDER)).walk_revisions()])
def test_every_released_revision_goes_up(url: str, revision: str) -> None:
    run_to(url, revision)
    migrate(url)
    assert is_current(url)


def test_a_database_of_a_newer_postil_is_refused(url: str) -> None:
    migrate(url)
    with opened(url) as database, database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for call in (migrate, migrating.prepare_database):
        with pytest.raises(ConflictError, match="newer Postil"):
            call(url)


def test_tables_of_somebody_else_are_refused(url: str) -> None:
    if url.startswith("sqlite"):
        run_to(url, "base")
    with opened(url) as database, database.writing() as session:
        session.execute(text("DROP TABLE IF EXISTS alembic_version"))
        session.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(ConflictError, match="not Postil's"):
        migrate(url)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_an_older_sqlite_file_is_copied_first_and_then_renewed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the next release will do; its revision is made up here."""
    service = open_service(load_settings(tmp_path))
    create_account(service, "ann", PASSWORD)
    close(service)
    migrations = tmp_path / "migrations"
    _next_release(migrations)
    monkeypatch.setattr(migrating, "FOLDER", migrations)
    monkeypatch.setattr(migrating, "HEAD", "9999")

    service = open_service(load_settings(tmp_path))
    assert get_account_by_name(service, "ann").name == "ann"
    with service.database.reading() as session:
        assert session.execute(text("SELECT note FROM machine")).all() == []
    close(service)
    copies = list((tmp_path / "backups").iterdir())
    assert len(copies) == 1 and list_backups(service) == []
    with sqlite.connect(copies[0]) as copy:
        assert copy.execute("SELECT name FROM accounts").fetchall() == [("ann",)]
        assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_an_older_postgresql_waits_for_postil_migrate(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(url)
    _next_release(tmp_path / "migrations")
    monkeypatch.setattr(migrating, "FOLDER", tmp_path / "migrations")
    monkeypatch.setattr(migrating, "HEAD", "9999")
    with pytest.raises(ConflictError, match="postil migrate"):
        open_service(load_settings(tmp_path, {"database_url": url}))
    assert migrate(url) == HEAD
    close(open_service(load_settings(tmp_path, {"database_url": url})))


def _next_release(folder: Path) -> None:
    """A copy of our revisions with one more."""
    (folder / "versions").mkdir(parents=True)
    for path in (FOLDER / "env.py", *(FOLDER / "versions").glob("*.py")):
        (folder / path.relative_to(FOLDER)).write_text(path.read_text("utf-8"), "utf-8")
    (folder / "versions" / "9999_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '9999', {HEAD!r}\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('machine') as table:\n"
        "        table.add_column(sa.Column('note', sa.String(10)))\n"
        "    with op.batch_alter_table('accounts') as table:\n"
        "        table.alter_column('name', type_=sa.String(300))\n",
        "utf-8",
    )


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    close(open_service(load_settings(tmp_path / "data")))
    assert stat.S_IMODE((tmp_path / "data" / "postil.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_database_that_was_taken_away_is_not_made_anew(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    close(open_service(settings))
    os.rename(tmp_path / "postil.db", tmp_path / "away.db")
    with pytest.raises(TryAgainError, match="not where it was"):
        open_service(settings)
    os.rename(tmp_path / "away.db", tmp_path / "postil.db")
    close(open_service(settings))


def test_a_damaged_file_is_told_at_the_start(tmp_path: Path) -> None:
    close(open_service(load_settings(tmp_path)))
    file = tmp_path / "postil.db"
    content = bytearray(file.read_bytes())
    content[5000:30000] = b"\xff" * 25000
    file.write_bytes(content)
    with pytest.raises(UnavailableError, match="damaged"):
        open_service(load_settings(tmp_path))


def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [(Path("/"), "ext4"), (tmp_path.parent, "ext4"), (tmp_path, "nfs4"), (tmp_path / "local", "tmpfs")]
    monkeypatch.setattr(database_health, "_mounts", lambda: mounts)
    with pytest.raises(UnavailableError, match="network file system"):
        open_service(load_settings(tmp_path / "data"))
    close(open_service(load_settings(tmp_path / "local")))
    monkeypatch.undo()
    assert database_health.find_file_system(Path("/proc")) == "proc"


def test_a_revision_is_found_without_alembic() -> None:
    """Starting a process should not read every revision."""
    code = "import postil.platform.service, sys; print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
