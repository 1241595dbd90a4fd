"""What the benchmarks of a step train on: rows of an exact length, a random model of a real shape, and an adapter.

All of it is decided by a seed and made once, under build/bench. Every arm reads the same files:

    rows.json       rows as messages and as token ids with labels, and which of them make each step
    model/          config, weights in the precision that is measured, the real tokenizer
    adapter/        a PEFT folder; B is not zero, so that A's gradient counts from the first step on

Words are single tokens of the tokenizer, drawn at random, so that lengths are exact. Weights are larger than a fresh
model's: its logits would all be alike, and a loss could not tell a row that sees its neighbour from one that does not.
"""

import json
import random
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_SHARED = next((p for p in (ROOT.parent / "shared", ROOT / "shared") if p.is_dir()), ROOT.parent / "shared")
TOKENIZER = _SHARED / "tokenizers" / "qwen2.5-0.5b"
CACHE = ROOT / "build" / "bench"
SEED, IGNORED = 20, -100
WEIGHT_STD, EMBEDDING_STD, ADAPTER_STD = 0.05, 0.06, 0.02
_USER = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
_SYSTEM = ("<|im_start|>system\n", "<|im_end|>\n")
_END = "<|im_end|>\n"


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes; the default is Qwen2.5-0.5B."""

    layers: int = 24
    hidden: int = 896
    heads: int = 14
    key_heads: int = 2
    ffn: int = 4864
    vocabulary: int = 151936

    @property
    def head_size(self) -> int:
        """Of one attention head."""
        return self.hidden // self.heads

    def linears(self) -> list[tuple[int, int]]:
        """(in, out) of the linear layers of one block: q, k, v, o, gate, up, down."""
        wide, narrow = self.heads * self.head_size, self.key_heads * self.head_size
        h, f = self.hidden, self.ffn
        return [(h, wide), (h, narrow), (h, narrow), (wide, h), (h, f), (h, f), (f, h)]

    def at_depth(self, layers: int) -> "Shape":
        """Fewer layers, and as much less vocabulary: the head's share of the work stays."""
        vocabulary = max(4096, self.vocabulary * layers // self.layers // 64 * 64)
        return replace(self, layers=layers, vocabulary=vocabulary)


@dataclass(frozen=True)
class Row:
    """A conversation as messages and as tokens; `labels` are not shifted."""

    messages: list[dict[str, str]]
    input_ids: list[int]
    labels: list[int]

    @property
    def num_trained(self) -> int:
        """Tokens with a label."""
        return sum(label != IGNORED for label in self.labels)

    @property
    def num_needed(self) -> int:
        """Tokens up to the one that predicts the last label."""
        return max(n for n, label in enumerate(self.labels) if label != IGNORED)


@dataclass(frozen=True)
class Lengths:
    """How long rows are.

    Args:
        prompt: tokens of the system message with its marks; 0 has none.
        shortest, longest: tokens of a row beside it.
    """

    prompt: int
    shortest: int = 60
    longest: int = 120

    @property
    def padded(self) -> int:
        """The fixed length of the plain recipe."""
        return self.prompt + 256


B1, B2 = Lengths(150), Lengths(0)


class Words:
    """Words that are one token each after a space, and the tokens of the marks between them."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        entries = self.tokenizer.get_vocab()
        self._words = sorted(
            word[1:]
            for word, token in entries.items()
            if word.startswith("Ġ") and word[1:].isascii() and word[1:].isalpha() and 4 <= len(word) <= 9
        )
        self._first = [word for word in self._words if len(self.encode(word)) == 1]

    def encode(self, text: str) -> list[int]:
        """Marks are read as marks."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def text(self, rng: random.Random, tokens: int) -> str:
        """Of exactly that many tokens."""
        return " ".join([rng.choice(self._first), *rng.choices(self._words, k=tokens - 1)])


def make_rows(num_rows: int, lengths: Lengths, tokenizer: Path, seed: int = SEED) -> list[Row]:
    """Rows of exact lengths behind one system message, in the words of a tokenizer's folder."""
    words, rng = Words(tokenizer), random.Random(seed)
    system = ""
    if lengths.prompt:
        # of its own numbers, so that the rows are the same without it
        system = words.text(random.Random(-seed), lengths.prompt - sum(len(words.encode(mark)) for mark in _SYSTEM))
    head = words.encode(_SYSTEM[0] + system + _SYSTEM[1]) if system else []
    assert len(head) == lengths.prompt
    marks = sum(len(words.encode(mark)) for mark in (*_USER, _END))
    rows = []
    for _ in range(num_rows):
        body = rng.randint(lengths.shortest, lengths.longest) - marks
        asked = rng.randint(body // 5, body // 2)
        question, answer = words.text(rng, asked), words.text(rng, body - asked)
        shown = head + words.encode(_USER[0] + question + _USER[1])
        learned = words.encode(answer + _END)
        assert len(shown) + len(learned) == lengths.prompt + body + marks
        chat = [("system", system)] if system else []
        messages = [{"role": r, "content": c} for r, c in [*chat, ("user", question), ("assistant", answer)]]
        rows.append(Row(messages, shown + learned, [IGNORED] * len(shown) + learned))
    return rows


def save_rows(rows: list[Row], steps: list[list[int]], path: Path) -> None:
    """All rows, and the numbers of those of each step, in order."""
    path.write_text(json.dumps({"rows": [asdict(row) for row in rows], "steps": steps}), "utf-8")


def read_rows(path: Path) -> list[Row]:
    """All rows that `save_rows` wrote."""
    return [Row(**row) for row in json.loads(path.read_text("utf-8"))["rows"]]


def read_steps(path: Path) -> list[list[Row]]:
    """The rows of each step."""
    content = json.loads(path.read_text("utf-8"))
    return [[Row(**content["rows"][number]) for number in step] for step in content["steps"]]


def make_model(shape: Shape, dtype: str, folder: Path, seed: int = SEED) -> Path:
    """A Qwen2 of that shape with random weights, with the tokenizer; made once.

    Args:
        dtype: "fp32" or "bf16"; both hold the same numbers, those of bf16.
    """
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    settings: dict[str, Any] = json.loads((TOKENIZER / "config.json").read_text("utf-8"))
    names = ("rms_norm_eps", "max_position_embeddings", "tie_word_embeddings")
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        rope_parameters={"rope_type": "default", "rope_theta": settings["rope_theta"]},
        initializer_range=WEIGHT_STD,
        bos_token_id=None,
        eos_token_id=None,
        **{name: settings[name] for name in names},
    )
    model = Qwen2ForCausalLM(config)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_STD)
    model = model.to(torch.bfloat16)
    model.save_pretrained(folder if dtype == "bf16" else _as_fp32(model, folder))
    write_tokenizer(shape.vocabulary, folder)
    return folder


