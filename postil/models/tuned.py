"""An adapter's folder, loaded onto the very base it was made for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from postil.config import ModelConfig
from postil.data.chat_template import ChatFormat
from postil.errors import DataError
from postil.models.adapter import load_adapter
from postil.models.loading import Base, load_base
from postil.models.manifest import AdapterManifest, read_manifest


@dataclass(frozen=True)
class Tuned:
    """One base in memory with one adapter on it.

    Args:
        model: the PEFT model, in eval mode, adapter on.
        base: what it was put on; `base.model` is part of `model`, not a copy.
        chat_format: the form that training used, out of the manifest.
    """

    model: nn.Module
    base: Base
    chat_format: ChatFormat
    manifest: AdapterManifest
    path: Path


def load_tuned(
    adapter_dir: Path,
    *,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    base: str | None = None,
    offline: bool = False,
) -> Tuned:
    """Loads base and adapter.

    Args:
        base: where the base lies now, when not where the manifest says.
        offline: use only what is already on this machine.

    Raises:
        MissingInputError: the folder, its manifest or its base is not there.
        DataError: the base is another one than the adapter was trained on, or files are damaged.
        UnavailableError: the device or enough memory is not to be had.
    """
    manifest = read_manifest(adapter_dir)
    config = ModelConfig.model_validate(
        {
            "base": base or manifest.base,
            "revision": manifest.revision if base is None else None,
            "hub": manifest.hub,
            "device": device,
            "dtype": dtype,
            "offline": offline,
        }
    )
    loaded = load_base(config)
    if loaded.fingerprint != manifest.base_fingerprint:
        raise DataError(
            "manifest.other_base",
            adapter=adapter_dir,
            base=config.base,
            expected=manifest.base_fingerprint,
            found=loaded.fingerprint,
        )
    chat_format = ChatFormat.from_manifest(manifest.chat_format, loaded.tokenizer)
    model = load_adapter(loaded.model, adapter_dir)
    return Tuned(model, loaded, chat_format, manifest, adapter_dir)
