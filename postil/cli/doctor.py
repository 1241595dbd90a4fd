"""`postil doctor`: what this machine is, and what to do about it."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from postil.cli.models import best_base_here, cpu_flags, device_facts, machine
from postil.cli.opening import DataOption, settings_of
from postil.cli.options import AsJson
from postil.cli.prose import Prose
from postil.cli.screen import byte_size, open_screen
from postil.errors import UnavailableError
from postil.language import say
from postil.models.hub import hugging_face_cache

PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "pydantic", "typer")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
LOW_MEMORY_BYTES, LOW_DISK_BYTES = 2e9, 5e9
STYLES = {"ok": "green", "note": "yellow", "wrong": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Args:
        name: stable id; its heading is the sentence `cli.doctor.<name>`.
        state: "wrong" keeps Postil from working.
        advice: what to do; empty when there is nothing to do.
    """

    name: str
    state: Literal["ok", "note", "wrong"]
    value: str
    advice: str = ""


def doctor(data: DataOption = None, as_json: AsJson = False) -> int:
    """Looks at the machine and at the service, where there is one; ends with 69 when something is wrong."""
    screen = open_screen(as_json)
    found = [*(look() for look in LOOKS), *_service(data)]
    exit_code = UnavailableError.exit_code if any(f.state == "wrong" for f in found) else 0
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        text = Group(Prose(finding.value), *([Prose(finding.advice, "dim")] if finding.advice else []))
        state = Text(say(f"cli.doctor.{finding.state}"), style=STYLES[finding.state])
        table.add_row(say(f"cli.doctor.{finding.name}"), state, text)
    screen.show(table)
    screen.result({"findings": [asdict(f) for f in found], "exit_code": exit_code})
    return exit_code


def _service(data: Path | None) -> list[Finding]:
    """The parts of the service; none on a machine that never ran one."""
    from postil.platform.health import examine

    return [
        Finding(symptom.part, symptom.state, say(symptom.key, **symptom.values))
        for symptom in examine(settings_of(data))
    ]


def _versions() -> Finding:
    installed = {name: _version(name) for name in ("postil", *PACKAGES)}
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    value = ", ".join([system, *(f"{name} {number}" for name, number in installed.items() if number)])
    missing = [name for name in PACKAGES if installed[name] is None]
    if missing:
        return Finding("versions", "wrong", value, say("cli.doctor.versions.missing", names=", ".join(missing)))
    return Finding("versions", "ok", value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> Finding:
    flags = cpu_flags()
    features = [name for name in FEATURES if name in flags]
    slow = bool(flags) and not {"avx2", "asimd"} & flags
    values = {"cores": os.cpu_count(), "features": ", ".join(features) or platform.machine()}
    dtype = "bf16" if device_facts().cpu_bf16 else "fp32"
    value = say("cli.doctor.processor.value", dtype=dtype, **values)
    return Finding("processor", "note" if slow else "ok", value, say("cli.doctor.processor.slow") if slow else "")


def _threads() -> Finding:
    cores = os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(wanted) if wanted.isdigit() else cores
    if threads < cores:
        return Finding("threads", "note", str(threads), say("cli.doctor.threads.few", threads=threads, cores=cores))
    return Finding("threads", "ok", str(threads))


def _gpu() -> Finding:
    facts = device_facts()
    if facts.cuda:
        return Finding("gpu", "ok", f"{facts.cuda_name}, {byte_size(facts.cuda_free_bytes)}")
    if facts.mps:
        return Finding("gpu", "note", "Apple (MPS)", say("cli.doctor.gpu.apple"))
    return Finding("gpu", "note", say("cli.doctor.gpu.none"), say("cli.doctor.gpu.advice"))


def _memory() -> Finding:
    _, free = machine("cpu")
    value = say("cli.doctor.memory.value", free=byte_size(free), best=best_base_here("auto").id)
    if free < LOW_MEMORY_BYTES:
        return Finding("memory", "note", value, say("cli.doctor.memory.low"))
    return Finding("memory", "ok", value)


def _disk() -> Finding:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    value = say("cli.doctor.disk.value", free=byte_size(free), path=here)
    if free < LOW_DISK_BYTES:
        return Finding("disk", "note", value, say("cli.doctor.disk.low"))
    return Finding("disk", "ok", value)


def _caches() -> Finding:
    path = hugging_face_cache()
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and not p.is_symlink())
    if not size:
        return Finding("caches", "ok", say("cli.doctor.caches.empty", path=path))
    value = say("cli.doctor.caches.value", path=path, size=byte_size(size))
    return Finding("caches", "ok", value, say("cli.doctor.caches.advice"))


LOOKS: tuple[Callable[[], Finding], ...] = (_versions, _processor, _threads, _gpu, _memory, _disk, _caches)
