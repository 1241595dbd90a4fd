"""What the supervisor does for the data folder once in a while: a daily copy, and an end to what nobody can use."""

import logging
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import delete, or_, select

from postil.errors import PostilError
from postil.platform.accounts.sign_ins import IDLE
from postil.platform.adapters.adapters import adapter_id_of, storage_key, sweep
from postil.platform.jobs.jobs import ENDED
from postil.platform.service import Service
from postil.platform.store.backups import backup_daily
from postil.platform.store.storage import LocalStorage
from postil.platform.store.tables import Job, Machine, OneTimeLink, SignIn

# No upload takes this long.
LEFTOVER = timedelta(days=1)
_log = logging.getLogger(__name__)


def keep_up(service: Service) -> None:
    """Everything in turn; what fails is logged and tried again by the next call."""
    for task in TASKS:
        try:
            task(service)
        except (PostilError, OSError) as error:
            _log.warning("%s: %s", task.__name__, error)


def forget_what_ran_out(service: Service) -> None:
    """Deletes sessions and one-time links that nobody can use any more."""
    now = service.now()
    with service.database.writing() as session:
        session.execute(delete(SignIn).where(or_(SignIn.expires_at <= now, SignIn.used_at <= now - IDLE)))
        session.execute(delete(OneTimeLink).where(OneTimeLink.expires_at <= now))


def empty_log(service: Service) -> None:
    """What was deleted since the last time leaves the database's log as well."""
    service.database.empty_log()


def sweep_storage(service: Service) -> int:
    """Deletes what writers that were killed have left; returns the bytes freed."""
    if not isinstance(service.storage, LocalStorage):
        return 0
    return service.storage.sweep((service.now() - LEFTOVER).timestamp())


def sweep_adapters(service: Service) -> int:
    """Deletes folders of adapters whose row a deletion has taken before it died; returns the bytes freed.

    A data folder that is looked at through another database knows none of its adapters: it is left alone.
    """
    keys = service.storage.children("adapters")  # before the rows are: what is published meanwhile is not among them
    mark = service.settings.data_dir / "runs" / ".database"
    with service.database.reading() as session:
        known = session.get(Machine, "database")
        alive = session.scalars(select(Job.id).where(Job.state.not_in(ENDED))).all()
    if known is None or not mark.exists() or mark.read_text("utf-8") != known.value["id"]:
        return 0
    being_published = {storage_key(adapter_id_of(job_id)) for job_id in alive}
    return sweep(service, [key for key in keys if key not in being_published])


TASKS: tuple[Callable[[Service], object], ...] = (
    backup_daily,
    forget_what_ran_out,
    sweep_storage,
    sweep_adapters,
    empty_log,
)
