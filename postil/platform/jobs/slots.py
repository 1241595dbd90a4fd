"""Where a run can be put: a GPU by its UUID, a share of the CPU's cores, or, for tests, nowhere real."""

import os
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from postil.platform.settings import ServiceSettings

_ASK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one run.

    Args:
        name: "gpu-<uuid>", "cpu-0" or "fake-0"; kept with the job that has it.
        gpu: the UUID, None on the CPU.
    """

    name: str
    kind: Literal["cpu", "gpu", "fake"]
    gpu: str | None = None


def find_slots(settings: ServiceSettings) -> tuple[Slot, ...]:
    """All slots of this machine, best first.

    With GPUs there are slots on the CPU only where the settings ask for them: a run that waits a little is done sooner.
    """
    gpus = tuple(Slot(f"gpu-{uuid}", "gpu", uuid) for uuid in find_gpus())
    wants_cpu = not gpus or "cpu_slots" in settings.model_fields_set
    cpus = tuple(Slot(f"cpu-{number}", "cpu") for number in range(settings.cpu_slots if wants_cpu else 0))
    return (*gpus, *cpus, *(Slot(f"fake-{number}", "fake") for number in range(settings.fake_slots)))


def free_slots(slots: Sequence[Slot], taken: Collection[str], busy_gpus: Collection[str] = ()) -> tuple[Slot, ...]:
    """The slots without a job, and on whose GPU the driver shows no process."""
    return tuple(slot for slot in slots if slot.name not in taken and slot.gpu not in busy_gpus)


def find_gpus() -> tuple[str, ...]:
    """UUIDs of the GPUs that the driver shows, in its order."""
    return tuple(line.strip() for line in _ask_driver("--query-gpu=uuid") if line.strip())


def find_busy_gpus() -> frozenset[str]:
    """UUIDs of the GPUs on which some process computes, ours or another's."""
    return frozenset(line.strip() for line in _ask_driver("--query-compute-apps=gpu_uuid") if line.strip())


def gpu_memory_bytes() -> int:
    """Memory of the GPU that has most of it; 0 where there is none."""
    sizes = [line.split()[0] for line in _ask_driver("--query-gpu=memory.total") if line.strip()]
    return max((int(size) << 20 for size in sizes if size.isdigit()), default=0)


def _ask_driver(question: str) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, question, "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def threads_of_slot(settings: ServiceSettings) -> int:
    """Threads of a run where none has run before; a job keeps its number for all attempts.

    One core is left to pages and answers. Threads that share a step spin while they wait for the slowest: with all
    cores taken, everybody else's work makes that wait many times longer.
    """
    if settings.threads:
        return settings.threads
    return max(1, ((os.cpu_count() or 1) - 1) // max(1, settings.cpu_slots))
