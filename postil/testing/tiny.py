"""Real architectures, tiny and random, with the starter's tokenizer: what tests load instead of a hub's models."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

STARTER = Path(__file__).parents[1] / "models" / "starter"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

_COMMON: dict[str, Any] = {
    "vocab_size": 10240,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen3": {},
    "llama": {},
    "mistral": {"sliding_window": 24},
    "gemma": {"tie_word_embeddings": True},
}
"""The five architectures on which the numerical invariants are held; Mistral's window is shorter than a row."""


def make_tiny_model(directory: Path, architecture: str, seed: int = 0, **settings: Any) -> Path:
    """Writes a random model of `architecture` (a key of ARCHITECTURES, or any transformers model type) with tokenizer.

    Args:
        settings: entries of the model's config that differ from the tiny ones.

    Returns:
        `directory`, which transformers and `postil train --model` can load.
    """
    torch.manual_seed(seed)
    values = _COMMON | ARCHITECTURES.get(architecture, {}) | settings
    config = AutoConfig.for_model(architecture, **values)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(directory)
    for name in TOKENIZER_FILES:
        shutil.copy(STARTER / name, directory / name)
    return directory
