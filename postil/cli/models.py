"""`postil models`: bases that are known to work, what they need, what fits here, what is here already."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from postil.cli.options import AsJson, Device
from postil.cli.screen import Screen, byte_size, open_screen
from postil.language import say
from postil.models.catalog import CATALOG, CatalogEntry, best_base_for
from postil.models.devices import DeviceChoice, DeviceFacts, choose_device, probe_devices
from postil.models.hub import cache_dir, hugging_face_cache
from postil.models.memory import available_memory_bytes, gigabytes

COLUMNS = ("model", "parameters", "to_answer", "to_train", "fits", "here")
NARROW_COLUMNS = ("model", "to_train", "fits")
WIDE_ENOUGH = 78


def models(device: Device = None, as_json: AsJson = False) -> None:
    """Lists the catalog for this machine."""
    screen = open_screen(as_json)
    choice, memory = machine(device or "auto")
    best = best_base_for(memory, choice.dtype_bytes, choice.device)
    rows = [_row(entry, choice, memory) for entry in CATALOG]
    if as_json:
        values = {"device": choice.device, "dtype": choice.dtype, "memory_bytes": memory, "best": best.id}
        screen.result({**values, "models": rows})
        return
    _show_table(screen, rows)
    screen.say("cli.models.machine", memory=gigabytes(memory), device=choice.device, dtype=choice.dtype)
    screen.say("cli.models.best", "bold", base=best.id)


def best_base_here(device: str) -> CatalogEntry:
    """The largest base that is proposed for training on this machine; the starter when nothing larger fits."""
    choice, memory = machine(device)
    return best_base_for(memory, choice.dtype_bytes, choice.device)


def machine(device: str) -> tuple[DeviceChoice, int]:
    """Where a model would run, and the bytes it may take there."""
    facts = device_facts()
    choice = choose_device(device, "auto", facts)
    return choice, facts.cuda_free_bytes if choice.device == "cuda" else available_memory_bytes()


def device_facts() -> DeviceFacts:
    """What this machine computes on; torch, which takes seconds to import, is asked only where there may be a GPU."""
    may_have_gpu = sys.platform == "darwin" or Path("/dev/kfd").exists() or shutil.which("nvidia-smi") is not None
    if may_have_gpu or "torch" in sys.modules or os.name == "nt":
        return probe_devices()
    return DeviceFacts(cpu_bf16=bool({"avx512_bf16", "amx_bf16"} & cpu_flags()))


def cpu_flags() -> set[str]:
    """What the processor can do, by Linux's names; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return set()
    found = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return set(found.partition(":")[2].split())


def _row(entry: CatalogEntry, choice: DeviceChoice, memory: int) -> dict[str, Any]:
    to_answer, to_train = entry.answering_bytes(choice.dtype_bytes), entry.training_bytes(choice.dtype_bytes)
    return {
        "id": entry.id,
        "description": entry.description,
        "parameters": entry.num_parameters,
        "licence": entry.licence,
        "bytes_to_answer": to_answer,
        "bytes_to_train": to_train,
        "fits": "train" if to_train <= memory else "answer" if to_answer <= memory else "no",
        "here": is_here(entry),
    }


def is_here(entry: CatalogEntry) -> bool:
    """True when its weights are in the package or in a hub's cache on this machine."""
    if entry.id == "starter":
        return True
    snapshots = hugging_face_cache() / f"models--{entry.id.replace('/', '--')}" / "snapshots"
    modelscope = cache_dir() / "modelscope" / entry.modelscope_id
    return any(snapshots.glob("*/*.safetensors")) or any(modelscope.glob("*/*.safetensors"))


def _show_table(screen: Screen, rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    names = COLUMNS if screen.console.width >= WIDE_ENOUGH else NARROW_COLUMNS
    for name in names:
        justify: Literal["left", "right"] = "right" if name in {"parameters", "to_answer", "to_train"} else "left"
        table.add_column(say(f"cli.models.{name}"), justify=justify, no_wrap=True)
    for row in rows:
        cells = {
            "model": row["id"].rpartition("/")[2],
            "parameters": parameter_count(row["parameters"]),
            "to_answer": byte_size(row["bytes_to_answer"]),
            "to_train": byte_size(row["bytes_to_train"]),
            "fits": say(f"cli.models.fits.{row['fits']}"),
            "here": say("cli.models.here.yes" if row["here"] else "cli.models.here.no"),
        }
        table.add_row(*(cells[name] for name in names), style="dim" if row["fits"] == "no" else "")
    screen.show(table)


def parameter_count(number: int) -> str:
    """Parameters as the field writes them: "5.4 M", "0.6 B", "14.8 B"."""
    return f"{number / 1e9:.1f} B" if number >= 500_000_000 else f"{number / 1e6:.3g} M"
