"""The last layer's feed-forward part, only where a token is predicted.

What that part makes of a token is read by the output head and by nothing else: no layer follows, and it works on each
token by itself. Elsewhere it may be left out, which changes no logit that is asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from postil.models.packed import causal_model, decoder_of

MOST_INDICES = 0.9  # of all tokens; above, picking them out is not worth it


@contextmanager
def last_layer_at(model: nn.Module, indices: Tensor, num_tokens: int) -> Iterator[bool]:
    """Within it last hidden states are right at these indices and nowhere else.

    Args:
        indices: (n,) int64, each once.
        num_tokens: T of the pack; a call with another number of tokens is computed whole.

    Yields:
        False where everything is computed: most tokens are wanted, or the layer has no `mlp` of its own.
    """
    layers = getattr(decoder_of(causal_model(model)), "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if isinstance(layers, nn.ModuleList) and len(layers) else None
    if mlp is None or "forward" in mlp.__dict__ or not 0 < len(indices) <= MOST_INDICES * num_tokens:
        yield False
        return
    whole = mlp.forward

    def forward(x: Tensor, *arguments: Any, **settings: Any) -> Any:
        if arguments or settings or x.shape[:2] != (1, num_tokens):
            return whole(x, *arguments, **settings)
        found = whole(x.index_select(1, indices))
        if not isinstance(found, Tensor):  # an expert layer that also tells its choices
            return whole(x)
        return torch.zeros_like(x, dtype=found.dtype).index_copy(1, indices, found)

    mlp.forward = forward
    try:
        yield True
    finally:
        mlp.__dict__.pop("forward", None)
