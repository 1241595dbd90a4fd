"""What this machine has to train with, found without torch: the larger of its GPUs, else its own memory."""

from dataclasses import dataclass
from pathlib import Path

from postil.models.memory import available_memory_bytes
from postil.platform.jobs.slots import gpu_memory_bytes

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """Where a run would compute.

    Args:
        device: "cuda" or "cpu".
        dtype_bytes: of one weight of a base there.
        num_bytes: a GPU's whole memory, since runs have it alone; else what is free at the moment.
    """

    device: str
    dtype_bytes: int
    num_bytes: int


def find_memory() -> MachineMemory:
    """Asks the driver and the system."""
    if gpu := gpu_memory_bytes():
        return MachineMemory("cuda", 2, gpu)
    return MachineMemory("cpu", 2 if _has_bf16() else 4, available_memory_bytes())


def _has_bf16() -> bool:
    """The processor multiplies bf16 itself; Linux says so, others are taken not to."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return False
    found = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return bool(_BF16_FLAGS & set(found.partition(":")[2].split()))
