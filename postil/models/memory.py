"""How much memory a base model takes, from its shape alone: to answer, and to train an adapter on it.

Sizes are bytes. The formulas count what the engine keeps; `tests/models/test_memory.py` holds them against reality.
No torch: the web and the shell ask here before anything is loaded.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNTIME_BYTES = 450_000_000
"""Python, torch and transformers themselves before a single weight is read (417 MB resident with the starter, CPU)."""
MARGIN = 1.1
"""Allocators round up and leave gaps."""
HEAD_LOGITS, HEAD_ROWS = 8_000_000, 160
"""Logits that exist at once while training, or those of so many positions where that is more: a chunk of `loss.py`."""
ROW_KERNELS, COMMON_KERNELS = 12, 64
"""Most kernels that attention needs for rows of one length, there and back; and the linear layers and the head."""
FEWEST_KERNELS, MOST_KERNELS = 256, 1024
KERNEL_BYTES = 1_000_000
"""Of a kernel that oneDNN has made for one shape in bf16: 0.65 MB itself (520 MB for 800 of them), and the gaps that
making and dropping them leaves between the larger blocks of the steps (docs/results/demo.md)."""


LINEAR_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Of one weight of a quantized linear layer: 4 bits, and a scale in fp32 for each block of 64 (bitsandbytes' NF4)."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers that decide a decoder's size.

    Args:
        hidden: width of the residual stream.
        intermediate: width inside the gated feed-forward part.
        head_dim: width of one attention head.
        tied: the output layer shares the embedding's weights.
        context_tokens: longest conversation it was made for.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    context_tokens: int

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of one layer's q, k, v, o, gate, up and down projections."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        h, f = self.hidden, self.intermediate
        return ((h, q), (h, kv), (h, kv), (q, h), (h, f), (h, f), (f, h))

    @property
    def num_parameters(self) -> int:
        """Weights of embedding, layers and head; biases and norms, under 0.1 %, are left out."""
        layer = sum(i * o for i, o in self.linears)
        return self.layers * layer + self.vocab * self.hidden * (1 if self.tied else 2)


def weight_bytes(shape: ModelShape, dtype_bytes: int, quantization: str = "none") -> int:
    """The base's weights; quantized are the layers' linear ones, while embedding and head stay as they are.

    Args:
        quantization: "none", "8bit" or "4bit".
    """
    linear = shape.layers * sum(i * o for i, o in shape.linears)
    kept = shape.num_parameters - linear
    return int(linear * LINEAR_BYTES.get(quantization, dtype_bytes)) + kept * dtype_bytes


def bytes_to_load(weight_bytes: int) -> int:
    """Memory for weights alone, running program included: the least that any use of a base takes."""
    return RUNTIME_BYTES + int(weight_bytes * MARGIN)


def bytes_to_answer(shape: ModelShape, context_tokens: int, dtype_bytes: int, quantization: str = "none") -> int:
    """Peak memory of answering one conversation.

        runtime + 1.1 (weights + cache + prompt + logits)
        cache   = 2 layers kv_heads head_dim dtype   a token
        prompt  = (3 intermediate + 8 hidden) dtype  a token: one layer at a time while the prompt is read
        logits  = 2 vocab 4                          of the last position, and a sorted copy for top-p

    Args:
        context_tokens: prompt and answer together.
        dtype_bytes: of one weight: 4 for fp32, 2 for bf16 and fp16.
        quantization: as `weight_bytes`.
    """
    cache = 2 * shape.layers * shape.kv_heads * shape.head_dim * dtype_bytes * context_tokens
    prompt = (3 * shape.intermediate + 8 * shape.hidden) * dtype_bytes * context_tokens
    weights = weight_bytes(shape, dtype_bytes, quantization)
    return RUNTIME_BYTES + int(MARGIN * (weights + cache + prompt + 2 * shape.vocab * 4))


def bytes_to_train(
    shape: ModelShape,
    rank: int,
    tokens_per_pack: int,
    dtype_bytes: int,
    *,
    is_fused: bool = False,
    recomputes: bool = False,
    quantization: str = "none",
) -> int:
    """Peak memory of a training step with LoRA on every linear layer.

        runtime + 1.1 (weights + adapter + activations + head)
        adapter = 16 rank (inputs + outputs) of every linear layer: fp32 weights, gradients and two Adam moments
        head    = 3 x 4 bytes for each logit of a chunk: itself, its softmax, its gradient

    Args:
        rank: of the adapter.
        tokens_per_pack: tokens computed at once, what rows share counted once.
        dtype_bytes: of one base weight and activation.
        is_fused: the adapter is plain LoRA and is computed by `fused_lora.py`.
        recomputes: layers keep their input only (`recompute.py`).
        quantization: of the linear layers' weights; activations stay in `dtype_bytes`.
    """
    weights = weight_bytes(shape, dtype_bytes, quantization)
    adapter = 16 * rank * shape.layers * sum(i + o for i, o in shape.linears)
    head = head_bytes(shape, tokens_per_pack)
    activations = activation_bytes(shape, rank, tokens_per_pack, dtype_bytes, is_fused=is_fused)
    if recomputes:
        # the last layer, the one that is computed again, and its gradients
        activations = 3 * activations // shape.layers + tokens_per_pack * shape.layers * shape.hidden * dtype_bytes
    return RUNTIME_BYTES + int(MARGIN * (weights + adapter + activations + head))


def head_bytes(shape: ModelShape, tokens: int) -> int:
    """Logits of `tokens` predicted tokens with their softmax and their gradient, as many as exist at once."""
    return 3 * 4 * min(max(HEAD_LOGITS, HEAD_ROWS * shape.vocab), shape.vocab * tokens)


def num_kernels(num_rows: int) -> int:
    """Kernels of single shapes that a run keeps for steps of `num_rows` rows; see `training/kernels.py`."""
    return min(MOST_KERNELS, max(FEWEST_KERNELS, COMMON_KERNELS + ROW_KERNELS * num_rows))


def activation_bytes(shape: ModelShape, rank: int, tokens: int, dtype_bytes: int, *, is_fused: bool = False) -> int:
    """What the backward pass needs again, kept from the forward pass of `tokens` tokens.

    Per token and layer, with q = heads head_dim and kv = kv_heads head_dim:

        dtype (2 hidden + q + intermediate)   inputs of the linear layers, which the A matrices' gradients need
        dtype (3 intermediate)                gate before and after its activation, and up
        dtype (4 q + 4 kv)                    queries, keys and values around norm and rotation, attention's result
        4 (4 hidden)                          both RMSNorms compute in fp32 and keep their input
        4 (7 rank)                            between A and B of the seven adapted layers
        4 (3 hidden + q + intermediate)       in bf16 only: PEFT copies adapted inputs to fp32

    Args:
        is_fused: as `bytes_to_train`; then without the last line.
    """
    h, f = shape.hidden, shape.intermediate
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    per_layer = dtype_bytes * (2 * h + q + f + 3 * f + 4 * q + 4 * kv) + 4 * (4 * h + 7 * rank)
    if dtype_bytes < 4 and not is_fused:
        per_layer += 4 * (3 * h + q + f)
    return tokens * shape.layers * per_layer


def shape_from_config(config: Mapping[str, Any]) -> ModelShape | None:
    """Reads the shape out of a config.json; None where the architecture names its sizes otherwise."""
    text = config.get("text_config")
    values: Mapping[str, Any] = text if isinstance(text, Mapping) else config
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    sizes = [values.get(name) for name in names]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    hidden, layers, heads, intermediate, vocab = (int(size) for size in sizes if size is not None)
    return ModelShape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=int(values.get("num_key_value_heads") or heads),
        head_dim=int(values.get("head_dim") or hidden // heads),
        intermediate=intermediate,
        vocab=vocab,
        # transformers leaves the entry out where it is the family's default, and that is "tied" for Gemma
        tied=bool(values.get("tie_word_embeddings", str(values.get("model_type", "")).startswith("gemma"))),
        context_tokens=int(values.get("max_position_embeddings") or 2048),
    )


def available_memory_bytes(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Memory that can still be used: the machine's, or less where a container's limit (cgroup v1 or v2) says so.

    The workers of a `torchrun` on this machine take equal parts.

    Args:
        cgroups: where the limits are mounted.
        own: which of them apply to this process.
    """
    import psutil  # type: ignore[import-untyped]

    free = int(psutil.virtual_memory().available)
    for group in _own_groups(cgroups, own):
        left = _left_in_group(group)
        if left is not None:
            free = min(free, left)
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def gigabytes(size: int) -> str:
    """A size in words: "0.4 GB", "1 GB", "16 GB"."""
    value = round(size / 1e9, 1)
    return f"{value:.0f} GB" if value >= 10 or value == round(value) else f"{value} GB"


def _own_groups(cgroups: Path, own: Path) -> list[Path]:
    """The memory groups of this process and everything above them: each level may set a limit."""
    try:
        lines = [line.split(":", 2) for line in own.read_text("utf-8").splitlines() if line.count(":") >= 2]
    except OSError:
        return []
    groups = []
    for _, controllers, path in lines:
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        group = root / path.strip("/")
        groups += [group, *(parent for parent in group.parents if parent == root or root in parent.parents)]
    return groups


def _left_in_group(group: Path) -> int | None:
    """Limit less use, where cached files count as free: the kernel gives them up on demand."""
    for limit_name, used_name, cached_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = int((group / limit_name).read_text("utf-8"))
            used = int((group / used_name).read_text("utf-8"))
            stat = dict(line.split() for line in (group / "memory.stat").read_text("utf-8").splitlines())
        except (OSError, ValueError):  # not there, or "max"
            continue
        return max(0, limit - used + int(stat.get(cached_name, 0)))
    return None
