"""Asking an adapter, and its base beside it: `postil.load(folder).answer("...")`, `postil.compare(folder, [...])`."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from postil.data.conversations import Message
from postil.errors import CannotWriteError, UsageError
from postil.evaluation.tables import html_page, html_table
from postil.language import current_language, say
from postil.models.adapter import adapter_disabled
from postil.models.generation import (
    GREEDY,
    Answer,
    Sampling,
    Side,
    generate_answers,
    next_piece,
    stream_both,
    stream_text,
)
from postil.models.manifest import AdapterManifest, write_text_atomically
from postil.models.tuned import Tuned, load_tuned

Question = str | Sequence[Message]
"""A question, or a conversation that ends with one."""


@dataclass(frozen=True, repr=False)
class TunedModel:
    """A base in memory with an adapter on it; either side answers.

    `system` stands for the system message of questions given as text: None takes the one of training, "" none at all.
    """

    tuned: Tuned

    def __repr__(self) -> str:
        return f"TunedModel({str(self.tuned.path)!r} on {self.manifest.base!r})"

    @property
    def manifest(self) -> AdapterManifest:
        """What the adapter's folder says about itself."""
        return self.tuned.manifest

    def answer(self, question: Question, system: str | None = None, sampling: Sampling = GREEDY) -> str:
        """The adapter's answer."""
        return self._answers([self.messages(question, system)], sampling, "tuned")[0].text

    def answer_base(self, question: Question, system: str | None = None, sampling: Sampling = GREEDY) -> str:
        """The base's answer to the same prompt."""
        return self._answers([self.messages(question, system)], sampling, "base")[0].text

    def stream(
        self, question: Question, system: str | None = None, sampling: Sampling = GREEDY, side: Side = "tuned"
    ) -> Generator[str, None, Answer]:
        """One answer, piece by piece; take it to its end, or close it, before asking anything else.

        Returns:
            The whole answer, as the generator's value.
        """
        stream = stream_text(self.tuned.model, self.tuned.chat_format, self.messages(question, system), sampling)
        while not isinstance(piece := next_piece(stream, self.tuned.model, side), Answer):
            yield piece
        return piece

    def stream_both(
        self, base: Question, tuned: Question, system: str | None = None, sampling: Sampling = GREEDY
    ) -> Generator[tuple[Side, str], None, dict[Side, Answer]]:
        """Both answers in turns, piece by piece. In a chat each side is sent its own earlier answers.

        Returns:
            The whole answers, as the generator's value.
        """
        prompts = (self.messages(base, system), self.messages(tuned, system))
        return stream_both(self.tuned.model, self.tuned.chat_format, *prompts, sampling)

    def compare(self, questions: Sequence[str], system: str | None = None, sampling: Sampling = GREEDY) -> "Comparison":
        """Every question answered by both sides.

        Raises:
            UsageError: no question, or one that does not fit into the model's context.
        """
        if not questions:
            raise UsageError("answering.no_questions")
        prompts = [self.messages(q, system) for q in questions]
        base, tuned = self._answers(prompts, sampling, "base"), self._answers(prompts, sampling, "tuned")
        rows = (
            ComparedAnswers(q, b.text, t.text, b.stopped, t.stopped)
            for q, b, t in zip(questions, base, tuned, strict=True)
        )
        return Comparison(self.manifest.base, str(self.tuned.path), tuple(rows))

    def messages(self, question: Question, system: str | None = None) -> list[Message]:
        """The messages that a question is sent as."""
        if not isinstance(question, str):
            return list(question)
        chosen = self.manifest.system if system is None else system
        return [*([Message("system", chosen)] if chosen else []), Message("user", question)]

    def _answers(self, prompts: Sequence[Sequence[Message]], sampling: Sampling, side: Side) -> list[Answer]:
        with adapter_disabled(self.tuned.model) if side == "base" else nullcontext():
            return generate_answers(self.tuned.model, self.tuned.chat_format, prompts, sampling)


@dataclass(frozen=True, slots=True)
class ComparedAnswers:
    """One question, both answers, and the one that the file expects where it says so.

    `*_stopped` is False where an answer ran into the limit.
    """

    question: str
    base: str
    tuned: str
    base_stopped: bool
    tuned_stopped: bool
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same questions answered by base and tuned; shows itself as a table in a notebook."""

    base: str
    adapter: str
    rows: tuple[ComparedAnswers, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return asdict(self)

    def to_html(self, path: Path | str, *, force: bool = False) -> Path:
        """Writes a page that stands alone and needs no network.

        Raises:
            CannotWriteError: the file exists and `force` is not given, or cannot be written.
        """
        path = Path(path)
        if path.exists() and not force:
            raise CannotWriteError("answering.exists", path=path)
        page = html_page(say("answering.comparison"), self._repr_html_(), current_language())
        return write_text_atomically(path, page)

    def _repr_html_(self) -> str:
        cut = "\n" + say("answering.unfinished")
        rows = [
            [
                r.question,
                *([r.expected or ""] if self.knows_expected else []),
                r.base + ("" if r.base_stopped else cut),
                r.tuned + ("" if r.tuned_stopped else cut),
            ]
            for r in self.rows
        ]
        line = say("answering.model_line", base=self.base, adapter=self.adapter)
        expected = [say("evaluation.expected")] if self.knows_expected else []
        return html_table(
            [say("answering.question"), *expected, say("answering.base"), say("answering.tuned")], rows, [line]
        )

    @property
    def knows_expected(self) -> bool:
        """True when at least one row has an expected answer."""
        return any(r.expected is not None for r in self.rows)

    def beside(self, expected: Mapping[str, str | None]) -> "Comparison":
        """The same answers with what a file expects for each question."""
        return replace(self, rows=tuple(replace(r, expected=expected.get(r.question)) for r in self.rows))


def load(
    adapter_dir: Path | str,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    *,
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    base: str | None = None,
    offline: bool = False,
) -> TunedModel:
    """Loads an adapter and the base it was trained on, once, for answering.

    Args:
        adapter_dir: the folder that training made.
        base: where the base lies now, when not where the adapter says.
        offline: use only what is already on this machine.

    Raises:
        MissingInputError: the folder or the base is not there.
        DataError: damaged, or another base than the adapter was trained on.
        UnavailableError: the device or enough memory is not to be had.
    """
    return TunedModel(load_tuned(Path(adapter_dir), device=device, dtype=dtype, base=base, offline=offline))


def compare(
    adapter_dir: Path | str,
    questions: Sequence[str],
    *,
    system: str | None = None,
    sampling: Sampling = GREEDY,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    base: str | None = None,
) -> Comparison:
    """Answers questions with the base and with the adapter, from one base in memory.

    Raises:
        UsageError: no question, or one too long.
        MissingInputError, DataError, UnavailableError: see `load`.
    """
    if not questions:
        raise UsageError("answering.no_questions")
    return load(adapter_dir, device, base=base).compare(questions, system, sampling)
