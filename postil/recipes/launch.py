"""The contract between a run in a process of its own and whoever started it: a folder, and a lock.

    runs/job_k3v9m2x7q8w4e5ra/
      spec.json           in: what to do and with how much; written anew for each attempt, under the lock
      run.lock            held by the run as long as any process of it lives (run_lock.py)
      events.jsonl        out: one event a line, appended; a last line without its end is not there yet
      tokens.json         out: tokens of each trained row, in file order, for the bill
      checkpoints/, adapter/, report.json, result.json     as run_folder.py says
      attempts/3/         stdout, stderr, pid, and exit.json: how the third attempt ended; without it, it was killed
      scratch/            where libraries may put temporary files

Nothing here loads torch. The other side is `run_process.py` (a run), or `fake_run.py` (the same without training).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from postil.errors import CannotWriteError
from postil.events import AnyEvent, decode_event
from postil.models.manifest import write_text_atomically
from postil.operating_system import os_reason
from postil.recipes.run_lock import LOCK_NAME, take_run_lock

Cause = Literal["finished", "user", "stopped", "memory", "disk", "cuda", "again", "own"]
"""Why a run ended by itself: done; the user's data or settings; asked to; the machine (memory, disk, cuda); what may go
better a moment later; a failure of the run's own. A run that was killed leaves none."""

_KEPT_VARIABLES = (
    *("LANG", "LC_ALL", "TZ", "HOME", "SYSTEMROOT", "POSTIL_CACHE", "XDG_CACHE_HOME"),
    *("HF_HOME", "HF_HUB_CACHE", "CUDA_HOME", "LD_LIBRARY_PATH"),
)
_MAX_READ_BYTES = 4 << 20


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt does and with how much.

    Args:
        job_id, attempt: whose run this is; `attempt` also names its folder below `attempts/`.
        kind: "train", or "fake" for a cheap process that keeps the same contract.
        config: a RunConfig as plain values.
        threads: of torch; part of what decides the weights to the last bit, so it stays the same for all attempts.
        nice: how far the run gives way to others.
        memory_bytes: address space above what is mapped when it starts; None leaves it open.
        gpu: UUID of the GPU that it may see; None for a run on the CPU.
        readable: files and folders that it needs beside Python's own: base, data, overlay.
        save_seconds: at least this often a checkpoint is written, besides those of the settings.
        max_pack_tokens: packs that are no larger than this, after memory did not suffice for larger ones.
        is_confined: gives up other files and the network before it reads anything.
        language: of sentences that the run writes down.
    """

    job_id: str
    attempt: int
    kind: Literal["train", "fake"] = "train"
    config: dict[str, Any]
    threads: int = 1
    nice: int = 0
    memory_bytes: int | None = None
    gpu: str | None = None
    readable: tuple[str, ...] = ()
    save_seconds: float = 10.0
    max_pack_tokens: int | None = None
    is_confined: bool = True
    language: Literal["en", "zh"] = "en"


class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it is kept: the key and values of its sentences, and both in words.

    Args:
        problems: of the user's data, the first hundred.
    """

    key: str
    values: dict[str, Any] = {}
    message: str = ""
    hint: str = ""
    problems: list[dict[str, Any]] = []


