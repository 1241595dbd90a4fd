"""How many tokens can be computed at once on this machine, and whether the base can be trained here at all."""

from postil.config import AdapterConfig, RunConfig
from postil.errors import UnavailableError
from postil.models.catalog import best_base_for
from postil.models.devices import probe_devices
from postil.models.loading import Base
from postil.models.memory import (
    ModelShape,
    available_memory_bytes,
    bytes_to_train,
    gigabytes,
    shape_from_config,
    weight_bytes,
)

DTYPE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def fit_pack(config: RunConfig, base: Base, longest_row: int) -> RunConfig:
    """Settings whose packs fit into memory: `training.max_tokens_per_pack` is halved until they do.

    Smaller packs change no gradient, only how much is computed at once; a row is never split. Where not even the
    longest row fits, layers are computed again on the way back (`models/recompute.py`), and more fits.

    Args:
        config: resolved.
        longest_row: tokens of the longest row that will be trained.

    Raises:
        UnavailableError: not even the longest row alone fits; says what would.
    """
    shape = shape_from_config(base.model.config.to_dict())
    if shape is None:  # an architecture that the memory model does not know: nothing can be promised or refused
        return config
    dtype_bytes = DTYPE_BYTES[base.dtype]
    loaded = weight_bytes(shape, dtype_bytes, base.quantization)
    free = probe_devices().cuda_free_bytes if base.device == "cuda" else available_memory_bytes()
    choices = (
        choose_pack_tokens(
            shape,
            rank=config.adapter.used_rank,
            dtype_bytes=dtype_bytes,
            wanted=config.training.max_tokens_per_pack or longest_row,
            longest_row=longest_row,
            memory_bytes=free + loaded,
            is_fused=base.quantization == "none" and _is_fused(config.adapter),
            quantization=base.quantization,
            recomputes=recomputes,
        )
        for recomputes in (False, True)
    )
    tokens = next((choice for choice in choices if choice is not None), None)
    if tokens is None:
        rank, kind = config.adapter.used_rank, base.quantization
        needed = bytes_to_train(shape, rank, longest_row, dtype_bytes, recomputes=True, quantization=kind)
        raise UnavailableError(
            "recipes.does_not_fit",
            base=base.name,
            tokens=longest_row,
            needed=gigabytes(needed),
            available=gigabytes(free + loaded),
            fitting=best_base_for(free + loaded, dtype_bytes, base.device).id,
        )
    return config.replace({"training.max_tokens_per_pack": tokens})


def _is_fused(adapter: AdapterConfig) -> bool:
    """As `models/fused_lora.py` finds out from the layers."""
    varied = adapter.use_dora or adapter.used_dropout > 0 or adapter.bias != "none"
    return not varied and adapter.init not in ("pissa", "olora")


def choose_pack_tokens(
    shape: ModelShape,
    *,
    rank: int,
    dtype_bytes: int,
    wanted: int,
    longest_row: int,
    memory_bytes: int,
    is_fused: bool = False,
    recomputes: bool = False,
    quantization: str = "none",
) -> int | None:
    """The largest of wanted, wanted / 2, wanted / 4 ... tokens that can be trained at once in `memory_bytes`.

    Never less than the longest row; None when not even that fits.
    """
    tokens = wanted

    def needs_more(tokens: int) -> bool:
        needed = bytes_to_train(
            shape,
            rank,
            max(tokens, longest_row),
            dtype_bytes,
            is_fused=is_fused,
            recomputes=recomputes,
            quantization=quantization,
        )
        return needed > memory_bytes

    while too_large := needs_more(tokens):
        if tokens <= longest_row:
            break
        tokens = max(tokens // 2, longest_row)
    return None if too_large else tokens
