"""The folder of one run: what is where, how it is opened, and the log of its events.

runs/shop-20260131-120000/
  run.yaml          every setting, resolved
  chat_format.json  template and fixed date: a run that goes on tomorrow reads the same tokens
  events.jsonl      what happened, one event a line
  checkpoints/      resumable state; deleted by nobody but `training.keep`
  adapter/          the result
  report.json       base and tuned answers, losses, verdict
  estimate.json     how long it was said to take
  result.json       the run in numbers; its presence means that the run is complete
  run.lock          held as long as the run lives (run_lock.py)
  spec.json, attempts/, scratch/     where a run is started in a process of its own (launch.py)
"""

import filecmp
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from postil.config import RunConfig, load_config
from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation
from postil.errors import CannotWriteError, MissingInputError, UsageError
from postil.events import AnyEvent, Report, encode_event
from postil.models.manifest import is_unfinished, write_text_atomically
from postil.operating_system import os_reason
from postil.recipes.run_lock import LOCK_NAME, run_locked

# What may differ between the first call and the one that resumes: none of it changes a weight.
FREE_ON_RESUME = {
    "output.dir",
    "output.force",
    "output.trackers",
    "training.log_every",
    "training.keep",
    "model.offline",
}
# What a run has written before its first step.
_BEFORE_TRAINING = {"run.yaml", "chat_format.json", "events.jsonl", "tokens.json", LOCK_NAME}
# What whoever starts the run in a process of its own has put there first.
_OF_THE_STARTER = {"spec.json", "estimate.json", "attempts", "scratch", LOCK_NAME}
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def settings(self) -> Path:
        """The resolved settings."""
        return self.path / "run.yaml"

    @property
    def chat_format(self) -> Path:
        """The manifest of the chat format that training uses."""
        return self.path / "chat_format.json"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Resumable states."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The result."""
        return self.path / "adapter"

    @property
    def report(self) -> Path:
        """Answers and losses on held-out questions."""
        return self.path / "report.json"

    @property
    def result(self) -> Path:
        """The run in numbers."""
        return self.path / "result.json"


def open_run(config: RunConfig, resume: bool) -> tuple[RunFolder, RunConfig]:
    """Makes a new folder, or takes up the one of an earlier run.

    Returns:
        The folder and the settings to go on with: on resume, those that the run began with.

    Raises:
        CannotWriteError: the folder has something in it, or cannot be written.
        MissingInputError: nothing to resume there.
        UsageError: resuming with other settings than the run began with.
    """
    folder = RunFolder(Path(config.output.dir) if config.output.dir else _new_path(config))
    if resume:
        if config.output.dir is None:
            raise UsageError("recipes.resume_needs_folder")
        if not folder.settings.exists():
            raise MissingInputError("recipes.nothing_to_resume", path=folder.path)
        return folder, _settings_to_resume(folder, config)
    if folder.path.exists() and not _is_free(folder.path):
        if not config.output.force:
            raise CannotWriteError("recipes.output_exists", path=folder.path)
        if not folder.settings.exists():
            raise CannotWriteError("recipes.not_a_run", path=folder.path)
        with run_locked(folder.path):  # a run that lives is not deleted
            shutil.rmtree(folder.path)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder.settings, config.to_yaml())
    except OSError as error:
        raise CannotWriteError("recipes.cannot_write", path=folder.path, reason=os_reason(error)) from error
    return folder, config


def _is_free(path: Path) -> bool:
    """True where no run has begun."""
    return path.is_dir() and _names(path) <= _OF_THE_STARTER


def _new_path(config: RunConfig) -> Path:
    stem = Path(config.data.file or "run").stem
    return Path("runs") / f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"


