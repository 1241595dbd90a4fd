"""The loss of the tokens that are learned, and nothing more.

    hidden (T, d) -> rows at predicting positions (N, d) -> chunks -> logits -> sum of -log p(target)

A frozen head needs no gradient of its own weights, only of its input. That one is computed together with the loss, a
chunk at a time, so that never more than one chunk of logits is in memory; backward multiplies it by a number. What lies
between the chunk's two products (softmax, loss, slope) is computed in fp32, a slice at a time, in place of the logits.
A head that is trained itself takes the ordinary differentiable way, recomputed chunk by chunk.
"""

import math
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from postil.data.prefix_tree import Segment
from postil.errors import UnavailableError
from postil.models.last_layer import last_layer_at
from postil.models.packed import (
    PackTensors,
    causal_model,
    decoder_of,
    packed_hidden_states,
    without_dropout,
)
from postil.models.packed_attention import PACKED

CHUNK_LOGITS = 8_000_000  # 32 MB in fp32
SLICE_LOGITS = 1_000_000
MIN_CHUNK_ROWS = 160  # fewer positions at once would wait for the head's weights more than they compute


@dataclass(frozen=True, slots=True)
class OutputHead:
    """What turns hidden states into logits: logits = softcap(module(hidden) * scale).

    Args:
        module: the linear layer, possibly wrapped by PEFT.
        trained: True when its own parameters learn.
        scale: factor on the logits.
        softcap: logits are squeezed into (-softcap, softcap) by tanh.
    """

    module: nn.Module
    trained: bool
    scale: float
    softcap: float | None

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, d) -> (N, V) in fp32, as the model itself computes them."""
        logits: Tensor = self.module(hidden).float()
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap

    @property
    def chunk_rows(self) -> int:
        """Positions whose logits are computed at once."""
        weight: Tensor = self.module.weight  # type: ignore[assignment]
        return max(MIN_CHUNK_ROWS, CHUNK_LOGITS // weight.shape[0])


_checked: "WeakKeyDictionary[nn.Module, OutputHead]" = WeakKeyDictionary()


def output_head(model: nn.Module) -> OutputHead:
    """Reads the head of a causal LM (bare or inside PEFT), and compares it once with the model's own logits.

    Raises:
        UnavailableError: the model computes its logits in a way that is not known here.
    """
    inner = causal_model(model)
    module: nn.Module = inner.get_output_embeddings()
    known = _checked.get(inner)
    trained = any(p.requires_grad for p in module.parameters())
    if known is None or known.module is not module or known.trained != trained:
        config = inner.config.get_text_config()
        softcap = getattr(config, "final_logit_softcapping", None)
        known = OutputHead(module, trained, _logit_scale(config), softcap)
        if not _agrees(inner, known):
            raise UnavailableError("training.unknown_head", family=config.model_type)
        _checked[inner] = known
    return known


def _logit_scale(config: Any) -> float:
    divisor = getattr(config, "logits_scaling", None)
    multipliers = (getattr(config, "logit_scale", None), getattr(config, "lm_head_multiplier", None))
    scale = 1.0 / divisor if divisor else 1.0
    for multiplier in multipliers:
        scale *= float(multiplier) if multiplier is not None else 1.0
    return scale


@torch.no_grad()
def _agrees(inner: PreTrainedModel, head: OutputHead) -> bool:
    """True when five tokens' logits are the model's own."""
    device = next(inner.parameters()).device
    vocabulary = inner.config.get_text_config().vocab_size
    ids = torch.arange(5, device=device)[None] * 7 % vocabulary
    decoder = decoder_of(inner)
    rows = {"packed_segments": (Segment(0, 5),)} if decoder.config._attn_implementation == PACKED else {}
    with without_dropout(inner):
        expected = inner(input_ids=ids, use_cache=False, **rows).logits[0].float()
        hidden = decoder(input_ids=ids, use_cache=False, **rows).last_hidden_state[0]
        found = head.logits(hidden)
    margin = 1e-4 if hidden.dtype == torch.float32 else 3e-2
    return expected.shape == found.shape and bool((expected - found).abs().max() <= margin * expected.abs().max())


def summed_loss(model: nn.Module, pack: PackTensors) -> Tensor:
    """Sum of -log p over the pack's trained tokens, in nats; its gradient reaches every trainable parameter.

    Args:
        model: a causal LM; call within `packed_attention(model)`.
        pack: on the model's device.

    Returns:
        A scalar in fp32. Divide the gradient by the trained tokens of the whole step, not of the pack.
    """
    return head_loss(output_head(model), _predicting_states(model, pack), pack.targets)


def _predicting_states(model: nn.Module, pack: PackTensors) -> Tensor:
    """(N, d): last hidden states at the predicting indices."""
    with last_layer_at(model, pack.predicting.unique(), pack.num_laid_tokens):
        hidden = packed_hidden_states(model, pack)
    return hidden.index_select(0, pack.predicting)


def head_loss(head: OutputHead, hidden: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log p(target).

    Args:
        hidden: (N, d), the positions that predict.
        targets: (N,) token ids.
    """
    if head.trained:
        return _trained_head_loss(head, hidden, targets)
    weight, bias = head.module.weight, getattr(head.module, "bias", None)
    return _SummedLoss.apply(hidden, weight, bias, targets, head.scale, head.softcap, head.chunk_rows)  # type: ignore[no-any-return, no-untyped-call]


