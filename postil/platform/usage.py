"""What an account uses of this service: disk, rows, jobs and money, each with its limit."""

import shutil
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postil.errors import CannotWriteError, QuotaError
from postil.platform.jobs.jobs import ENDED
from postil.platform.money.bills import Balance, balance_of
from postil.platform.service import Service
from postil.platform.store.storage import in_megabytes
from postil.platform.store.tables import Adapter, Dataset, DatasetVersion, Job

LEAST_FREE_BYTES = 500 << 20
"""Under so much room on the disk no job starts: checkpoints and the adapter need it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account uses.

    Args:
        dataset_bytes: its originals.
        adapter_bytes: its own adapters.
        max_bytes: both may take together.
        rows: rows that can train, of the newest version of every data set.
        open_jobs: that wait or run, of at most `max_open_jobs`.
        balance: of this month.
    """

    dataset_bytes: int
    adapter_bytes: int
    max_bytes: int
    num_datasets: int
    num_adapters: int
    rows: int
    open_jobs: int
    max_open_jobs: int
    balance: Balance

    @property
    def used_bytes(self) -> int:
        """What counts against `max_bytes`."""
        return self.dataset_bytes + self.adapter_bytes


def get_usage(service: Service, account_id: str) -> Usage:
    """What the account page shows.

    Raises:
        MissingInputError: there is no such account.
    """
    with service.database.reading() as session:
        balance = balance_of(session, service, account_id)
        datasets = select(func.count(), func.coalesce(func.sum(Dataset.num_bytes), 0))
        num_datasets, dataset_bytes = session.execute(datasets.where(Dataset.account_id == account_id)).one()
        adapters = select(func.count(), func.coalesce(func.sum(Adapter.num_bytes), 0))
        num_adapters, adapter_bytes = session.execute(adapters.where(Adapter.account_id == account_id)).one()
        newest = (DatasetVersion.dataset_id == Dataset.id) & (DatasetVersion.number == Dataset.current_version)
        rows = select(func.coalesce(func.sum(DatasetVersion.rows), 0)).join(Dataset, newest)
        return Usage(
            dataset_bytes=int(dataset_bytes),
            adapter_bytes=int(adapter_bytes),
            max_bytes=service.settings.max_account_bytes,
            num_datasets=int(num_datasets),
            num_adapters=int(num_adapters),
            rows=int(session.execute(rows.where(Dataset.account_id == account_id)).scalar_one()),
            open_jobs=count_open_jobs(session, account_id),
            max_open_jobs=service.settings.max_queued_jobs,
            balance=balance,
        )


def count_open_jobs(session: Session, account_id: str) -> int:
    """Jobs of the account that wait or run."""
    query = select(func.count()).select_from(Job).where(Job.account_id == account_id, Job.state.not_in(ENDED))
    return int(session.execute(query).scalar_one())


def used_bytes(session: Session, account_id: str) -> int:
    """What the account's originals and adapters take."""
    datasets = select(func.coalesce(func.sum(Dataset.num_bytes), 0)).where(Dataset.account_id == account_id)
    adapters = select(func.coalesce(func.sum(Adapter.num_bytes), 0)).where(Adapter.account_id == account_id)
    return int(session.execute(datasets).scalar_one()) + int(session.execute(adapters).scalar_one())


def refuse_full_account(session: Session, service: Service, account_id: str) -> None:
    """Sees to it that the account has room for another adapter.

    Raises:
        QuotaError: its files take all that they may.
    """
    used, most = used_bytes(session, account_id), service.settings.max_account_bytes
    if used >= most:
        raise QuotaError("platform.usage.account_full", used=in_megabytes(used), most=in_megabytes(most))


def refuse_full_disk(service: Service) -> None:
    """Sees to it that a run can write.

    Raises:
        CannotWriteError: the disk of the data folder is nearly full.
    """
    free = shutil.disk_usage(service.settings.data_dir).free
    if free < LEAST_FREE_BYTES:
        raise CannotWriteError(
            "platform.usage.disk_full", free=in_megabytes(free), needed=in_megabytes(LEAST_FREE_BYTES)
        )
