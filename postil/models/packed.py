"""Rows of a pack in one forward pass, laid end to end, each blind to the others.

    input_ids   | a0 a1 a2 a3 | b0 b1 | c0 c1 c2 |     one line of T tokens, no padding
    position      0  1  2  3    0  1    0  1  2        restarts with every row
    attention     within a row only, causal

The model's own layers run as they are; only the attention function is ours, registered with transformers'
`AttentionInterface`. No mask function is registered under its name, so transformers makes no mask at all; the lengths
of the rows reach the function as a keyword that the model's forward hands down. Whether an architecture really works
this way is not guessed from its name: `supports_packing` tries it with a few tokens and compares.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

from postil.data.examples import IGNORED
from postil.data.packing import Pack

PACKED = "postil_packed"
# Layers that attend in another way (linear attention, recurrence, chunks) are computed a row at a time.
_PACKABLE_LAYERS = {"full_attention", "sliding_attention"}
# Rotary embeddings of these kinds change with the longest position of the call.
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
# Arguments that models hand to the attention function and that do not change what a training pass computes.
_HARMLESS = {"position_ids", "position_embeddings", "cache_position", "use_cache", "past_key_values", "return_dict"}
_HARMLESS |= {"output_attentions", "output_hidden_states", "output_router_logits", "num_items_in_batch", "is_causal"}
_PROBE_ROWS = (7, 5)


@dataclass(frozen=True, slots=True)
class PackTensors:
    """A pack as tensors.

    Args:
        input_ids: (T,) int64, rows end to end.
        position_ids: (T,) int64, from 0 in every row.
        row_lengths: tokens of each row; their sum is T.
        predicting: (N,) int64, increasing: the positions whose next token is learned.
        targets: (N,) int64, those next tokens.
        trained_per_row: how many of the N belong to each row.
    """

    input_ids: Tensor
    position_ids: Tensor
    row_lengths: tuple[int, ...]
    predicting: Tensor
    targets: Tensor
    trained_per_row: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """T."""
        return sum(self.row_lengths)

    @property
    def num_trained_tokens(self) -> int:
        """N."""
        return sum(self.trained_per_row)

    def to(self, device: torch.device) -> "PackTensors":
        """The same on another device."""
        names = ("input_ids", "position_ids", "predicting", "targets")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def pack_tensors(pack: Pack) -> PackTensors:
    """Lays the rows of a pack end to end.

    A label is learned from the position before it; the first token of a row has none and is never learned.
    """
    ids: list[int] = []
    positions: list[int] = []
    predicting: list[int] = []
    targets: list[int] = []
    trained: list[int] = []
    for example in pack.examples:
        start, before = len(ids), len(targets)
        for offset, label in enumerate(example.labels[1:]):
            if label != IGNORED:
                predicting.append(start + offset)
                targets.append(label)
        ids.extend(example.input_ids)
        positions.extend(range(len(example.input_ids)))
        trained.append(len(targets) - before)
    return PackTensors(
        input_ids=torch.tensor(ids),
        position_ids=torch.tensor(positions),
        row_lengths=tuple(len(example.input_ids) for example in pack.examples),
        predicting=torch.tensor(predicting, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        trained_per_row=tuple(trained),
    )


def causal_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside, whether or not PEFT is wrapped around it."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return cast(PreTrainedModel, inner)


def decoder_of(inner: PreTrainedModel) -> PreTrainedModel:
    """Everything below the output head."""
    return cast(PreTrainedModel, inner.get_decoder())  # type: ignore[no-untyped-call]


def packed_hidden_states(model: nn.Module, pack: PackTensors) -> Tensor:
    """Last hidden states (after the final norm) of every token of the pack.

    Call it inside `packed_attention(model)`; without it, or where the architecture cannot be packed, rows are computed
    one at a time, with the same result.

    Args:
        model: a causal LM, bare or inside PEFT.
        pack: on the model's device.

    Returns:
        (T, hidden), in the order of `pack.input_ids`.
    """
    decoder = decoder_of(causal_model(model))
    config = decoder.config
    if config._attn_implementation != PACKED:
        return _row_by_row(decoder, pack, {})
    limit = _rope_limit(config)
    if limit is not None and max(pack.row_lengths) > limit:
        return _row_by_row(decoder, pack, {"packed_rows": None})
    return _hidden(decoder, pack.input_ids, pack.position_ids, packed_rows=pack.row_lengths)


def _hidden(decoder: nn.Module, input_ids: Tensor, position_ids: Tensor, **extra: Any) -> Tensor:
    output = decoder(input_ids=input_ids[None], position_ids=position_ids[None], use_cache=False, **extra)
    hidden: Tensor = output.last_hidden_state
    return hidden[0]


def _row_by_row(decoder: nn.Module, pack: PackTensors, extra: dict[str, Any]) -> Tensor:
    ids = torch.split(pack.input_ids, list(pack.row_lengths))
    positions = torch.split(pack.position_ids, list(pack.row_lengths))
    rows = []
    for row, position in zip(ids, positions, strict=True):
        lengths = {name: (len(row),) for name in extra}
        rows.append(_hidden(decoder, row, position, **lengths))
    return torch.cat(rows)


@contextmanager
def packed_attention(model: nn.Module) -> Iterator[bool]:
    """Within it the model attends by packed rows (and cannot generate); after it, as before.

    Yields:
        False where the architecture cannot be packed; the model is then left alone.
    """
    inner = causal_model(model)
    if not supports_packing(model):
        yield False
        return
    with _implementation(inner, PACKED):
        yield True


@contextmanager
def _implementation(inner: PreTrainedModel, name: str) -> Iterator[None]:
    before = inner.config._attn_implementation
    inner.set_attn_implementation(name)
    try:
        yield
    finally:
        inner.set_attn_implementation(before)


class _CannotPackError(Exception):
    """The attention function was asked for something it does not compute."""


def packed_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    packed_rows: tuple[int, ...] | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row, called by the model's layers.

    Args:
        query: (1, query heads, T, head size); key and value (1, key heads, T, head size).
        attention_mask: always None under our name.
        sliding_window: a position sees itself and this many minus one before it, within its row.
        softcap: scores are squeezed into (-softcap, softcap) by tanh.
        packed_rows: tokens of each row.

    Returns:
        (1, T, query heads, head size), and None in place of the weights.
    """
    asked = {name for name, argument in other.items() if argument is not None} - _HARMLESS
    if packed_rows is None or attention_mask is not None or asked or not getattr(module, "is_causal", True):
        raise _CannotPackError(f"{type(module).__name__}: rows {packed_rows}, unknown {sorted(asked)}")
    # split, not slices: its backward is one concatenation instead of a sum of T-long tensors for every row
    rows = zip(*(torch.split(x, list(packed_rows), dim=2) for x in (query, key, value)), strict=True)
    outputs = [_attend(q, k, v, dropout, scaling, sliding_window, softcap) for q, k, v in rows]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _attend(
    q: Tensor, k: Tensor, v: Tensor, dropout: float, scaling: float | None, window: int | None, softcap: float | None
) -> Tensor:
    length, grouped = q.shape[2], q.shape[1] != k.shape[1]
    banded = window is not None and length > window
    mask = _band(length, window, q.device) if banded and window is not None else None
    if softcap is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=grouped
        )
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scale = q.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.tanh(q @ k.transpose(2, 3) * scale / softcap) * softcap
    visible = _band(length, window or length, q.device)
    weights = scores.masked_fill(~visible, float("-inf")).softmax(-1, dtype=torch.float32).to(q.dtype)
    return F.dropout(weights, dropout) @ v


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """(length, length) bool: True where position i (row) may see position j (column): i - window < j <= i."""
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril() & ones.triu(1 - window)


