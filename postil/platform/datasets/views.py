"""What an account sees of its data sets and their versions, and the one way in which a row of theirs is fetched."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from postil.data.purposes import Evidence
from postil.errors import ConflictError, DataError, MissingInputError, TryAgainError
from postil.platform.datasets.names import check_dataset_name
from postil.platform.datasets.options import DatasetOptions
from postil.platform.ids import is_id
from postil.platform.service import Service
from postil.platform.store.tables import Dataset, DatasetVersion, Job
from postil.platform.stored_errors import StoredError

RETRY_SECONDS = 2.0
"""After so long a check is worth asking for again."""


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A data set as its owner sees it.

    Args:
        error: why it is unreadable.
        version: the newest one's number; 0 before the upload is complete.
        num_edits: of the newest version.
        rows: rows of the newest version that can train; 0 before its check.
        summary: of the newest version's check: counts, how columns were read, profile and examples, as
            `postil.data.examination` gives them; None before.
    """

    id: str
    name: str
    file_name: str
    state: str
    num_bytes: int
    sha256: str
    error: StoredError | None
    version: int
    num_edits: int
    rows: int
    options: DatasetOptions
    summary: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime

    @property
    def kind(self) -> str | None:
        """What the data are for: as the user says, else as was found; None before the check, or where no row trains."""
        return self.options.kind or found_kind(self.summary)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Why the kind was found."""
        profile = (self.summary or {}).get("profile") or {}
        return tuple(Evidence(e["key"], e["values"]) for e in profile.get("evidence", ()))


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version.

    Args:
        what: what made it: "upload", "fixes", "cell", "leave_out", "add", "options" or "undo".
        undoes: the version that it goes back to.
        is_checked: its report is there; versions that were changed again at once have none.
        changes: how many edits it adds, by the code of the problem that caused them; empty before its check.
        jobs: that trained, or will train, on it.
    """

    number: int
    what: str
    undoes: int | None
    num_edits: int
    rows: int
    options: DatasetOptions
    is_checked: bool
    changes: Mapping[str, int]
    jobs: tuple[str, ...]
    created_at: datetime


def list_datasets(
    service: Service, account_id: str, *, limit: int = 50, after: str | None = None, state: str | None = None
) -> tuple[DatasetView, ...]:
    """The account's data sets, the newest first.

    Args:
        after: the last one of the page before.
        state: only those in this state.
    """
    with service.database.reading() as session:
        query = select(Dataset).where(Dataset.account_id == account_id, Dataset.state != "deleting")
        if state is not None:
            query = query.where(Dataset.state == state)
        if after is not None and is_id(after, "ds"):
            last = own_dataset(session, account_id, after)
            query = query.where(tuple_(Dataset.created_at, Dataset.id) < (last.created_at, last.id))
        rows = session.scalars(query.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(limit)).all()
        return tuple(view_of(session, row) for row in rows)


def dataset_names(service: Service, account_id: str, dataset_ids: Iterable[str]) -> dict[str, str]:
    """Identifier -> name of those data sets that the account has."""
    found = select(Dataset.id, Dataset.name).where(Dataset.account_id == account_id, Dataset.state != "deleting")
    with service.database.reading() as session:
        rows = session.execute(found.where(Dataset.id.in_(list(dataset_ids))))
        return {row.id: row.name for row in rows}


def get_dataset(service: Service, account_id: str, dataset_id: str) -> DatasetView:
    """One data set.

    Raises:
        MissingInputError: the account has none of this identifier.
    """
    with service.database.reading() as session:
        return view_of(session, own_dataset(session, account_id, dataset_id))


def find_same_file(service: Service, account_id: str, view: DatasetView) -> tuple[str, str] | None:
    """Identifier and name of another data set of the account whose file is the same, byte for byte; the newest one."""
    query = (
        select(Dataset.id, Dataset.name)
        .where(Dataset.account_id == account_id, Dataset.sha256 == view.sha256, Dataset.id != view.id)
        .where(Dataset.state != "deleting")
        .order_by(Dataset.created_at.desc(), Dataset.id.desc())
    )
    with service.database.reading() as session:
        found = session.execute(query.limit(1)).first() if view.sha256 else None
    return None if found is None else (found.id, found.name)