def write_tokenizer(vocabulary: int, folder: Path) -> None:
    """The real tokenizer, or its first words and joins with the special tokens behind them."""
    names = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    for name in names:
        shutil.copyfile(TOKENIZER / name, folder / name)
    if vocabulary >= Shape.vocabulary:
        return
    settings = json.loads((TOKENIZER / "tokenizer_config.json").read_text("utf-8"))
    special = sorted(settings["added_tokens_decoder"].items(), key=lambda item: int(item[0]))
    first = vocabulary - len(special)
    settings["added_tokens_decoder"] = {str(first + n): token for n, (_, token) in enumerate(special)}
    added = {token["content"]: first + n for n, (_, token) in enumerate(special)}
    entries = json.loads((TOKENIZER / "vocab.json").read_text("utf-8"))
    entries = {word: token for word, token in entries.items() if token < first}
    version, *joins = (TOKENIZER / "merges.txt").read_text("utf-8").split("\n")
    joins = [version, *(join for join in joins if join.replace(" ", "") in entries)]
    (folder / "vocab.json").write_text(json.dumps(entries), "utf-8")
    (folder / "merges.txt").write_text("\n".join(joins) + "\n", "utf-8")
    (folder / "added_tokens.json").write_text(json.dumps(added), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def _as_fp32(model: Any, folder: Path) -> Path:
    model.float()
    return folder


def make_adapter(base: Path, shape: Shape, rank: int, folder: Path, seed: int = SEED) -> Path:
    """LoRA on every linear layer, alpha 2 r, no dropout, saved as PEFT does; made once."""
    if (folder / "adapter_model.safetensors").exists():
        return folder
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    names += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    tensors = {}
    for layer in range(shape.layers):
        for name, (inside, outside) in zip(names, shape.linears(), strict=True):
            full = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{full}.lora_A.weight"] = torch.randn(rank, inside, generator=generator) * inside**-0.5
            tensors[f"{full}.lora_B.weight"] = torch.randn(outside, rank, generator=generator) * ADAPTER_STD
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(name.rpartition(".")[2] for name in names),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), "utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder
