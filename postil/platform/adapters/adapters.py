"""The library of adapters: published whole, listed, renamed, deleted for good.

An adapter is named after its job (`job_x` makes `ad_x`), so that publishing twice can only ever make the same one. Its
folder goes into the storage first, whole, and its row into the database in the transaction that ends the job: a reader
sees both or neither, and a folder without a row is deleted by `sweep`.

Beside this file: `adapter_checks` (what a folder must be), `adapter_views` (who sees what of it), `adapter_names`,
`adapter_sharing`, `adapter_aliases` and `adapter_downloads`.
Importing a folder that was made elsewhere will stand beside `publish`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from postil.errors import ConflictError
from postil.models.manifest import AdapterManifest
from postil.platform.adapters.checks import check_adapter_folder
from postil.platform.adapters.names import check_name, fit_name
from postil.platform.adapters.views import AdapterView, may_use, own_row, usable_row, views
from postil.platform.money.ledger import lock_account
from postil.platform.service import Service
from postil.platform.store.storage import Stored
from postil.platform.store.tables import Adapter, AdapterAlias, Job

SERVED = timedelta(minutes=10)
"""An adapter that has answered since then counts as in use."""
_NOTE_EVERY = timedelta(minutes=1)


def adapter_id_of(job_id: str) -> str:
    """The identifier of the adapter that a job makes."""
    return "ad_" + job_id.partition("_")[2]


def storage_key(adapter_id: str) -> str:
    """Where an adapter's folder lies in the storage."""
    return f"adapters/{adapter_id}"


def store(service: Service, job_id: str, folder: Path) -> Stored:
    """Copies a finished adapter's folder into the storage, outside of any transaction, since it takes its time.

    Doing it again replaces it. Until `publish` has run nobody sees it.

    Raises:
        DataError, MissingInputError: the folder is not a whole adapter.
        CannotWriteError: the disk is full or read-only.
    """
    check_adapter_folder(folder)
    return service.storage.write_folder(storage_key(adapter_id_of(job_id)), folder)


def publish(session: Session, service: Service, job: Job, folder: Path, stored: Stored | None = None) -> str:
    """Puts the adapter of a job into its account's library; a second call changes nothing.

    Args:
        folder: as the run has left it: `adapter/` of the run's folder.
        stored: what `store` gave; None stores it here and now.

    Returns:
        The adapter's identifier.

    Raises:
        DataError, MissingInputError: the folder is not a whole adapter.
        CannotWriteError: the disk is full or read-only.
    """
    adapter_id = adapter_id_of(job.id)
    if session.get(Adapter, adapter_id) is not None:
        return adapter_id
    manifest = check_adapter_folder(folder)
    stored = stored or store(service, job.id, folder)
    lock_account(session, job.account_id)  # names are given one at a time
    taken = set(session.scalars(select(Adapter.name).where(Adapter.account_id == job.account_id)))
    row = Adapter(
        id=adapter_id,
        account_id=job.account_id,
        job_id=job.id,
        name=fit_name(job.name, taken),
        base=job.base,
        storage_key=stored.key,
        num_bytes=stored.num_bytes,
        verdict=str(manifest.metrics.get("verdict", "cannot_tell")),
        manifest=asdict(manifest),
        lineage=_lineage(job, manifest, stored),
        created_at=service.now(),
    )
    session.add(row)
    session.flush()
    return adapter_id


def _lineage(job: Job, manifest: AdapterManifest, stored: Stored) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "job_name": job.name,
        "dataset_id": job.dataset_id,
        "dataset_version": job.dataset_version,
        "data_hash": manifest.data_hash,
        "settings": job.spec.get("settings", {}),
        "preset": job.spec.get("preset"),
        "folder_sha256": stored.sha256,
    }


def list_adapters(
    service: Service,
    account_id: str,
    *,
    limit: int = 50,
    after: str | None = None,
    base: str | None = None,
    verdict: str | None = None,
    is_own: bool | None = None,
    words: str = "",
) -> tuple[AdapterView, ...]:
    """The account's own adapters and those shared with it, newest first.

    Args:
        after: the adapter that ended the page before.
        base, verdict: only of this base, and with this result.
        is_own: only own ones, or only shared ones.
        words: part of the name.

    Raises:
        MissingInputError: `after` is no adapter that the account may see.
    """
    query = select(Adapter).where(may_use(account_id)).order_by(Adapter.created_at.desc(), Adapter.id.desc())
    if base is not None:
        query = query.where(Adapter.base == base)
    if verdict is not None:
        query = query.where(Adapter.verdict == verdict)
    if is_own is not None:
        query = query.where(Adapter.account_id == account_id if is_own else Adapter.account_id != account_id)
    if words:
        query = query.where(Adapter.name.icontains(words, autoescape=True))
    with service.database.reading() as session:
        if after is not None:
            last = usable_row(session, account_id, after)
            older = and_(Adapter.created_at == last.created_at, Adapter.id < last.id)
            query = query.where(or_(Adapter.created_at < last.created_at, older))
        return views(session, account_id, session.scalars(query.limit(limit)).all())


