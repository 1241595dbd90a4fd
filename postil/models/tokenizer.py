"""The model's own tokenizer, in the shape that the data room asks for."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from postil.errors import DataError, MissingInputError
from postil.models.base_folder import read_json

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


class HFTokenizer:
    """A transformers tokenizer as a `TextTokenizer`.

    Args:
        inner: a fast tokenizer. Truncation and padding that its files ask for are switched off: rows are never cut.
    """

    def __init__(self, inner: Any):
        self.inner = inner
        self._backend = inner.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and, for each, the characters of `text` that it stands for (start, end).

        Special tokens written in the text are recognised; none are added.
        """
        encoding = self._backend.encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.offsets)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids, spaces left as they are."""
        text = self.inner.decode(list(ids), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
        return str(text)

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        value: int | None = self.inner.eos_token_id
        return value

    @property
    def pad_id(self) -> int | None:
        """The token that fills rows up; only shapes need it, it is never trained."""
        value: int | None = self.inner.pad_token_id
        return value

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """`bos_token`, `eos_token` and so on, as far as the tokenizer has them: what templates may name."""
        return {name: str(token) for name, token in self.inner.special_tokens_map.items() if isinstance(token, str)}

    @property
    def chat_template(self) -> str | None:
        """The source of its chat template; of several, the one named "default"."""
        template = self.inner.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        return template or None

    @property
    def num_tokens(self) -> int:
        """Largest id plus one, added tokens included."""
        return max(int(i) for i in self.inner.get_vocab().values()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over everything that decides ids: equal fingerprints give equal ids for every text."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def save(self, directory: Path) -> None:
        """Writes tokenizer and chat template as transformers reads them."""
        self.inner.save_pretrained(str(directory))


def load_tokenizer(path: Path) -> HFTokenizer:
    """Loads the tokenizer of a base model's (or an adapter's) folder.

    Raises:
        MissingInputError: the folder has none.
        DataError: it cannot be read, or not turned into a fast one.
    """
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise MissingInputError("models.no_tokenizer", path=path)
    if (path / "tokenizer.json").is_file():
        read_json(path / "tokenizer.json")  # says which line is broken, where the loader would not
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            inner = AutoTokenizer.from_pretrained(
                str(path), trust_remote_code=False, local_files_only=True, use_fast=True
            )
    except Exception as error:  # tokenizers raises bare Exception
        raise DataError("models.broken_tokenizer", path=path, reason=" ".join(str(error).split())[:300]) from error
    if not getattr(inner, "is_fast", False):
        raise DataError("models.broken_tokenizer", path=path, reason="it has no fast version (tokenizer.json)")
    return HFTokenizer(inner)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars, log lines or warnings of transformers while a model is loaded: we say what matters ourselves."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
