"""Bits per byte on rows that were never trained on, by kind and language.

    python -m tools.starter.evaluate MODEL [MODEL ...] --corpus DIR

Two sets of held-out rows are scored. `hashed`: sha256(text) % 100 == 0, the rule of this repository's training.
`unseen`: the last 1 % of each file, which the draft that training continued from kept away as well; no shipped weight
has ever seen one of them. Bits per byte = nats of all tokens / ln 2 / UTF-8 bytes of the rendered text, in windows of
512 tokens.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from tools.starter import corpus, network

WINDOW_TOKENS = 512


def held_out_rows(path: Path, held_out: str) -> list[corpus.Row]:
    """The rows of one file in the set "hashed" or "unseen"."""
    rows = list(corpus.read_rows(path))
    if held_out == "hashed":
        return [row for row in rows if corpus.is_held_out(row)]
    return [row for i, row in enumerate(rows) if corpus.is_draft_held_out(i, len(rows))]


@torch.no_grad()
def bits_per_byte(model: Qwen3ForCausalLM, tokenizer: Tokenizer, texts: list[str]) -> float:
    """Mean over all bytes of `texts`. Every text starts after an end-of-text token; windows do not cross texts."""
    nats, num_bytes = 0.0, 0
    for text in texts:
        ids = torch.tensor([corpus.END_OF_TEXT, *tokenizer.encode(text).ids])
        for start in range(0, len(ids) - 1, WINDOW_TOKENS):
            window = ids[start : start + WINDOW_TOKENS + 1]
            nats += network.next_token_loss(model, window[None]).item() * (len(window) - 1)
        num_bytes += len(text.encode())
    return nats / math.log(2) / num_bytes


def score(model_dir: Path, folder: Path, max_rows: int) -> dict[str, dict[str, float]]:
    """Bits per byte of one model: {"hashed": {"prose_en": ..., ...}, "unseen": {...}}."""
    model = Qwen3ForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="sdpa").eval()
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    scores: dict[str, dict[str, float]] = {}
    for held_out in ("hashed", "unseen"):
        scores[held_out] = {}
        for name, path in corpus.corpus_files(folder).items():
            if not name.startswith("lexicon"):
                texts = [corpus.render_row(row) for row in held_out_rows(path, held_out)[:max_rows]]
                scores[held_out][name] = round(bits_per_byte(model, tokenizer, texts), 4)
        scores[held_out]["mean"] = round(sum(scores[held_out].values()) / len(scores[held_out]), 4)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--max-rows", type=int, default=10**9, help="first rows of each set only, for a quick look")
    args = parser.parse_args()
    print(json.dumps({str(m): score(m, args.corpus, args.max_rows) for m in args.models}, indent=1))


if __name__ == "__main__":
    main()
