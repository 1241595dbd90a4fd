"""Layers that keep their input only, and compute the rest again on the way back: half again the time, a fraction of the
memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from postil.models.packed import causal_model, decoder_of


@contextmanager
def recomputed_layers(model: nn.Module) -> Iterator[int]:
    """Within it the decoder's layers do so, one by one; after it, as before.

    All but the last: its way back begins at once, so that computing it again would save nothing.

    Yields:
        How many layers do; 0 for an architecture whose layers are not known.
    """
    decoder = decoder_of(causal_model(model))
    known = [m for m in decoder.modules() if isinstance(m, GradientCheckpointingLayer)]
    layers = [m for m in known[:-1] if "forward" not in m.__dict__]
    try:
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        yield len(layers)
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