def _settings_to_resume(folder: RunFolder, asked: RunConfig) -> RunConfig:
    """The stored settings, after checking that nothing asked for now differs from them."""
    stored = load_config(folder.settings)
    now, then, default = asked.model_dump(), stored.model_dump(), RunConfig().model_dump()
    different = [
        f"{part}.{name}"
        for part, values in now.items()
        for name, value in values.items()
        if f"{part}.{name}" not in FREE_ON_RESUME and value not in (default[part][name], then[part][name])
    ]
    same, moved = _files_elsewhere(asked, stored)
    different = [name for name in different if name not in same]
    if different:
        raise UsageError("recipes.resume_differs", path=folder.path, names=", ".join(different))
    return stored.replace({**moved, "output.dir": str(folder.path), "output.force": False})


def _files_elsewhere(asked: RunConfig, stored: RunConfig) -> tuple[set[str], dict[str, str]]:
    """Files that are named otherwise than when the run began: by another path, or from where they lie now.

    A file that is gone from its old place is read where it is asked for; whether it holds the same is seen when its
    rows are compared with the checkpoint's.

    Returns:
        Names of settings that are no difference, and those of them that have another value now.
    """
    same, moved = set(), {}
    for name in ("file", "overlay"):
        now, then = getattr(asked.data, name), getattr(stored.data, name)
        if now and then and Path(now).resolve() == Path(then).resolve():
            same.add(f"data.{name}")
        elif now and then and (not Path(then).exists() or _hold_the_same(now, then)):
            same.add(f"data.{name}")
            moved[f"data.{name}"] = now
    return same, moved


def _hold_the_same(one: str, other: str) -> bool:
    return Path(one).is_file() and Path(other).is_file() and filecmp.cmp(one, other, shallow=False)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole or not at all.

    Raises:
        CannotWriteError: the folder is read-only or the disk is full.
    """
    write_text_atomically(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def settle_chat_format(folder: RunFolder, chat_format: ChatFormat, conversations: Sequence[Conversation]) -> ChatFormat:
    """The chat format of this run: fitted to its conversations once, then the same whenever the run goes on.

    Raises:
        DataError: the base's tokenizer is another one than when the run began.
    """
    if folder.chat_format.exists():
        return ChatFormat.from_manifest(json.loads(folder.chat_format.read_text("utf-8")), chat_format.tokenizer)
    fitted = chat_format.fitted_to(conversations)
    write_json(folder.chat_format, fitted.manifest())
    return fitted


@contextmanager
def recorded(folder: RunFolder, report: Report, resume: bool = False, *, is_locked: bool = False) -> Iterator[Report]:
    """A report that also appends every event to the run's log, whole lines only. Holds the folder's lock meanwhile.

    A new run that fails before it has made anything (bad data, say) takes its folder away again.

    Args:
        is_locked: this process has the lock already.

    Raises:
        TryAgainError: another run trains in the folder; nothing has changed then.
    """
    with run_locked(folder.path, is_locked):
        try:
            with _event_log(folder, report) as record:
                yield record
        except BaseException:
            if not resume and _names(folder.path) <= _BEFORE_TRAINING:
                shutil.rmtree(folder.path)
            raise


def _names(path: Path) -> set[str]:
    """What is in the folder; what somebody left there who was killed while writing is nothing."""
    return {entry.name for entry in path.iterdir() if not is_unfinished(entry.name)} if path.is_dir() else {"gone"}


@contextmanager
def _event_log(folder: RunFolder, report: Report) -> Iterator[Report]:
    try:
        _cut_unfinished_line(folder.events)
        log = folder.events.open("ab", buffering=0)
    except OSError as error:
        raise CannotWriteError("recipes.cannot_write", path=folder.events, reason=os_reason(error)) from error
    with log:

        def record(event: AnyEvent) -> None:
            try:
                log.write(encode_event(msgspec.structs.replace(event, monotonic_seconds=time.monotonic())))
            except OSError as error:
                raise CannotWriteError("recipes.cannot_write", path=folder.events, reason=os_reason(error)) from error
            report(event)

        yield record


def _cut_unfinished_line(log: Path) -> None:
    """A run that was killed may have left a part of a line, to which the next event must not be joined."""
    if not log.is_file():
        return
    with log.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _TAIL_BYTES)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
