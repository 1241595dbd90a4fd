"""Adapters that start from the base's own directions: PiSSA and OLoRA, without touching the base.

Both methods write a weight as W = (W - s B0 A0) + s B0 A0 and train the second part. PEFT rewrites the base to the
first part. Here the base stays W and a second, frozen adapter takes the start off again:

    W + s (B A - B0 A0)        A, B trained, from A0, B0

It is the same function, the base can still be shown bare, and nothing is rounded to the base's precision. On disk the
two are one plain LoRA of twice the rank: [B, -B0] [A; A0].
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import cast

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

START = "start"
TRAINED = "default"
START_METHODS = ("pissa", "olora")


@torch.no_grad()
def set_start(model: PeftModel, method: str) -> None:
    """Gives the adapter its start from the base's weights and adds the frozen one that takes it off.

    Args:
        method: "pissa" (largest singular directions; Meng et al., 2024) or "olora" (QR; Buyukakyuz, 2024).
    """
    config = cast(LoraConfig, deepcopy(model.peft_config[TRAINED]))
    config.lora_dropout = 0.0
    model.add_adapter(START, config)
    for layer in _lora_layers(model):
        a, b = _start_matrices(_full_weight(layer), layer.r[TRAINED], layer.scaling[TRAINED], method)
        for name, sign in ((TRAINED, 1), (START, -1)):
            cast(Tensor, layer.lora_A[name].weight).copy_(a)
            cast(Tensor, layer.lora_B[name].weight).copy_(b * sign)
    model.base_model.set_adapter([TRAINED, START])  # type: ignore[operator]
    for name, parameter in model.named_parameters():
        if f".{START}." in name:
            parameter.requires_grad_(False)


def _lora_layers(model: PeftModel) -> Iterator[LoraLayer]:
    return (m for m in model.modules() if isinstance(m, LoraLayer))


def _full_weight(layer: LoraLayer) -> Tensor:
    weight = cast(Tensor, layer.get_base_layer().weight).float()
    return weight.T if getattr(layer, "fan_in_fan_out", False) else weight


def _start_matrices(weight: Tensor, rank: int, scale: float, method: str) -> tuple[Tensor, Tensor]:
    """A0 (rank, in) and B0 (out, rank) for a weight (out, in)."""
    if method == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank], q[:, :rank]
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    root = (s[:rank] / scale).sqrt()
    return root[:, None] * vh[:rank], u[:, :rank] * root


def merge_start(model: PeftModel, config: LoraConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The trained and the frozen adapter as one, and `config` changed to its rank with the same scale.

    Args:
        tensors: the trained adapter's, named as on disk.

    Returns:
        Tensors of the same names, of twice the rank.
    """
    own = model.state_dict()
    merged = {}
    for name, tensor in tensors.items():
        start = own[name.replace(".weight", f".{START}.weight")]
        merged[name] = torch.cat([tensor, start], dim=0 if "lora_A" in name else 1)
    config.lora_alpha *= 2**0.5 if config.use_rslora else 2  # type: ignore[assignment]
    config.r *= 2
    return merged
