"""Answers that are written at the same time, each with its own key-value cache, so that they may come and go.

    prefill(model, row, ids)     a row's prompt, alone
    advance(model, rows, ...)    one more token of every row, in one forward pass

Where the architecture allows it, the linear layers see all rows at once and each row attends to its own keys alone,
without padding: the same kernel on the same numbers as when it is answered by itself. A row's cache is as long as its
text, and a row that leaves takes nothing with it. Other architectures (recurrent layers, capped scores) advance a row
at a time, with the same result.

Legend: B rows, T tokens of a row, V entries of the vocabulary, H key heads, D head size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from postil.models.packed import attends_by_length, supports_packing

BY_ROW = "postil_by_row"
_GROWTH_TOKENS = 256


@dataclass
class AnswerRow:
    """The cache of one answer.

    Args:
        num_tokens: tokens in it.
        whole: the cache while the prompt is read, and afterwards where rows cannot be computed together.
        keys, values: of each layer, (1, H, room, D), filled up to `num_tokens`.
    """

    num_tokens: int = 0
    whole: DynamicCache | None = None
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Writes one token's key and value (1, H, 1, D); returns all of the layer's up to it."""
        end = self.num_tokens + 1
        self.keys[layer][:, :, end - 1 : end], self.values[layer][:, :, end - 1 : end] = key, value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def spread(self) -> None:
        """From the prompt's cache to one with room to grow."""
        if self.whole is None:
            return
        layers: list[Any] = self.whole.layers
        self.keys = [_widened(layer.keys) for layer in layers]
        self.values = [_widened(layer.values) for layer in layers]
        self.whole = None

    def make_room(self) -> None:
        """Sees to it that one more token fits."""
        if self.keys and self.num_tokens == self.keys[0].shape[2]:
            self.keys, self.values = [_widened(k) for k in self.keys], [_widened(v) for v in self.values]


def _widened(tensor: Tensor) -> Tensor:
    batch, heads, length, size = tensor.shape
    wider = tensor.new_empty(batch, heads, length + _GROWTH_TOKENS, size)
    wider[:, :, :length] = tensor
    return wider


def _by_row_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    answer_rows: Sequence[AnswerRow] | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Each row's newest token attends to the row's own keys; called by the model's layers.

    Args:
        query: (B, query heads, 1, D); key and value (B, H, 1, D).

    Returns:
        (B, 1, query heads, D), and None in place of the weights.
    """
    assert answer_rows is not None and attention_mask is None
    outputs = []
    for i, row in enumerate(answer_rows):
        keys, values = row.append(module.layer_idx, key[i : i + 1], value[i : i + 1])  # type: ignore[arg-type]
        if sliding_window is not None:
            keys, values = keys[:, :, -sliding_window:], values[:, :, -sliding_window:]
        output, _ = sdpa_attention_forward(module, query[i : i + 1], keys, values, None, 0.0, scaling)
        outputs.append(output)
    return torch.cat(outputs), None


AttentionInterface.register(BY_ROW, _by_row_forward)


@torch.no_grad()
def prefill(model: PreTrainedModel, row: AnswerRow, ids: Sequence[int]) -> Tensor:
    """Reads the next part of a row's prompt; the first call begins the row.

    Returns:
        Logits (1, V) after the last token, fp32.
    """
    if row.whole is None:
        row.whole = DynamicCache() if computes_by_row(model) else DynamicCache(config=model.config)
    device = model.device
    positions = torch.arange(row.num_tokens, row.num_tokens + len(ids), device=device)[None]
    mask = torch.ones(1, row.num_tokens + len(ids), dtype=torch.int64, device=device)
    logits = _forward(model, torch.tensor([list(ids)], device=device), positions, mask, row.whole)
    row.num_tokens += len(ids)
    return logits


@torch.no_grad()
def advance(model: PreTrainedModel, rows: Sequence[AnswerRow], tokens: Sequence[int]) -> Tensor:
    """One more token of every row; the rows' prompts have been read.

    Returns:
        Logits (B, V) after it, fp32.
    """
    device = model.device
    ids = torch.tensor(tokens, device=device)[:, None]
    positions = torch.tensor([row.num_tokens for row in rows], device=device)[:, None]
    if not computes_by_row(model):
        logits = torch.cat([_advance_alone(model, *one) for one in zip(rows, ids, positions, strict=True)])
    else:
        for row in rows:
            row.spread()
            row.make_room()
        with _attention(model, BY_ROW):
            output: Any = model(
                input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=1, answer_rows=tuple(rows)
            )
        logits = output.logits[:, -1].float()
    for row in rows:
        row.num_tokens += 1
    return logits


def _advance_alone(model: PreTrainedModel, row: AnswerRow, ids: Tensor, position: Tensor) -> Tensor:
    mask = torch.ones(1, row.num_tokens + 1, dtype=torch.int64, device=ids.device)
    assert row.whole is not None
    return _forward(model, ids[None], position[None], mask, row.whole)


def _forward(model: nn.Module, ids: Tensor, positions: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1].float()
    return logits


@contextmanager
def _attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


_by_row: "WeakKeyDictionary[PreTrainedModel, bool]" = WeakKeyDictionary()


def computes_by_row(model: PreTrainedModel) -> bool:
    """True when rows can be computed together with a cache each; found out once, by trying."""
    if model not in _by_row:
        _by_row[model] = False
        _by_row[model] = _is_eligible(model) and _computes_alike(model)
    return _by_row[model]


def _is_eligible(model: PreTrainedModel) -> bool:
    is_sdpa = model.config._attn_implementation == "sdpa"
    return is_sdpa and not attends_by_length(model) and supports_packing(model)


def _computes_alike(model: PreTrainedModel) -> bool:
    """Compares two rows advanced together with the same rows by themselves."""
    generator = torch.Generator().manual_seed(0)
    num_known = min(1000, model.config.get_text_config().vocab_size)
    prompts = [torch.randint(0, num_known, (n,), generator=generator).tolist() for n in (7, 40)]
    alone = [AnswerRow() for _ in prompts]
    for row, prompt in zip(alone, prompts, strict=True):
        prefill(model, row, prompt)
    expected = torch.cat([advance(model, [row], [5]) for row in alone])
    together = [AnswerRow(whole=DynamicCache()) for _ in prompts]
    try:
        for row, prompt in zip(together, prompts, strict=True):
            prefill(model, row, prompt)
        _by_row[model] = True
        found = advance(model, together, [5, 5])
    except (AssertionError, TypeError, ValueError, AttributeError, IndexError):
        return False
    margin = 1e-3 if model.dtype == torch.float32 else 5e-2
    return bool((found - expected).abs().max() <= margin * expected.abs().max())
