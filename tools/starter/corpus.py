"""Rows of the corpus, the held-out rule, and token streams for pretraining."""

import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

END_OF_TEXT, IM_START, IM_END = 0, 1, 2
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# A system message stands before two chats in five, so that answers stay steady with one and without.
SYSTEM_SHARE = 0.4
SYSTEM_MESSAGES = {
    "zh": [
        "你是一个乐于助人的助手。",
        "你是客服助手。",
        "你是店铺客服，回答要简短、礼貌。",
        "你是一名耐心的老师。",
        "请用中文回答。",
        "你是公司内部的知识助手，只回答与业务有关的问题。",
        "你是酒店前台。",
        "你是文案助手。",
    ],
    "en": [
        "You are a helpful assistant.",
        "You are a customer service agent.",
        "Answer briefly and politely.",
        "You are a patient teacher.",
        "Answer in English.",
        "You are an internal assistant; answer questions about the business.",
        "You are the front desk of a hotel.",
        "You write product descriptions.",
    ],
}

Row = dict[str, Any]


def corpus_files(corpus: Path) -> dict[str, Path]:
    """Maps a stream's name, such as "prose_zh", to its file."""
    return {p.name.removesuffix(".jsonl.gz"): p for p in sorted(corpus.glob("*.jsonl.gz"))}


def language_of(name: str) -> str:
    """ "zh" or "en", read from a stream's name."""
    return "zh" if "_zh" in name else "en"


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the JSON objects of a gzipped JSONL file in order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def row_text(row: Row) -> str:
    """The words of a row without any markup: what the held-out rule hashes."""
    return row["text"] if "text" in row else "\n".join(m["content"] for m in row["messages"])


def is_held_out(row: Row) -> bool:
    """True for the one row in a hundred that is scored and never trained on: sha256(text) % 100 == 0."""
    return int(hashlib.sha256(row_text(row).encode()).hexdigest(), 16) % 100 == 0


def is_draft_held_out(index: int, num_rows: int) -> bool:
    """True for the last 1 % of a file, at most 200 rows: what the first draft kept away from its own training.

    The shipped weights continue from that draft, so these are the only rows that neither has ever seen.
    """
    return index >= num_rows - min(200, num_rows // 100)


def chat_text(messages: list[dict[str, str]], system: str | None = None) -> str:
    """ChatML, as the starter's chat template renders it."""
    turns = [{"role": "system", "content": system}, *messages] if system else messages
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in turns)


def render_row(row: Row, system: str | None = None) -> str:
    """A row as the model reads it: prose as it is, chats in ChatML."""
    return row["text"] if "text" in row else chat_text(row["messages"], system)


def training_texts(name: str, path: Path, rng: random.Random) -> list[str]:
    """Every row of one file that may be trained on, rendered; the lexicon has no held-out rows."""
    rows, language = list(read_rows(path)), language_of(name)
    if name.startswith("lexicon"):
        return [row["text"] for row in rows]
    kept = [r for i, r in enumerate(rows) if not is_held_out(r) and not is_draft_held_out(i, len(rows))]
    return [
        render_row(row, rng.choice(SYSTEM_MESSAGES[language]) if rng.random() < SYSTEM_SHARE else None) for row in kept
    ]


def token_streams(corpus: Path, tokenizer: Tokenizer, cache: Path, seed: int) -> dict[str, NDArray[np.uint16]]:
    """One long array of token ids per file, rows separated by end-of-text; cached as .npz."""
    if cache.exists():
        with np.load(cache) as stored:
            return {name: stored[name] for name in stored.files}
    rng, streams = random.Random(seed), {}
    for name, path in corpus_files(corpus).items():
        ids: list[int] = []
        texts = training_texts(name, path, rng)
        for start in range(0, len(texts), 2000):
            for encoding in tokenizer.encode_batch(texts[start : start + 2000]):
                ids.extend(encoding.ids)
                ids.append(END_OF_TEXT)
        streams[name] = np.array(ids, dtype=np.uint16)
    np.savez(cache, **streams)  # type: ignore[arg-type]
    return streams


class Mixture:
    """Windows of `length + 1` tokens: a stream is drawn by its share, then a window of it without replacement.

    When a stream's windows are used up they are cut anew at another offset, so no two passes see the same windows.
    The state is small and JSON-able: resuming draws exactly what would have been drawn.
    """

    def __init__(self, streams: dict[str, NDArray[np.uint16]], shares: dict[str, float], length: int, seed: int):
        self.streams, self.length = streams, length
        self.names, self.weights = list(shares), np.array(list(shares.values())) / sum(shares.values())
        self.rng = np.random.default_rng(seed)
        self.starts: dict[str, list[int]] = {name: [] for name in self.names}

    def next_window(self) -> NDArray[np.int64]:
        """(length + 1,) token ids: inputs and, shifted by one, targets."""
        name = self.names[self.rng.choice(len(self.names), p=self.weights)]
        if not self.starts[name]:
            num_windows = (len(self.streams[name]) - 1 - self.length) // self.length
            offset = int(self.rng.integers(0, self.length))
            self.starts[name] = [offset + int(i) * self.length for i in self.rng.permutation(num_windows)]
        start = self.starts[name].pop()
        return self.streams[name][start : start + self.length + 1].astype(np.int64)

    def next_batch(self, rows: int) -> NDArray[np.int64]:
        """(rows, length + 1) token ids."""
        return np.stack([self.next_window() for _ in range(rows)])

    def state(self) -> str:
        """Everything that decides the windows to come, as JSON."""
        return json.dumps({"rng": self.rng.bit_generator.state, "starts": self.starts})

    def restore(self, state: str) -> None:
        """Takes up a state written by `state`."""
        values = json.loads(state)
        self.rng.bit_generator.state, self.starts = values["rng"], values["starts"]


def mixture_shares(streams: dict[str, NDArray[np.uint16]], chat_share: float, lexicon_share: float) -> dict[str, float]:
    """Shares of the windows by stream. Chats are weighted by the square root of their size (small, varied files are
    seen more often), prose by its size."""
    chat = {k: len(v) ** 0.5 for k, v in streams.items() if k.startswith(("dialogue", "instruct"))}
    prose = {k: float(len(v)) for k, v in streams.items() if k.startswith("prose")}
    return (
        {k: chat_share * n / sum(chat.values()) for k, n in chat.items()}
        | {k: (1 - chat_share - lexicon_share) * n / sum(prose.values()) for k, n in prose.items()}
        | {"lexicon_zh": lexicon_share}
    )
