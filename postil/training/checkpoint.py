"""Checkpoints: what a run needs to go on as if nothing had happened, complete or not there at all.

    checkpoints/step-40/    adapter.safetensors  optimizer.safetensors  state.json
                            MANIFEST.json        each file's bytes and sha256, step, versions, data and config hash,
                                             and a sha256 of all this itself (from format 2 on)

A checkpoint is written beside its place, its manifest last, all of it synced to the disk, and then renamed into place.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from postil.errors import CannotWriteError, DataError
from postil.events import Report, Warned
from postil.language import say
from postil.operating_system import os_reason

FOLDER, MANIFEST, FORMAT = "checkpoints", "MANIFEST.json", 2
_WRITING, _DELETING = ".writing-", ".deleting-"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are all there and unchanged.

    Args:
        step: optimizer steps done.
        data_hash, config_hash: what the run was trained on and with.
    """

    path: Path
    step: int
    data_hash: str
    config_hash: str


def save_checkpoint(
    run_dir: Path, step: int, write: Callable[[Path], None], *, data_hash: str, config_hash: str
) -> Checkpoint:
    """Makes `checkpoints/step-<step>`, in place of an older one of the same step.

    Args:
        write: puts the files into the folder it is given.

    Raises:
        CannotWriteError: nothing is left of the attempt.
    """
    folder = run_dir / FOLDER
    beside, place = folder / f"{_WRITING}step-{step}", folder / f"step-{step}"
    try:
        _remove_leftovers(folder)
        beside.mkdir(parents=True)
        write(beside)
        _write_manifest(beside, step, data_hash, config_hash)
        _exchange(beside, place)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise CannotWriteError("training.cannot_write", path=place, reason=os_reason(error)) from error
    return Checkpoint(place, step, data_hash, config_hash)


def _write_manifest(folder: Path, step: int, data_hash: str, config_hash: str) -> None:
    files = []
    for path in sorted(folder.iterdir()):
        with path.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        files.append({"file": path.name, "bytes": path.stat().st_size, "sha256": digest})
    manifest = {
        "format": FORMAT,
        "step": step,
        "data_hash": data_hash,
        "config_hash": config_hash,
        "saved_at": datetime.now(UTC).isoformat(),
        "versions": {name: _version(name) for name in ("postil", "torch", "transformers", "peft")},
        "files": files,
    }
    manifest["sha256"] = _own_hash(manifest)
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)


def _own_hash(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(beside: Path, place: Path) -> None:
    """Moves a checkpoint into place; where that fails, the older one of this step is back."""
    aside = place.with_name(_DELETING + place.name)
    had_older = place.exists()
    if had_older:
        os.rename(place, aside)
    try:
        os.rename(beside, place)
    except OSError:
        if had_older:
            os.rename(aside, place)
        raise
    if had_older:
        shutil.rmtree(aside)


def _remove(place: Path) -> None:
    """Deletes a checkpoint so that a crash in the middle never leaves half of one under its name."""
    if place.exists():
        aside = place.with_name(_DELETING + place.name)
        os.rename(place, aside)
        shutil.rmtree(aside)


def _remove_leftovers(folder: Path) -> None:
    for name in (_WRITING, _DELETING):
        for path in folder.glob(f"{name}*"):
            shutil.rmtree(path)


def keep_checkpoints(run_dir: Path, keep: int, best_step: int | None, newest_step: int) -> None:
    """Deletes all but the newest `keep` checkpoints and that of `best_step`.

    Args:
        newest_step: of the one just written; one of a later step was damaged when the run was taken up, and goes too.

    Raises:
        CannotWriteError: one cannot be deleted.
    """
    places = _places(run_dir)
    kept = [step for step, _ in places if step <= newest_step][:keep]
    try:
        for step, path in places:
            if step not in kept and step != best_step:
                _remove(path)
    except OSError as error:
        raise CannotWriteError("training.cannot_write", path=path, reason=os_reason(error)) from error


def checkpoint_steps(run_dir: Path) -> list[int]:
    """Steps that have a folder, newest first."""
    return [step for step, _ in _places(run_dir)]


def _places(run_dir: Path) -> list[tuple[int, Path]]:
    found = [(p.name.removeprefix("step-"), p) for p in (run_dir / FOLDER).glob("step-*")]
    return sorted(((int(number), p) for number, p in found if number.isdigit()), reverse=True)


def find_checkpoint(run_dir: Path, report: Report) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones are reported and passed over."""
    for _, path in _places(run_dir):
        manifest, problem = _verify(path)
        if problem is None:
            return Checkpoint(path, manifest["step"], manifest["data_hash"], manifest["config_hash"])
        values = {"path": str(path), "reason": problem}
        report(Warned(key="training.damaged", message=say("training.damaged", **values), values=values))
    return None


def _verify(path: Path) -> tuple[dict[str, Any], str | None]:
    """The manifest, and the first file that is not as it says."""
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        for entry in manifest["files"]:
            content = path / entry["file"]
            if content.stat().st_size != entry["bytes"] or _sha256(content) != entry["sha256"]:
                return manifest, str(entry["file"])
        is_sealed = manifest.get("format") == 1 or manifest.get("sha256") == _own_hash(manifest)
        if not {"step", "data_hash", "config_hash"} <= manifest.keys() or not is_sealed:
            return manifest, MANIFEST
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {}, os.path.basename(getattr(error, "filename", None) or MANIFEST)
    return manifest, None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_same_run(checkpoint: Checkpoint, *, data_hash: str, config_hash: str) -> None:
    """Refuses to go on with other data or other settings.

    Args:
        data_hash, config_hash: of the run that wants to go on.

    Raises:
        DataError: they are not the checkpoint's.
    """
    if checkpoint.data_hash != data_hash:
        raise DataError("training.other_data", path=checkpoint.path)
    if checkpoint.config_hash != config_hash:
        raise DataError("training.other_config", path=checkpoint.path)


def best_step(heldout_losses: dict[int, float], saved_steps: Collection[int]) -> int | None:
    """The saved step with the lowest held-out loss."""
    measured = [(loss, step) for step, loss in heldout_losses.items() if step in saved_steps]
    return min(measured)[1] if measured else None
