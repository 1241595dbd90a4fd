"""Trains the bilingual byte-level BPE: 10,240 entries in which every common Chinese character is one token.

python -m tools.starter.tokenizer --corpus DIR --out DIR
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tools.starter import corpus

VOCAB_SIZE = 10_240
# Words, single digits, runs of signs, line ends; no run of letters is ever merged with a digit.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# English prose is half of the corpus by characters; fewer rows of it leave room for Chinese words.
SHARE_OF_ROWS = {"prose_en": 0.4, "dialogue_en_topicalchat": 0.4}
# Rare characters would lose against frequent words: each GB 2312 level-1 character is shown this often by itself.
CHARACTER_REPEATS = 400
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def common_characters() -> list[str]:
    """The 3,755 level-1 characters of GB 2312, in code order: rows 16 to 55, without the five empty cells."""
    cells = (bytes((0xA0 + row, 0xA0 + cell)) for row in range(16, 56) for cell in range(1, 95))
    return [c for c in (raw.decode("gb2312", "ignore") for raw in cells) if c]


def sample_texts(folder: Path) -> Iterator[str]:
    """Training rows of every stream, thinned by SHARE_OF_ROWS, then every common character on its own."""
    for name, path in corpus.corpus_files(folder).items():
        every = round(1 / SHARE_OF_ROWS.get(name, 1.0))
        for index, row in enumerate(corpus.read_rows(path)):
            if index % every == 0 and not corpus.is_held_out(row):
                yield corpus.row_text(row)
    for character in common_characters():
        yield f"{character} " * CHARACTER_REPEATS


def train_tokenizer(texts: Iterator[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """A byte-level BPE over `texts`; ids 0 to 2 are end-of-text and the two ChatML marks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[AddedToken(t, special=True, normalized=False) for t in corpus.SPECIAL_TOKENS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    """Writes the files that transformers loads: tokenizer, its settings, chat template and generation settings."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    end_of_text, _, im_end = corpus.SPECIAL_TOKENS
    settings = {
        "tokenizer_class": "TokenizersBackend",
        "bos_token": None,
        "unk_token": None,
        "eos_token": im_end,
        "pad_token": end_of_text,
    }
    generation = {"eos_token_id": corpus.IM_END, "pad_token_id": corpus.END_OF_TEXT}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", "utf-8")
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write_tokenizer(train_tokenizer(sample_texts(args.corpus)), args.out)


if __name__ == "__main__":
    main()