def bases_of_adapters(service: Service, account_id: str) -> tuple[str, ...]:
    """The bases of all adapters that the account may use, by name."""
    with service.database.reading() as session:
        return tuple(session.scalars(select(Adapter.base).where(may_use(account_id)).distinct().order_by(Adapter.base)))


def get_adapter(service: Service, account_id: str, adapter_id: str) -> AdapterView:
    """One adapter that the account may use.

    Raises:
        MissingInputError: there is none, or it is somebody else's.
    """
    with service.database.reading() as session:
        return views(session, account_id, [usable_row(session, account_id, adapter_id)])[0]


def rename_adapter(service: Service, account_id: str, adapter_id: str, name: str) -> AdapterView:
    """Gives an own adapter another name; names in use by requests to /v1 go on to work.

    Raises:
        MissingInputError: there is none, or it is not the account's own.
        UsageError: the name is empty, too long or has control characters.
        ConflictError: another adapter or an alias of the account has the name.
    """
    kept = check_name(name)
    with service.database.writing() as session:
        lock_account(session, account_id)
        row = own_row(session, account_id, adapter_id)
        same = select(Adapter.id).where(Adapter.account_id == account_id, Adapter.name == kept, Adapter.id != row.id)
        if session.scalar(same) is not None or session.get(AdapterAlias, (account_id, kept)) is not None:
            raise ConflictError("platform.names.in_use", name=kept)
        row.name = kept
        session.flush()
        return views(session, account_id, [row])[0]


def delete_adapter(service: Service, account_id: str, adapter_id: str, *, force: bool = False) -> int:
    """Deletes an own adapter: row, shares, aliases and files.

    Args:
        force: also while an alias points at it or it has answered within ten minutes.

    Returns:
        Bytes freed.

    Raises:
        MissingInputError: there is none, or it is not the account's own.
        ConflictError: it is in use.
    """
    with service.database.writing() as session:
        row = own_row(session, account_id, adapter_id)
        if not force:
            _refuse_in_use(session, service, row)
        key = row.storage_key
        session.delete(row)
    return service.storage.delete(key)  # last: a crash between leaves a folder that `sweep` finds, never a broken row


def _refuse_in_use(session: Session, service: Service, row: Adapter) -> None:
    aliases = session.scalars(select(AdapterAlias.name).where(AdapterAlias.adapter_id == row.id)).all()
    if aliases:
        raise ConflictError("platform.adapters.has_alias", name=row.name, aliases=", ".join(sorted(aliases)))
    if row.used_at is not None and abs(service.now() - row.used_at) < SERVED:
        raise ConflictError("platform.adapters.in_use", name=row.name, minutes=SERVED.seconds // 60)


def sweep(service: Service, keys: Sequence[str]) -> int:
    """Deletes folders of adapters that have no row: what a crash has left between the two.

    Args:
        keys: that the storage holds below "adapters/"; not those of jobs that are being published.

    Returns:
        Bytes freed.
    """
    with service.database.reading() as session:
        known = set(session.scalars(select(Adapter.storage_key).where(Adapter.storage_key.in_(keys))))
    return sum(service.storage.delete(key) for key in keys if key not in known)


@contextmanager
def adapter_folder(service: Service, account_id: str, adapter_id: str) -> Iterator[Path]:
    """An adapter's folder, to read only, while the context is open.

    Raises:
        MissingInputError: there is none that the account may use, or its files are gone.
    """
    with service.database.reading() as session:
        key = usable_row(session, account_id, adapter_id).storage_key
    with service.storage.local_path(key) as path:
        yield path


def note_used(service: Service, adapter_id: str) -> None:
    """Keeps that an adapter has just answered; written once a minute at most."""
    now = service.now()
    recent = select(Adapter.id).where(Adapter.id == adapter_id, Adapter.used_at > now - _NOTE_EVERY)
    with service.database.reading() as session:
        if session.scalar(recent) is not None:
            return
    with service.database.writing() as session:
        session.execute(update(Adapter).where(Adapter.id == adapter_id).values(used_at=now))
