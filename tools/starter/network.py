"""The starter's architecture, its loss and its optimizers."""

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from tools.starter.corpus import END_OF_TEXT, IM_END

HEAD_CHUNK_TOKENS = 256


def build_model(vocab_size: int, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 of 5.4M parameters: 8 layers of 192, 3 heads of 64 over 1 key/value head, tied embeddings."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocab_size,
            hidden_size=192,
            intermediate_size=576,
            num_hidden_layers=8,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=64,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=IM_END,
            pad_token_id=END_OF_TEXT,
            attn_implementation="sdpa",
        )
    )


class TiedHeadLoss(torch.autograd.Function):
    """Mean cross-entropy of hidden states (N, D) against targets (N,) with a head (V, D), chunk by chunk.

    Both gradients are made in the forward pass, so at most one chunk of logits is ever in memory.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
        compute = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden_ND.dtype
        head, total = head_VD.to(compute), hidden_ND.new_zeros(())
        d_hidden, d_head = torch.empty_like(hidden_ND), torch.zeros_like(head_VD)
        for start in range(0, len(hidden_ND), HEAD_CHUNK_TOKENS):
            x = hidden_ND[start : start + HEAD_CHUNK_TOKENS].to(compute)
            y = targets_N[start : start + HEAD_CHUNK_TOKENS]
            logits = (x @ head.T).float()
            log_norm = logits.logsumexp(-1)
            total += (log_norm - logits.gather(1, y[:, None])[:, 0]).sum()
            probabilities = logits.sub_(log_norm[:, None]).exp_()
            probabilities[torch.arange(len(y)), y] -= 1
            gradient = (probabilities / len(hidden_ND)).to(compute)
            d_hidden[start : start + HEAD_CHUNK_TOKENS] = gradient @ head
            d_head += gradient.T @ x
        ctx.save_for_backward(d_hidden, d_head)
        return total / len(hidden_ND)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * grad, d_head * grad, None


def next_token_loss(model: Qwen3ForCausalLM, windows_BT: Tensor) -> Tensor:
    """Mean loss in nats over every next token of windows (B, T + 1)."""
    hidden = model.model(input_ids=windows_BT[:, :-1], use_cache=False).last_hidden_state
    loss: Tensor = TiedHeadLoss.apply(hidden.flatten(0, 1).float(), model.lm_head.weight, windows_BT[:, 1:].flatten())
    return loss


@torch.no_grad()
def orthogonalize(G: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrix to each (..., M, N), roughly: five quintic Newton-Schulz iterations.

    Coefficients from Keller Jordan's Muon (2024), tuned for speed rather than exact convergence.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G / (G.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = X.size(-2) > X.size(-1)
    X = X.mT if tall else X
    for _ in range(5):
        gram = X @ X.mT
        X = a * X + (b * gram + c * (gram @ gram)) @ X
    return X.mT if tall else X


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized; matrices of one shape are stepped together."""

    def __init__(self, params: list[torch.nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                state = self.state[p]
                momentum = state.setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
                by_shape.setdefault(p.shape, []).append((p, p.grad.lerp(momentum, group["momentum"])))
            for shape, pairs in by_shape.items():
                updates = orthogonalize(torch.stack([update for _, update in pairs]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for (p, _), update in zip(pairs, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def make_optimizers(model: Qwen3ForCausalLM, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and gains; a group's `peak_lr` is the top of its schedule."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, muon_lr),
        torch.optim.AdamW(rest, adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers
