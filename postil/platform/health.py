"""What an examination of the data folder finds: for `postil doctor`, while the service runs or not.

Nothing is changed, made or renewed here; a database that does not answer is a finding, not an error.
"""

import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from postil.data.files.landlock import landlock_version
from postil.errors import PostilError
from postil.platform.accounts.accounts import has_admin
from postil.platform.administration import look_at_health
from postil.platform.redaction import redact
from postil.platform.service import Service, utc_now
from postil.platform.settings import ServiceSettings
from postil.platform.store.backups import list_backups
from postil.platform.store.database import open_database
from postil.platform.store.database_health import check_file_system, check_sqlite
from postil.platform.store.migrating import HEAD, find_revision
from postil.platform.store.secrets import SECRET_KEY
from postil.platform.store.storage import open_storage

LOW_DISK_BYTES = 2_000_000_000
_OLD_BACKUP = timedelta(days=2)
# Landlock confines files from its first version on, and the network from this one.
_CONFINES_NETWORK = 4


@dataclass(frozen=True, slots=True)
class Symptom:
    """One finding.

    Args:
        part: what was looked at: "database", "storage", "secrets", "confinement", "backups", "admin", "supervisor".
        state: "wrong" keeps the service from working.
        key: of the sentence that says what was found.
        values: what that sentence names; without secrets.
    """

    part: str
    state: Literal["ok", "note", "wrong"]
    key: str
    values: dict[str, Any]


def examine(settings: ServiceSettings, *, reads_database: bool = True) -> list[Symptom]:
    """Looks at everything of a service; an empty list where there is no data folder yet.

    Args:
        reads_database: SQLite's whole file is read for damage, which takes its time; a page leaves it out.
    """
    if not settings.data_dir.is_dir():
        return []
    database = open_database(settings.resolved_database_url)
    try:
        service = Service(settings, database, open_storage(settings), utc_now)
        found = [_database(service, reads_database), _storage(settings), _secrets(settings), _confinement()]
        if found[0].state != "wrong":
            looks: tuple[Callable[[Service], Symptom], ...] = (_admin, _supervisor, _backups)
            found += [_safely(look, service) for look in looks]
    finally:
        database.engine.dispose()
    return found


def _safely(look: Callable[[Service], Symptom], service: Service) -> Symptom:
    try:
        return look(service)
    except PostilError as error:
        return _of_error(look.__name__.strip("_"), error)


def _of_error(part: str, error: PostilError) -> Symptom:
    text = redact(f"{error.message} {error.hint}")
    return Symptom(part, "wrong", "platform.health.error", {"text": text})


def _database(service: Service, reads_it: bool) -> Symptom:
    database = service.database
    where = redact(database.engine.url.render_as_string(hide_password=True))
    if database.file is not None and not database.file.exists():
        return Symptom("database", "note", "platform.health.no_database", {"where": where})
    try:
        if database.file is not None:
            check_file_system(database.file.parent)
            if reads_it:
                check_sqlite(database)
        revision = find_revision(database)
    except PostilError as error:
        return _of_error("database", error)
    values = {"where": where, "revision": revision or "-", "head": HEAD}
    if revision != HEAD:
        return Symptom("database", "note", "platform.health.old_database", values)
    was_read = reads_it and database.file is not None
    return Symptom("database", "ok", f"platform.health.database{'' if was_read else '_answers'}", values)


def _storage(settings: ServiceSettings) -> Symptom:
    free = shutil.disk_usage(settings.data_dir).free
    values = {"where": redact(settings.storage_url or str(settings.data_dir)), "free": f"{free / 1e9:.1f} GB"}
    if free < LOW_DISK_BYTES:
        return Symptom("storage", "note", "platform.health.low_disk", values)
    return Symptom("storage", "ok", "platform.health.storage", values)


def _secrets(settings: ServiceSettings) -> Symptom:
    """Whether others than the owner can read what is kept: the key, the database and the folder around them."""
    kept = [settings.data_dir, settings.data_dir / SECRET_KEY, settings.data_dir / "serving.json"]
    kept.append(settings.data_dir / "postil.db")
    open_ones = [path for path in kept if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_ones:
        return Symptom("secrets", "wrong", "platform.health.readable", {"names": ", ".join(map(str, open_ones))})
    return Symptom("secrets", "ok", "platform.health.secrets", {"path": settings.data_dir})


def _confinement() -> Symptom:
    version = landlock_version()
    if not version:
        return Symptom("confinement", "note", "platform.health.no_landlock", {})
    if version < _CONFINES_NETWORK:
        return Symptom("confinement", "note", "platform.health.old_landlock", {"version": version})
    return Symptom("confinement", "ok", "platform.health.landlock", {"version": version})


def _admin(service: Service) -> Symptom:
    if has_admin(service):
        return Symptom("admin", "ok", "platform.health.admin", {})
    return Symptom("admin", "note", "platform.health.no_admin", {"path": service.settings.data_dir})


def _supervisor(service: Service) -> Symptom:
    if look_at_health(service).supervisor:
        return Symptom("supervisor", "ok", "platform.health.supervisor", {})
    return Symptom("supervisor", "note", "platform.health.no_supervisor", {})


def _backups(service: Service) -> Symptom:
    if service.database.file is None:
        return Symptom("backups", "note", "platform.health.postgres_backups", {})
    kept = list_backups(service)
    if not kept:
        return Symptom("backups", "note", "platform.health.no_backup", {})
    values = {"path": _short(kept[-1]), "count": len(kept)}
    is_old = datetime.fromtimestamp(kept[-1].stat().st_mtime, UTC) < service.now() - _OLD_BACKUP
    return Symptom(
        "backups",
        "note" if is_old else "ok",
        "platform.health.old_backup" if is_old else "platform.health.backup",
        values,
    )


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
