"""How much arithmetic a LoRA run owes: for machines that are not here.

    trunk    4 N_lin              a token: forward, and the gradient of the activations; frozen weights have none
    adapter  6 r (in + out)       a token and layer
    scores   8 layers heads head_dim length / 2     a token: causal attention, forward and backward
    head     4 V d                a learned token

Padding, logits of prompt tokens and recomputation owe nothing here, since the engine does none of them.
"""

from postil.models.memory import ModelShape


def training_flop(shape: ModelShape, tokens: int, supervised_tokens: int, rank: int, row_tokens: float) -> float:
    """Operations of computing `tokens` tokens forward and backward.

    Args:
        supervised_tokens: those of them that are learned.
        row_tokens: length of a row, on average.
    """
    linear = sum(i * o for i, o in shape.linears) * shape.layers
    adapter = sum(i + o for i, o in shape.linears) * shape.layers * rank
    scores = 8 * shape.layers * shape.heads * shape.head_dim * row_tokens / 2
    return tokens * (4 * linear + 6 * adapter + scores) + supervised_tokens * 4 * shape.vocab * shape.hidden


def reading_flop(shape: ModelShape, tokens: int, supervised_tokens: int) -> float:
    """Operations of a forward pass alone, as held-out rows are measured."""
    linear = sum(i * o for i, o in shape.linears) * shape.layers
    return 2 * (tokens * linear + supervised_tokens * shape.vocab * shape.hidden)
