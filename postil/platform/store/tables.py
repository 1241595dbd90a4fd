"""Every table, in the order in which a user meets them. `migrations/` makes them; the two are held equal by a test.
Until the first release a change here is followed by `python -m tools.migration --baseline`.

    accounts ──┬── sessions, one_time_links, api_keys
               ├── datasets ── dataset_versions
               ├── jobs ── attempts
               ├── adapters ── adapter_shares, adapter_aliases
               ├── trials ── trial_answers
               └── ledger
    bases (of everybody)

Every row that belongs to somebody carries `account_id`, and every query names it: ownership is part of the question,
not of the answer. Amounts are integers, millionths of the currency; times are UTC.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from postil.platform.store.table_root import Table, UtcTime, owner


class Account(Table):
    """Somebody who signs in. `name` is a user name or an e-mail address, compared by `name_key` (casefolded, NFKC).

    Args:
        role: "user" or "admin".
        language: "zh" or "en"; None follows the browser.
        monthly_cap_micro, job_cap_micro: None takes the settings' value.
        hold_reason: why no job may start, "" where nothing holds it.
        deleting_at: its deletion has begun and cannot be taken back.
        recent_use_seconds: what its runs have taken, older use counting less and less; as of `recent_use_at`.
    """

    __tablename__ = "accounts"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    language: Mapped[str | None]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    deleting_at: Mapped[datetime | None]
    monthly_cap_micro: Mapped[int | None]
    job_cap_micro: Mapped[int | None]
    balance_limit_micro: Mapped[int | None]
    hold_reason: Mapped[str] = mapped_column(default="")
    recent_use_seconds: Mapped[float] = mapped_column(Float(), default=0.0)
    recent_use_at: Mapped[datetime | None]


class SignIn(Table):
    """A session of a browser; the cookie's value is kept as its SHA-256 only."""

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    client: Mapped[str] = mapped_column(default="")


class OneTimeLink(Table):
    """A link that sets a password once: after a reset, or for the first admin (`account_id` None)."""

    __tablename__ = "one_time_links"
    token_hash: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiKey(Table):
    """A key `pk_<id>_<secret>`; the secret is shown once and kept as its SHA-256.

    Args:
        scopes: of "read", "train", "chat"; joined by blanks.
    """

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    name: Mapped[str]
    secret_hash: Mapped[str]
    scopes: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Dataset(Table):
    """An uploaded file. The original (`original_key` in the storage, `sha256`) never changes.

    Args:
        file_name: as the user's machine calls it; shown, never used as a path.
        state: "uploading", "validating", "ready", "needs_attention" or "unreadable"; "deleting" is shown to nobody.
        options: how it is to be read: encoding, map, single_turn, kind, as the user has changed them.
        current_version: the newest version's number; 0 before the first check.
    """

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    name: Mapped[str]
    file_name: Mapped[str] = mapped_column(String(1024))
    original_key: Mapped[str]
    sha256: Mapped[str]
    num_bytes: Mapped[int]
    state: Mapped[str]
    error: Mapped[dict[str, Any] | None]
    options: Mapped[dict[str, Any]]
    current_version: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DatasetVersion(Table):
    """One state of the edits over the original: numbered, never changed once checked; undo makes another.

    Args:
        what: "upload", "fixes", "cell", "leave_out", "add", "options" or "undo".
        overlay: "edits", those that this version adds to the ones before it, and "fixes", codes of problems whose
            fixes the check is still to add to them.
        num_edits: of all of them together.
        options: how this version reads the file.
        summary: the report without its problems, the profile, and the examples; small enough for a list.
        report_key: in the storage, where the report with every problem, the edits and the tokens of each row lie.
        undoes: the number of the version that this one goes back to; None for an edit.
        rows: rows that can train.
    """

    __tablename__ = "dataset_versions"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    what: Mapped[str]
    overlay: Mapped[dict[str, Any]]
    num_edits: Mapped[int] = mapped_column(default=0)
    options: Mapped[dict[str, Any]]
    summary: Mapped[dict[str, Any] | None]
    report_key: Mapped[str | None]
    undoes: Mapped[int | None]
    rows: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]


