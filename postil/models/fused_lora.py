"""Plain LoRA in one pass with its frozen layer; layers that share their input, in one pass together.

For the layers j of a group (q, k, v; gate, up; or one alone), with scale s:

    forward     h = x [A1; A2 ...]'                    one product for all A
                y_j = x W_j' + b_j + h_j (s B_j)'

    backward    u_j = dy_j (s B_j)                     u = [u1 u2 ...]
                dx = dy_1 W_1 + dy_2 W_2 + ... + u [A1; A2 ...]
                [dA1; dA2 ...] = u' x
                dB_j = s dy_j' h_j

x and h are kept, and what A and B were multiplied as: no copy of x in fp32, none for dropout. The trained matrices are
fp32; what is multiplied is a copy of them in the base's precision, made once a pass. PEFT's layers are left as they
are, so are their files; only their `forward` is another one within `fused_lora`. Every other variant goes on through
PEFT.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn import functional as F

from postil.models.adapter import ADAPTER

_SHARING_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


@contextmanager
def fused_lora(model: nn.Module) -> Iterator[int]:
    """Within it plain LoRA layers compute in one pass; after it, as PEFT does.

    Yields:
        How many layers do.
    """
    groups = _groups(model)
    layers = [layer for group in groups for layer in group.layers]
    try:
        for group in groups:
            for number, layer in enumerate(group.layers):
                layer.forward = _forward(group, number)  # type: ignore[method-assign]
        yield len(layers)
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _groups(model: nn.Module) -> list["_Group"]:
    """Every layer that can be computed so, with those that share its input."""
    groups = []
    for parent in model.modules():
        plain = {name: cast(LoraLinear, child) for name, child in parent.named_children() if _is_plain(child)}
        for names in _SHARING_INPUT:
            together = [plain.pop(name) for name in names if name in plain]
            if together:
                groups.append(_Group(together))
        groups += [_Group([layer]) for layer in plain.values()]
    return groups


def _is_plain(layer: nn.Module) -> bool:
    """True for a linear layer with one LoRA pair and nothing else: no variant, dropout or trained bias."""
    if type(layer) is not LoraLinear or type(layer.base_layer) is not nn.Linear or "forward" in layer.__dict__:
        return False
    if layer.active_adapters != [ADAPTER] or ADAPTER not in layer.lora_A:
        return False
    dropout, base = layer.lora_dropout[ADAPTER], layer.base_layer
    drops = not isinstance(dropout, nn.Identity) and not (isinstance(dropout, nn.Dropout) and dropout.p == 0)
    changed = drops or layer.lora_variant or layer.lora_bias[ADAPTER] or layer.merged or layer.fan_in_fan_out
    trained = any(p.requires_grad for p in base.parameters())
    return not changed and not trained and base.weight.is_floating_point()


@dataclass(slots=True, eq=False)
class _Group:
    """Layers that share their input: the first that is asked computes all, and the others hand out what waits.

    Args:
        shares: set to False for good as soon as one was not asked with the same input.
        waiting: results by the layer's number.
    """

    layers: list[LoraLinear]
    shares: bool = True
    source: Tensor | None = None
    waiting: dict[int, Tensor] = field(default_factory=dict)

    def output(self, number: int, x: Tensor) -> Tensor:
        """Result of one layer."""
        if self.source is x and number in self.waiting:
            result = self.waiting.pop(number)
            if not self.waiting:
                self.source = None
            return result
        self.shares = self.shares and not self.waiting
        self.waiting.clear()
        self.source = None
        if not self.shares or len(self.layers) == 1:
            return _compute([self.layers[number]], x)[0]
        results = dict(enumerate(_compute(self.layers, x)))
        result = results.pop(number)
        self.waiting, self.source = results, x
        return result


def _forward(group: _Group, number: int) -> Callable[..., Tensor]:
    layer = group.layers[number]
    by_peft: Callable[..., Tensor] = layer.forward

    def forward(x: Tensor, *arguments: Any, **settings: Any) -> Tensor:
        if arguments or settings or layer.disable_adapters:
            return by_peft(x, *arguments, **settings)
        return group.output(number, x)

    return forward


def _compute(layers: Sequence[LoraLinear], x: Tensor) -> tuple[Tensor, ...]:
    bases: list[Any] = [layer.base_layer for layer in layers]
    scales = [float(layer.scaling[ADAPTER]) for layer in layers]
    pairs = [m for layer in layers for m in (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight)]
    results: tuple[Tensor, ...] = _FusedLora.apply(x, bases, scales, *pairs)  # type: ignore[no-untyped-call]
    return results


class _FusedLora(torch.autograd.Function):
    """See the formulas at the top; x (..., inputs) -> one (..., outputs) a layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bases: list[nn.Linear], scales: list[float], *pairs: Tensor) -> tuple[Tensor, ...]:
        rows = x.reshape(-1, x.shape[-1])
        together = torch.cat([a.to(x.dtype) for a in pairs[::2]])
        scaled = [(b * scale).to(x.dtype) for b, scale in zip(pairs[1::2], scales, strict=True)]
        thin = rows @ together.T
        ranks = [b.shape[1] for b in scaled]
        outputs = []
        for base, b, h in zip(bases, scaled, thin.split(ranks, 1), strict=True):
            y = F.linear(rows, base.weight, base.bias)
            outputs.append(y.addmm_(h, b.T).view(*x.shape[:-1], -1))
        ctx.save_for_backward(rows, thin, together, *scaled)
        ctx.settings = (bases, scales, ranks, x.shape)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, thin, together, *scaled = ctx.saved_tensors
        bases, scales, ranks, shape = ctx.settings
        slopes = [dy.reshape(-1, dy.shape[-1]) for dy in upstream]
        u = torch.cat([dy @ b for dy, b in zip(slopes, scaled, strict=True)], dim=1)
        gradient = None
        if ctx.needs_input_grad[0]:
            total = slopes[0] @ bases[0].weight
            for dy, base in zip(slopes[1:], bases[1:], strict=True):
                total.addmm_(dy, base.weight)
            gradient = total.addmm_(u, together).view(shape)
        gradients_a = (u.T @ rows).float().split(ranks)
        thins = thin.split(ranks, 1)
        gradients_b = [(dy.T @ h).float() * s for dy, h, s in zip(slopes, thins, scales, strict=True)]
        pairs = [g for pair in zip(gradients_a, gradients_b, strict=True) for g in pair]
        return gradient, None, None, *pairs
