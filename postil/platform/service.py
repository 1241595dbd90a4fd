"""The service: settings, database, files and clock, as the one thing that every function of this room is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from postil.errors import CannotWriteError
from postil.operating_system import os_reason
from postil.platform.limits import Limits
from postil.platform.settings import ServiceSettings
from postil.platform.store.database import Database, open_database
from postil.platform.store.migrating import prepare_database
from postil.platform.store.secrets import make_secret_key
from postil.platform.store.storage import Storage, open_storage


def utc_now() -> datetime:
    """The time of day; read only through `Service.now`, so that tests can set it."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Service:
    """What stands behind one data folder.

    Args:
        now: the time of day in UTC; spans of time are measured with a monotonic clock instead.
        limits: how often things were tried in this process.
    """

    settings: ServiceSettings
    database: Database
    storage: Storage
    now: Callable[[], datetime] = utc_now
    limits: Limits = field(default_factory=Limits)


def open_service(settings: ServiceSettings) -> Service:
    """Makes the data folder where there is none, and opens everything in it.

    Raises:
        CannotWriteError: the data folder cannot be written.
        TryAgainError: the database does not answer, or its file was taken away.
        ConflictError, UnavailableError: see `prepare_database`.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWriteError("platform.data_dir", path=settings.data_dir, reason=os_reason(error)) from error
    prepare_database(settings.resolved_database_url)
    make_secret_key(settings.data_dir)
    return Service(settings, open_database(settings.resolved_database_url), open_storage(settings))