def rename_dataset(service: Service, account_id: str, dataset_id: str, name: str) -> DatasetView:
    """Gives it another name; the file keeps its own.

    Raises:
        UsageError: no such name is taken.
        MissingInputError: the account has none of this identifier.
    """
    name = check_dataset_name(name)
    with service.database.writing() as session:
        row = own_dataset(session, account_id, dataset_id)
        row.name, row.updated_at = name, service.now()
        return view_of(session, row)


def list_versions(service: Service, account_id: str, dataset_id: str) -> tuple[VersionView, ...]:
    """Every version, the newest first, with the jobs that name it."""
    with service.database.reading() as session:
        own_dataset(session, account_id, dataset_id)
        jobs: dict[int, list[str]] = {}
        found = select(Job.dataset_version, Job.id).where(Job.dataset_id == dataset_id, Job.account_id == account_id)
        for number, job_id in session.execute(found.order_by(Job.created_at)):
            jobs.setdefault(number, []).append(job_id)
        version = DatasetVersion
        # not the edits themselves, nor the summary: there may be a hundred thousand
        columns = (version.number, version.what, version.undoes, version.num_edits, version.rows, version.options)
        changes = version.summary["changes"].label("changes")
        query = select(*columns, changes, version.report_key, version.created_at)
        query = query.where(version.dataset_id == dataset_id)
        return tuple(
            VersionView(
                number=row.number,
                what=row.what,
                undoes=row.undoes,
                num_edits=row.num_edits,
                rows=row.rows,
                options=DatasetOptions.from_dict(row.options),
                is_checked=row.report_key is not None,
                changes=(row.changes or {}) if row.undoes is None else {},
                jobs=tuple(jobs.get(row.number, ())),
                created_at=row.created_at,
            )
            for row in session.execute(query.order_by(version.number.desc()))
        )


def own_dataset(session: Session, account_id: str, dataset_id: str) -> Dataset:
    """The row of a data set of this account.

    Raises:
        MissingInputError: there is none, or it is somebody else's.
    """
    row = None
    if is_id(dataset_id, "ds"):
        query = select(Dataset).where(Dataset.id == dataset_id, Dataset.account_id == account_id)
        row = session.scalar(query.where(Dataset.state != "deleting"))
    if row is None:
        raise MissingInputError("platform.datasets.missing")
    return row


def get_version(session: Session, dataset: Dataset, number: int | None = None) -> DatasetVersion:
    """A version of it; None is the newest.

    Raises:
        MissingInputError: it has no such version; none at all while it is uploaded.
    """
    row = session.get(DatasetVersion, (dataset.id, dataset.current_version if number is None else number))
    if row is None:
        raise MissingInputError("platform.datasets.no_version", number=number or dataset.current_version)
    return row


def checked_version(dataset: Dataset, version: DatasetVersion) -> Mapping[str, Any]:
    """The summary of a version that has been checked.

    Raises:
        TryAgainError: its check is not done yet.
        ConflictError: it was changed again before it was checked.
        DataError: it cannot be read.
    """
    if version.summary is not None and version.report_key is not None:
        return version.summary
    if version.number != dataset.current_version:
        raise ConflictError("platform.datasets.never_checked", number=version.number)
    if dataset.error is not None:
        error = StoredError.from_dict(dataset.error)
        raise DataError("platform.datasets.unreadable", name=dataset.name, reason=error.message, advice=error.hint)
    raise TryAgainError("platform.datasets.being_checked", name=dataset.name, retry_after_seconds=RETRY_SECONDS)


def found_kind(summary: Mapping[str, Any] | None) -> str | None:
    """What the check found the data to be for."""
    profile = (summary or {}).get("profile")
    return None if profile is None else str(profile["found_purpose"])


def view_of(session: Session, row: Dataset) -> DatasetView:
    """The row as its owner sees it."""
    version = session.get(DatasetVersion, (row.id, row.current_version)) if row.current_version else None
    return DatasetView(
        id=row.id,
        name=row.name,
        file_name=row.file_name,
        state=row.state,
        num_bytes=row.num_bytes,
        sha256=row.sha256,
        error=StoredError.from_dict(row.error) if row.error else None,
        version=row.current_version,
        num_edits=version.num_edits if version else 0,
        rows=version.rows if version else 0,
        options=DatasetOptions.from_dict(row.options),
        summary=version.summary if version else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