class RunExit(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended.

    Args:
        code: as the shell would have it, see errors.py.
        step: the last one that was done.
    """

    code: int
    cause: Cause
    step: int = 0
    error: RunError | None = None


@dataclass(frozen=True)
class PreparedAttempt:
    """An attempt whose folder is made and whose lock is taken, with the descriptors that its process is given."""

    folder: Path
    spec: RunSpec
    lock: int
    stdout: int
    stderr: int

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """Lock, standard output, standard error."""
        return self.lock, self.stdout, self.stderr


def attempt_folder(folder: Path, attempt: int) -> Path:
    """Where an attempt leaves its output and its end."""
    return folder / "attempts" / str(attempt)


@contextmanager
def prepared_attempt(folder: Path, spec: RunSpec) -> Iterator[PreparedAttempt]:
    """Makes the folder, takes its lock and writes `spec.json`; the descriptors are closed here at the end of the block.

    A process that was given the lock's descriptor meanwhile holds the lock on.

    Raises:
        TryAgainError: a run trains in the folder already.
        CannotWriteError: the folder cannot be written.
    """
    descriptors: list[int] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptors.append(take_run_lock(folder))
        place = attempt_folder(folder, spec.attempt)
        place.mkdir(parents=True, exist_ok=True)
        (folder / "scratch").mkdir(exist_ok=True)
        for name in ("stdout", "stderr"):
            descriptors.append(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        write_text_atomically(folder / "spec.json", msgspec.json.encode(spec).decode() + "\n")
        yield PreparedAttempt(folder, spec, *descriptors)
    except OSError as error:
        raise CannotWriteError("recipes.cannot_write", path=folder, reason=os_reason(error)) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def start_run(folder: Path, spec: RunSpec) -> int:
    """Starts a run as a fresh process in a session of its own; it goes on when the caller ends.

    Returns:
        Its process id.

    Raises:
        TryAgainError, CannotWriteError: as `prepared_attempt`.
    """
    module = "postil.recipes.fake_run" if spec.kind == "fake" else "postil.recipes.run_process"
    with prepared_attempt(folder, spec) as made:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(folder), str(made.lock)],
            stdin=subprocess.DEVNULL,
            stdout=made.stdout,
            stderr=made.stderr,
            cwd="/" if os.name == "posix" else None,
            env=run_environment(spec),
            pass_fds=(made.lock,),
            start_new_session=True,
        )
    return process.pid


def run_environment(spec: RunSpec | None = None) -> dict[str, str]:
    """The variables of a run's process: nothing secret, no hub, and threads as the spec says."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    modules = [str(Path(entry or ".").resolve()) for entry in sys.path]
    fixed = {
        "PYTHONPATH": os.pathsep.join(modules),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        # torch is told its threads by the run itself; the others stay out of its way
        "OMP_NUM_THREADS": str(spec.threads if spec else 1),
        "OPENBLAS_NUM_THREADS": "1",
        # no thread of a library may be alive when the zygote forks
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": (spec.gpu if spec else None) or "",
    }
    return kept | fixed


def read_spec(folder: Path) -> RunSpec:
    """The spec of the folder's newest attempt."""
    return msgspec.json.decode((folder / "spec.json").read_bytes(), type=RunSpec)


def write_exit(folder: Path, attempt: int, ended: RunExit) -> None:
    """Says how an attempt ended, whole or not at all.

    Raises:
        CannotWriteError: the folder is gone or the disk is full.
    """
    write_text_atomically(attempt_folder(folder, attempt) / "exit.json", msgspec.json.encode(ended).decode() + "\n")


def find_exit(folder: Path, attempt: int) -> RunExit | None:
    """How an attempt ended; None for one that lives or was killed."""
    try:
        return msgspec.json.decode((attempt_folder(folder, attempt) / "exit.json").read_bytes(), type=RunExit)
    except (OSError, msgspec.DecodeError):
        return None


def read_events(folder: Path, offset: int = 0) -> tuple[list[AnyEvent], int]:
    """Events that have been written since.

    Args:
        offset: bytes that were read before, as the last call returned them; 0 for all.

    Returns:
        The events in order, and the new offset. A last line without its end, and kinds of a newer version, are not
        among them.
    """
    try:
        with (folder / "events.jsonl").open("rb") as file:
            file.seek(offset)
            data = file.read(_MAX_READ_BYTES)
    except OSError:
        return [], offset
    end = data.rfind(b"\n") + 1
    events = []
    for line in data[:end].splitlines():
        try:
            events.append(decode_event(line))
        except msgspec.DecodeError:
            continue
    return events, offset + end


def find_pid(folder: Path, attempt: int) -> int | None:
    """The process of a live attempt: it holds the lock's file open, so it is no other's. None where there is none.

    It is found also when the folder has been deleted under it.
    """
    pid = _written_pid(folder, attempt)
    return pid if pid is not None and holds_lock(pid, folder) else None


def _written_pid(folder: Path, attempt: int) -> int | None:
    try:
        return int((attempt_folder(folder, attempt) / "pid").read_text("ascii"))
    except (OSError, ValueError):
        return None


def holds_lock(pid: int, folder: Path) -> bool:
    """True when the process has this folder's `run.lock` open, deleted or not."""
    wanted = str(folder.resolve() / LOCK_NAME)
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for entry in entries:
        with suppress(OSError):  # the process has closed it meanwhile
            if os.readlink(entry).removesuffix(" (deleted)") == wanted:
                return True
    return False


def signal_run(pid: int, folder: Path, number: int = signal.SIGTERM) -> bool:
    """Sends a signal to a run's process, after making sure that it is the run's.

    Returns:
        False where it is no longer there.
    """
    if not holds_lock(pid, folder):
        return False
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True
