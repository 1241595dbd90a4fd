"""Where to compute, and in which precision: one pure choice over facts that are asked for once."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from postil.errors import UnavailableError

DeviceName = Literal["cpu", "cuda", "mps"]
DtypeName = Literal["fp32", "bf16", "fp16"]
DTYPE_BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What this machine has.

    Args:
        cpu_bf16: the processor multiplies bf16 in hardware (AVX512-BF16 or AMX-BF16); without it bf16 is emulated.
        cuda: an NVIDIA (or ROCm) GPU that torch can use.
        cuda_bf16: that GPU computes bf16 in hardware.
        cuda_name: as the driver calls it.
        cuda_free_bytes: its free memory.
        mps: an Apple GPU that torch can use.
        mps_bf16: macOS 14 or newer, where it knows bf16.
    """

    cpu_bf16: bool = False
    cuda: bool = False
    cuda_bf16: bool = False
    cuda_name: str = ""
    cuda_free_bytes: int = 0
    mps: bool = False
    mps_bf16: bool = False


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """The device and the base model's precision on it."""

    device: DeviceName
    dtype: DtypeName

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one weight."""
        return DTYPE_BYTES[self.dtype]

    @property
    def measured(self) -> bool:
        """False on Apple's GPUs: the choice is tested, speed and results on them are not."""
        return self.device != "mps"


def choose_device(requested: str, dtype: str, facts: DeviceFacts) -> DeviceChoice:
    """Chooses device and dtype from what is asked for and what there is.

    `auto` takes CUDA, then MPS, then the CPU; a dtype of `auto` is bf16 where that device computes it in hardware, else
    fp32 (never fp16 unasked: its narrow range overflows in training). bf16 on a CPU without it works when asked for:
    slow, but half the memory.

    Args:
        requested: "auto", "cpu", "cuda" or "mps".
        dtype: "auto", "fp32", "bf16" or "fp16".

    Raises:
        UnavailableError: the device that was asked for is not here, or does not know the dtype that was asked for.
    """
    device = _choose(requested, facts)
    has_bf16 = {"cpu": facts.cpu_bf16, "cuda": facts.cuda_bf16, "mps": facts.mps_bf16}[device]
    if dtype == "auto":
        return DeviceChoice(device, "bf16" if has_bf16 else "fp32")
    if dtype == "fp32":
        return DeviceChoice(device, "fp32")
    if dtype == "bf16" and (has_bf16 or device == "cpu"):
        return DeviceChoice(device, "bf16")
    if dtype == "fp16" and device != "cpu":
        return DeviceChoice(device, "fp16")
    raise UnavailableError("models.dtype_not_on_device", dtype=dtype, device=device)


def _choose(requested: str, facts: DeviceFacts) -> DeviceName:
    if requested == "cuda" and not facts.cuda:
        raise UnavailableError("models.no_cuda")
    if requested == "mps" and not facts.mps:
        raise UnavailableError("models.no_mps")
    if requested == "cuda" or (requested == "auto" and facts.cuda):
        return "cuda"
    if requested == "mps" or (requested == "auto" and facts.mps):
        return "mps"
    return "cpu"


def probe_devices() -> DeviceFacts:
    """Asks torch what this machine has; imports torch, so it takes a second the first time."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    return DeviceFacts(
        cpu_bf16=bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")),
        cuda=cuda,
        cuda_bf16=cuda and torch.cuda.is_bf16_supported(including_emulation=False),
        cuda_name=torch.cuda.get_device_name() if cuda else "",
        cuda_free_bytes=free_cuda_bytes() if cuda else 0,
        mps=mps,
        mps_bf16=mps and torch.backends.mps.is_macos_or_newer(14, 0),
    )


def free_cuda_bytes() -> int:
    """Free memory of the current GPU, with what torch has reserved there and does not use."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


def peak_memory_bytes(device: str) -> int | None:
    """The most that this process has held so far on the device where the base lies; None where nobody tells."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved())
    return _resident_peak_bytes()


def _resident_peak_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    try:
        # getrusage's figure is that of whoever started this process, where that was larger
        lines = status.read_text("ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