class BaseModelEntry(Table):
    """A base that may be trained here: the catalog's, and what an admin has allowed.

    Args:
        name: "starter", a hub id, or the name of a local folder.
        source: "package", "hf", "modelscope" or "folder".
        state: "absent", "waiting", "downloading", "ready" or "failed".
    """

    __tablename__ = "bases"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    revision: Mapped[str | None]
    path: Mapped[str | None] = mapped_column(String(4096))
    state: Mapped[str]
    is_allowed: Mapped[bool]
    num_bytes: Mapped[int] = mapped_column(default=0)
    done_bytes: Mapped[int] = mapped_column(default=0)
    error: Mapped[dict[str, Any] | None]
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Job(Table):
    """One request for training; `jobs.py` draws its states.

    Args:
        spec: what is trained and how: dataset, version, base, settings (dotted), preset, kind.
        state: see `jobs.STATES`.
        attempt: how often a run was started for it; part of every change of state, so that an old run cannot speak.
        wish: "" or what the user asked for while it runs: "pause" or "cancel".
        not_before: a retry waits until then.
        failures: those of the run's own since the last checkpoint that went further.
        retries: waits after a machine's failures since then.
        progress: what the last event said, for lists: phase, percent, seconds left, loss.
        estimate, actual: said before, seen afterwards.
        error: code, message values and hint of why it ended.
        last_checkpoint_step: the furthest; progress past it renews the budget of retries.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queue", "state", "account_id", "priority", "queued_at"),
        Index("ix_jobs_of_account", "account_id", "created_at"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    name: Mapped[str]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    dataset_version: Mapped[int]
    base: Mapped[str]
    spec: Mapped[dict[str, Any]]
    state: Mapped[str]
    attempt: Mapped[int] = mapped_column(default=0)
    wish: Mapped[str] = mapped_column(default="")
    priority: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    retries: Mapped[int] = mapped_column(default=0)
    failed_step: Mapped[int | None]
    last_checkpoint_step: Mapped[int] = mapped_column(default=0)
    slot: Mapped[str | None]
    progress: Mapped[dict[str, Any]]
    estimate: Mapped[dict[str, Any] | None]
    actual: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]


class Attempt(Table):
    """One run that was started for a job, and how it ended."""

    __tablename__ = "attempts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    pid: Mapped[int | None]
    slot: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    cause: Mapped[str] = mapped_column(default="")


class Adapter(Table):
    """A trained adapter, published whole.

    Args:
        storage_key: its folder in the storage.
        manifest: as `postil.json` in the folder says.
        verdict: "better", "same", "worse" or "cannot_tell".
        lineage: job, dataset, version, sha256 of the data, settings.
    """

    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("account_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), unique=True)
    name: Mapped[str]
    base: Mapped[str]
    storage_key: Mapped[str]
    num_bytes: Mapped[int]
    verdict: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    lineage: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class AdapterShare(Table):
    """An adapter that another account may use and not change; its data are never shared."""

    __tablename__ = "adapter_shares"
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, index=True)
    created_at: Mapped[datetime]


class AdapterAlias(Table):
    """A name such as "shop-bot@prod" that points at an adapter and can be turned back at once.

    Args:
        previous_id: where it pointed before.
    """

    __tablename__ = "adapter_aliases"
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    previous_id: Mapped[str | None]
    updated_at: Mapped[datetime]


class Trial(Table):
    """A question that somebody has asked on an adapter's page, to see how base and tuned answer it.

    Args:
        follows: the trial whose conversation it goes on.
        is_blind: who wrote which answer is shown after the vote only.
        options: temperature, top_p, max_tokens and seed, the same for every answer.
        vote: the side whose answer was liked best, "same", or "" before it was said.
        correction: the answer that it should have had; a row of version `corrected_version` of the data.
    """

    __tablename__ = "trials"
    __table_args__ = (Index("ix_trials_of_adapter", "adapter_id", "account_id", "created_at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    follows: Mapped[str | None] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), index=True)
    question: Mapped[str] = mapped_column(Text())
    is_blind: Mapped[bool]
    options: Mapped[dict[str, Any]]
    vote: Mapped[str] = mapped_column(default="")
    correction: Mapped[str | None] = mapped_column(Text())
    corrected_version: Mapped[int | None]
    created_at: Mapped[datetime]


class TrialAnswer(Table):
    """One answer of a trial, kept once it has ended.

    Args:
        place: from the left; mixed up by chance where the trial is blind.
        side: "base", "tuned", or "other" for another adapter on the same base.
        adapter_id: who answers; None for the base.
        ended: "" before, then "stop", "length", or "broken" where it was stopped or broke off.
    """

    __tablename__ = "trial_answers"
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[str] = owner()
    side: Mapped[str]
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(Text(), default="")
    ended: Mapped[str] = mapped_column(default="")


class LedgerEntry(Table):
    """One line of the bill; lines are added and never changed. `account_id` outlives the account, as a bare id.

    Args:
        kind: "estimate", "reserve", "settle", "release" or "refund".
        amount_micro: what it changes in what the account owes; a reserve is positive and its release negative.
        tokens, free_rows: what the amount was computed from, with `rate_micro` (per 1000 tokens) and `details`.
        month: "2026-11", the month whose free rows it uses.
    """

    __tablename__ = "ledger"
    __table_args__ = (Index("ix_ledger_account_month", "account_id", "month"), UniqueConstraint("job_id", "kind"))
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(index=True)
    kind: Mapped[str]
    amount_micro: Mapped[int]
    tokens: Mapped[int] = mapped_column(default=0)
    rows: Mapped[int] = mapped_column(default=0)
    free_rows: Mapped[int] = mapped_column(default=0)
    rate_micro: Mapped[int] = mapped_column(default=0)
    currency: Mapped[str]
    month: Mapped[str]
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Machine(Table):
    """Small facts that all processes of a service share: prices and switches that an admin has changed, heartbeats."""

    __tablename__ = "machine"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]


__all__ = [
    "Account",
    "Adapter",
    "AdapterAlias",
    "AdapterShare",
    "ApiKey",
    "Attempt",
    "BaseModelEntry",
    "Dataset",
    "DatasetVersion",
    "Job",
    "LedgerEntry",
    "Machine",
    "OneTimeLink",
    "SignIn",
    "Table",
    "Trial",
    "TrialAnswer",
    "UtcTime",
]
