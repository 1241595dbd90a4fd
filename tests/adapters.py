"""Adapters with random weights, as folders: what `postil train` leaves behind, without the training."""

from pathlib import Path

import torch

from postil.config import AdapterConfig, ModelConfig
from postil.models.adapter import add_adapter, save_adapter_weights
from postil.models.loading import load_base
from postil.models.manifest import AdapterManifest, write_card, write_manifest


def make_adapter(
    directory: Path, base: str, *, size: float = 0.1, system: str | None = None, config: AdapterConfig | None = None
) -> Path:
    """Writes an adapter for `base` whose matrices are random; `size` is how far it moves the base.

    Returns:
        `directory`.
    """
    loaded = load_base(ModelConfig(base=base, device="cpu", dtype="fp32"))
    model = add_adapter(loaded.model, config or AdapterConfig(rank=4), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
    save_adapter_weights(model, directory, base)
    loaded.tokenizer.save(directory)
    manifest = AdapterManifest(
        base=base,
        revision=None,
        hub="hf",
        base_fingerprint=loaded.fingerprint,
        system=system,
        chat_format=loaded.chat_format.manifest(),
        stop_ids=tuple(sorted(loaded.chat_format.stop_ids)),
        data_hash="0" * 64,
        config_hash="1" * 64,
        metrics={"heldout_loss_tuned": 1.25, "verdict": "better"},
    )
    write_manifest(manifest, directory)
    write_card(manifest, directory, title="A random adapter", settings={"rank": 4})
    return directory