def _trained_head_loss(head: OutputHead, hidden: Tensor, targets: Tensor) -> Tensor:
    def chunk_loss(rows: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(head.logits(rows), wanted, reduction="sum")

    chunks = zip(torch.split(hidden, head.chunk_rows), torch.split(targets, head.chunk_rows), strict=True)
    losses = [checkpoint(chunk_loss, rows, wanted, use_reentrant=False) for rows, wanted in chunks]
    return torch.stack(losses).sum()


class _SummedLoss(torch.autograd.Function):
    """Loss of a frozen head, and in the same pass the gradient of its input."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: float,
        softcap: float | None,
        chunk_rows: int,
    ) -> Tensor:
        wants_gradient = ctx.needs_input_grad[0]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        gradients = []
        num_chunks = max(1, math.ceil(len(hidden) / chunk_rows))
        chunk_rows = max(1, math.ceil(len(hidden) / num_chunks))  # of one size
        for rows, wanted in zip(torch.split(hidden, chunk_rows), torch.split(targets, chunk_rows), strict=True):
            logits = F.linear(rows, weight, bias)
            total += _losses_to_slopes(logits, wanted, scale, softcap)
            if wants_gradient:
                gradients.append(logits @ weight)
            del logits  # before the next chunk's are made
        ctx.gradient = torch.cat(gradients) if gradients else None
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradient = None if ctx.gradient is None else ctx.gradient * upstream[0].to(ctx.gradient.dtype)
        return gradient, None, None, None, None, None, None


def _losses_to_slopes(logits: Tensor, targets: Tensor, scale: float, softcap: float | None) -> Tensor:
    """The loss of a chunk; its logits are replaced by the loss's gradient with respect to them.

    Args:
        logits: (N, V) in the base's precision, before scale and softcap.
        targets: (N,).

    Returns:
        Sum of -log p(target), fp32.
    """
    total = torch.zeros((), dtype=torch.float32, device=logits.device)
    slice_rows = max(1, SLICE_LOGITS // logits.shape[1])
    for part, wanted in zip(torch.split(logits, slice_rows), torch.split(targets, slice_rows), strict=True):
        precise = part.float()  # fp32 logits themselves, or a copy
        squeezed = _shape_logits(precise, scale, softcap)
        chosen = precise.gather(1, wanted[:, None])
        peak = precise.amax(-1, keepdim=True)
        slope = torch.softmax(precise, -1, out=precise)  # probabilities, in place of the logits
        # the normalizer from the likeliest token, whose probability is never small
        total += (peak - slope.amax(-1, keepdim=True).log() - chosen).sum()
        slope.scatter_add_(1, wanted[:, None], torch.full_like(chosen, -1.0))
        if squeezed is not None:
            slope *= 1 - squeezed.square()
        if scale != 1.0:
            slope *= scale
        if slope.dtype != part.dtype:
            part.copy_(slope)
    return total


def _shape_logits(logits: Tensor, scale: float, softcap: float | None) -> Tensor | None:
    """Scales and squeezes in place; returns tanh(logits * scale / softcap), which the gradient needs."""
    if scale != 1.0:
        logits *= scale
    if softcap is None:
        return None
    squeezed = torch.tanh(logits / softcap)
    torch.mul(squeezed, softcap, out=logits)
    return squeezed


@torch.no_grad()
def row_losses(model: nn.Module, pack: PackTensors) -> list[float]:
    """Summed loss of each row of the pack, in nats; divide by `pack.trained_per_row` for means.

    Args:
        model: a causal LM; call within `packed_attention(model)`.
        pack: on the model's device.
    """
    head = output_head(model)
    hidden = _predicting_states(model, pack)
    chunks = zip(torch.split(hidden, head.chunk_rows), torch.split(pack.targets, head.chunk_rows), strict=True)
    losses = [F.cross_entropy(head.logits(rows), wanted, reduction="none") for rows, wanted in chunks]
    per_token = torch.cat(losses) if losses else torch.zeros(0)
    return [float(row.sum()) for row in torch.split(per_token, list(pack.trained_per_row))]
