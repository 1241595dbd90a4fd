"""What a folder must be to enter the library: a whole LoRA adapter with its manifest, weights as safetensors only."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from postil.errors import DataError, MissingInputError
from postil.models.manifest import AdapterManifest, read_manifest

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
KNOWN_ENDINGS = frozenset({".safetensors", ".json", ".jinja", ".md", ".model", ".txt"})
MAX_CONFIG_BYTES = 1 << 20


def check_adapter_folder(folder: Path) -> AdapterManifest:
    """Reads the manifest and looks at every file; nothing is executed, and no weights of another kind are opened.

    Raises:
        MissingInputError: no folder, no manifest, no settings or no weights in it.
        DataError: a file that does not belong there, damaged weights or settings, or numbers that are not finite.
    """
    manifest = read_manifest(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise MissingInputError("platform.adapters.incomplete", name=name)
    foreign = sorted(p.name for p in folder.rglob("*") if p.is_symlink() or p.suffix not in KNOWN_ENDINGS or p.is_dir())
    if foreign:
        raise DataError("platform.adapters.foreign_file", names=", ".join(foreign[:5]))
    _check_config(folder / CONFIG_FILE)
    _check_weights(folder / WEIGHTS_FILE)
    return manifest


def _check_config(path: Path) -> None:
    try:
        values = json.loads(path.read_bytes()[: MAX_CONFIG_BYTES + 1])
        kind = values["peft_type"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError("platform.adapters.damaged", name=path.name, reason=str(error)[:200]) from None
    if kind != "LORA" or "auto_map" in values:
        raise DataError("platform.adapters.damaged", name=path.name, reason=f"peft_type {kind!r}"[:200])


def _check_weights(path: Path) -> None:
    """Every tensor is read once: a weight that is not a number would answer nonsense for ever."""
    try:
        with safe_open(path, "np") as file:
            names = list(file.keys())
            broken = next((n for n in names if not np.isfinite(file.get_tensor(n)).all()), None)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise DataError("platform.adapters.damaged", name=path.name, reason=str(error)[:200]) from None
    if not names or broken is not None:
        raise DataError("platform.adapters.damaged", name=path.name, reason=f"tensor {broken!r}"[:200])
