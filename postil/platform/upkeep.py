"""What the supervisor does for the data folder once in a while: a daily copy, and an end to what nobody can use."""

import logging
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import delete, or_

from postil.errors import PostilError
from postil.platform.backups import backup_daily
from postil.platform.service import Service
from postil.platform.sign_ins import IDLE
from postil.platform.storage import LocalStorage
from postil.platform.tables import OneTimeLink, SignIn

# No upload takes this long.
LEFTOVER = timedelta(days=1)
_log = logging.getLogger(__name__)


def keep_up(service: Service) -> None:
    """Everything in turn; what fails is logged and tried again by the next call."""
    tasks: tuple[Callable[[Service], object], ...] = (backup_daily, forget_what_ran_out, sweep_storage)
    for task in tasks:
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


def sweep_storage(service: Service) -> int:
    """Deletes what writers that were killed have left; returns the bytes freed."""
    if not isinstance(service.storage, LocalStorage):
        return 0
    return service.storage.sweep((service.now() - LEFTOVER).timestamp())
