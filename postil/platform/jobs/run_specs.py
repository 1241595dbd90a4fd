"""From a job's row to the spec of its next run: data, base, settings, slot."""

from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from sqlalchemy import select
from sqlalchemy.orm import Session

import postil.models
from postil.config import RunConfig, load_config
from postil.errors import MissingInputError, PostilError
from postil.platform.datasets.datasets import training_source
from postil.platform.jobs.slots import Slot, threads_of_slot
from postil.platform.service import Service
from postil.platform.store.tables import Account, BaseModelEntry, Job
from postil.recipes.launch import RunSpec, read_spec

STARTER = "starter"
FALLBACK_PACK_TOKENS = 2048
MEMORY_SHARE = 0.9


def make_spec(session: Session, service: Service, job: Job, slot: Slot, folder: Path) -> RunSpec:
    """What the job's attempt is to do.

    Raises:
        MissingInputError, DataError: the data set or the base is gone.
        UsageError: the job's settings are wrong.
        TryAgainError: the data set is still being checked.
    """
    readable: tuple[str, ...] = ()
    if slot.kind == "fake":
        config = _fake_config(job)
    else:
        source = training_source(session, service, job.account_id, str(job.dataset_id), job.dataset_version)
        base, base_folder = base_settings(session, job.base)
        paths = (source.file, source.overlay, base_folder)
        readable = tuple(str(path) for path in paths if path is not None)
        device = {"model.device": "cuda" if slot.gpu else "cpu", "model.offline": True}
        config = RunConfig().replace({**source.settings, **base, **submitted_settings(job), **device})
    return RunSpec(
        job_id=job.id,
        attempt=job.attempt,
        kind="fake" if slot.kind == "fake" else "train",
        config=config.model_dump(mode="json"),
        threads=_threads(service, folder),
        nice=service.settings.run_nice,
        memory_bytes=None if slot.gpu else memory_for_runs(),
        gpu=slot.gpu,
        readable=readable,
        max_pack_tokens=job.spec.get("max_pack_tokens"),
        language="zh" if _language(session, job) == "zh" else "en",
    )


def submitted_settings(job: Job) -> dict[str, Any]:
    """The dotted settings that a job was submitted with, preset and seed among them."""
    spec = job.spec
    found = dict(spec.get("settings") or {})
    if spec.get("preset"):
        found.setdefault("training.preset", spec["preset"])
    if spec.get("seed") is not None:
        found.setdefault("training.seed", spec["seed"])
    return found


def _fake_config(job: Job) -> RunConfig:
    return RunConfig().replace({"training.max_steps": 10, **submitted_settings(job)})


def base_settings(session: Session, name: str) -> tuple[dict[str, Any], Path]:
    """A base's settings, and the folder that a run reads for it.

    Raises:
        MissingInputError: it is not on this machine any more.
    """
    row = session.scalar(select(BaseModelEntry).where(BaseModelEntry.name == name))
    if name.casefold() == STARTER:
        return {"model.base": STARTER}, Path(postil.models.__file__ or "").parent / STARTER
    if row is None or not row.path or not Path(row.path).is_dir():
        raise MissingInputError("platform.jobs.base_gone", base=name)
    path = Path(row.path)
    if row.source == "folder":
        return {"model.base": row.path}, path
    # a hub's cache keeps the files beside their links
    readable = path.parent.parent if path.parent.name == "snapshots" else path
    hub = "modelscope" if row.source == "modelscope" else "hf"
    return {"model.base": row.name, "model.hub": hub, "model.revision": row.revision}, readable


def _threads(service: Service, folder: Path) -> int:
    """As the attempts before: the number decides the last bits of the weights."""
    try:
        return read_spec(folder).threads
    except (OSError, ValueError):
        return threads_of_slot(service.settings)


def _language(session: Session, job: Job) -> str | None:
    account = session.get(Account, job.account_id)
    return account.language if account else None


def memory_for_runs() -> int:
    """What a run on the CPU may map: nearly all that the machine has, so that it fails alone and with a name."""
    return int(MEMORY_SHARE * psutil.virtual_memory().total)


def smaller_packs(folder: Path) -> int:
    """Half of what the run's packs were."""
    try:
        packs = load_config(folder / "run.yaml").training.max_tokens_per_pack
    except PostilError:
        packs = None
    return max(16, (packs or 2 * FALLBACK_PACK_TOKENS) // 2)
