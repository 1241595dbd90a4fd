"""A checkpoint as bf16 safetensors, in the gauge in which usual LoRA learning rates work.

An RMSNorm transformer does not change when every matrix (the embeddings included) is divided by s and every gain in
front of one is multiplied by s: RMSNorm forgets the scale of the residual stream, its eps goes down by s squared, and
q_norm and k_norm stay. A LoRA update of the same size then weighs s times more, so the learning rate that suits small,
Muon-trained weights (5e-3) becomes that of common models (5e-4). With s a power of two no bit is lost.
"""

import shutil
from pathlib import Path

import torch
from transformers import Qwen3ForCausalLM

SCALE = 16.0
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


@torch.no_grad()
def rescale(model: Qwen3ForCausalLM, s: float) -> None:
    """Divides matrices by s and multiplies the gains in front of them by s, in place; the logits stay as they are."""
    for name, p in model.named_parameters():
        if p.ndim == 2:
            p.div_(s)
        elif not name.endswith(("q_norm.weight", "k_norm.weight")):
            p.mul_(s)
    model.config.rms_norm_eps /= s * s
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and module.weight.numel() == model.config.hidden_size:
            module.variance_epsilon /= s * s


@torch.no_grad()
def average(model: Qwen3ForCausalLM, exported: Path, share: float = 0.5) -> None:
    """Mixes the weights of an exported model into `model`, in place: (1 - share) ours + share theirs.

    The middle of two points of one descent is usually better than either end: the noise of the last steps averages out.
    """
    other = Qwen3ForCausalLM.from_pretrained(exported, dtype=torch.float32)
    rescale(other, 1 / SCALE)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        ours.lerp_(theirs, share)


def export(model: Qwen3ForCausalLM, tokenizer_dir: Path, out: Path, s: float = SCALE) -> float:
    """Writes the model directory and returns the largest change of a logit that rescaling made (0 for a power of two).

    Raises:
        ValueError: the rescaled model answers differently.
    """
    model.to(torch.bfloat16).float().eval()
    ids = torch.randint(3, model.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(ids).logits
        rescale(model, s)
        gap = (model(ids).logits - before).abs().max().item()
    if gap > 1e-3:
        raise ValueError(f"rescaling by {s} changed the logits by {gap:.2e}")
    model.to(torch.bfloat16)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer_dir / name, out / name)
    return gap