AttentionInterface.register(PACKED, packed_attention_forward)

_packable: "WeakKeyDictionary[PreTrainedModel, bool]" = WeakKeyDictionary()


def supports_packing(model: nn.Module) -> bool:
    """True when rows laid end to end give the hidden states that each gives alone; found out once, by trying."""
    inner = causal_model(model)
    if inner not in _packable:
        _packable[inner] = _declares_packable(inner) and _packs_exactly(model)
    return _packable[inner]


def _declares_packable(inner: PreTrainedModel) -> bool:
    config = decoder_of(inner).config
    layers = set(getattr(config, "layer_types", None) or ())
    chunked = getattr(config, "attention_chunk_size", None) is not None
    return inner._can_set_attn_implementation() and layers <= _PACKABLE_LAYERS and not chunked


def _packs_exactly(model: nn.Module) -> bool:
    """Compares two short rows packed with the same rows alone under the model's own attention."""
    inner = causal_model(model)
    decoder = decoder_of(inner)
    pack = _probe_pack(inner)
    seen: list[int | None] = []
    with torch.no_grad(), without_dropout(inner):
        expected = _row_by_row(decoder, pack, {})
        try:
            with _implementation(inner, PACKED), _recording_windows(seen):
                found = _hidden(decoder, pack.input_ids, pack.position_ids, packed_rows=pack.row_lengths)
        except (_CannotPackError, TypeError, ValueError):
            return False
    # A row that saw another is off by far more than rounding; low precision needs the wider margin.
    margin = 1e-3 if expected.dtype == torch.float32 else 5e-2
    close = bool((found - expected).abs().max() <= margin * expected.abs().max())
    return close and _expected_windows(decoder.config, len(seen)) == sum(w is not None for w in seen)


def _probe_pack(inner: PreTrainedModel) -> PackTensors:
    generator = torch.Generator().manual_seed(0)
    total = sum(_PROBE_ROWS)
    ids = torch.randint(0, min(1000, inner.config.get_text_config().vocab_size), (total,), generator=generator)
    positions = torch.cat([torch.arange(n) for n in _PROBE_ROWS])
    none = torch.zeros(0, dtype=torch.int64)
    device = next(inner.parameters()).device
    return PackTensors(ids, positions, _PROBE_ROWS, none, none, (0,) * len(_PROBE_ROWS)).to(device)


@contextmanager
def without_dropout(inner: nn.Module) -> Iterator[None]:
    """Within it every module computes as when answering; after it, as before."""
    training = [module for module in inner.modules() if module.training]
    inner.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _recording_windows(seen: list[int | None]) -> Iterator[None]:
    """Notes the window of every attention call: a model that keeps its window in the mask only would lose it."""

    def record(*arguments: Any, **settings: Any) -> tuple[Tensor, None]:
        seen.append(settings.get("sliding_window"))
        return packed_attention_forward(*arguments, **settings)

    AttentionInterface.register(PACKED, record)
    try:
        yield
    finally:
        AttentionInterface.register(PACKED, packed_attention_forward)


def _expected_windows(config: Any, num_layers: int) -> int:
    layers: Sequence[str] | None = getattr(config, "layer_types", None)
    if layers:
        return sum(kind == "sliding_attention" for kind in layers)
    return num_layers if getattr(config, "sliding_window", None) is not None else 0


def _rope_limit(config: Any) -> int | None:
    """Longest row up to which rotary embeddings do not depend on the other rows; None: they never do."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in _LENGTH_DEPENDENT_ROPE:
        return None
    original = rope.get("original_max_position_embeddings")
    return int(original or getattr(config, "original_max_position_embeddings", config.max_position_embeddings))
