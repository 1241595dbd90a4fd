"""What a run gives up before it reads anything: priority, memory without end, other files, the network.

Limits that a system does not have are passed over; `postil doctor` says which there are.
"""

import mimetypes
import os
import sys
from contextlib import suppress
from pathlib import Path

from postil.data.files.landlock import confine, program_files
from postil.recipes.launch import RunSpec

MAX_FILE_BYTES = 64 << 30
"""Of one file that a run writes; checkpoints of the largest adapters stay far below."""
NUM_OPEN_FILES = 4096
NUM_MORE_PROCESSES = 512
"""Processes and threads that the run's user may have beyond those of this moment; the superuser is not limited."""
_SYSTEM_PATHS = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"),
    *("/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/self", "/sys/devices/system/cpu"),
    *mimetypes.knownfiles,
)
_GPU_PATHS = (
    "/proc/driver/nvidia",
    "/proc/modules",
    "/proc/devices",
    "/sys/bus/pci",
    "/sys/devices",
    "/usr/local/cuda",
)


def give_up_rights(folder: Path, spec: RunSpec) -> bool:
    """Holds this process to its spec from now on.

    Returns:
        False where the system cannot keep it from other files; everything else is in force.
    """
    give_way(spec.nice, has_gpu=spec.gpu is not None)
    limit_resources(spec.memory_bytes)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(scratch)
    if not spec.is_confined:
        return False
    gpu = spec.gpu is not None
    devices = [Path("/dev/null"), *(sorted(Path("/dev").glob("nvidia*")) if gpu else ())]
    if gpu:  # the driver makes files of its own there
        devices += [Path("/dev/shm")]
    return confine(
        readable=[
            *(Path(p) for p in (*spec.readable, *_SYSTEM_PATHS, *(_GPU_PATHS if gpu else ()))),
            *python_paths(folder),
        ],
        writable=[folder],
        executable=program_files(Path(sys.executable)),
        devices=devices,
    )


def give_way(nice: int, *, has_gpu: bool) -> None:
    """Lets others go first, as far as the system can.

    On Linux a run on the processor computes only while nobody else wants to: a page that wakes up takes its core at
    once, where even the nicest ordinary process keeps it for milliseconds. A run on a GPU has to feed it in time.

    Args:
        nice: 0 gives way to nobody.
    """
    with suppress(AttributeError, OSError):
        os.nice(nice - os.nice(0))
    if nice and not has_gpu:
        with suppress(AttributeError, OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def python_paths(folder: Path) -> list[Path]:
    """Python's own files and Postil's. Of a folder that holds the runs as well (a checkout) only the package."""
    found = [Path(sys.prefix), Path(sys.base_prefix)]
    for entry in sys.path:
        path = Path(entry or ".").resolve()
        found.append(Path(__file__).parents[1] if folder.resolve().is_relative_to(path) else path)
    return [path for path in found if path != Path(path.anchor)]


def limit_resources(memory_bytes: int | None) -> None:
    """Bounds memory, files and processes for good.

    Args:
        memory_bytes: address space above what is mapped now; None leaves it open (CUDA maps all there is).
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": MAX_FILE_BYTES, "RLIMIT_NOFILE": NUM_OPEN_FILES}
    if memory_bytes is not None and (used := _address_space()):
        wanted["RLIMIT_AS"] = used + memory_bytes
    if running := _num_processes():
        wanted["RLIMIT_NPROC"] = running + NUM_MORE_PROCESSES
    for name, value in wanted.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (value, value))


def _address_space() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _num_processes() -> int:
    """Processes and threads of this user; 0 where only Linux could tell."""
    user, found = os.getuid(), 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.stat().st_uid == user:
                found += len(os.listdir(entry / "task"))
    return found
