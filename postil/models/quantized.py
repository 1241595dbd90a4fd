"""Bases whose linear layers are held in 8 or 4 bits by bitsandbytes: for memory, not for speed.

Embedding, head and norms stay in the base's precision, and so do activations; an adapter over such a base is trained as
over any other, through PEFT's own layers.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from postil.errors import UnavailableError
from postil.models.devices import DeviceChoice

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel


def check_quantization(quantization: str, choice: DeviceChoice) -> None:
    """Refuses what cannot be had here.

    Args:
        quantization: "none", "8bit" or "4bit".

    Raises:
        UnavailableError: bitsandbytes is missing, or does not know the device.
    """
    if quantization == "none":
        return
    if choice.device == "mps":
        raise UnavailableError("models.not_quantized_there", bits=quantization, device=choice.device)
    if find_spec("bitsandbytes") is None:
        raise UnavailableError("models.no_bitsandbytes", bits=quantization)


def quantization_config(quantization: str, dtype: "torch.dtype") -> "BitsAndBytesConfig | None":
    """What transformers is told; None where nothing is quantized.

    Args:
        dtype: in which products are computed.
    """
    from transformers import BitsAndBytesConfig

    if quantization == "none":
        return None
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def quantization_of(model: "PreTrainedModel") -> str:
    """How a loaded model's linear layers are held: "none", "8bit" or "4bit"."""
    kinds = {"8bit": "is_loaded_in_8bit", "4bit": "is_loaded_in_4bit"}
    return next((kind for kind, name in kinds.items() if getattr(model, name, False)), "none")


def keep_gradients(model: "PreTrainedModel") -> None:
    """Forbids bitsandbytes to repack 4-bit weights on a CPU.

    It does so the first time that a layer is used without gradients, as when held-out rows are measured, and its
    product with the new form has none: from then on nothing below would learn, and no error would say so.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - no attribute of every module
