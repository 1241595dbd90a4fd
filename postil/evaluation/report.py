"""The adapter against its base on held-out rows: same prompts, same decoding, one model in memory."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, normalize_question
from postil.data.examples import Example
from postil.evaluation.metrics import TellingWords, character_f1, is_right, normalize_space
from postil.evaluation.tables import html_table
from postil.evaluation.verdict import (
    FEWEST_QUESTIONS,
    SAME_SHARE,
    WEAK_ROWS,
    Verdict,
    bootstrap_interval,
    judge,
    mean_by_question,
)
from postil.events import Report, Warned, ignore
from postil.language import say
from postil.models.adapter import adapter_disabled
from postil.models.generation import Answer, Sampling, generate_answers
from postil.models.scoring import heldout_losses
from postil.problems import Place

MOST_WORSE_ROWS = 50


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """One held-out question, the answer in the file, and what base and adapter answer.

    Args:
        base_f1: character F1 of the base's answer against the expected one.
        loss_base: mean nats per trained token of this row.
        tuned_stopped: the adapter ended its answer itself.
        base_is_right, tuned_is_right: as `metrics.is_right` has it, with the telling words of the file.
    """

    question: str
    expected: str
    base: str
    tuned: str
    base_f1: float
    tuned_f1: float
    loss_base: float
    loss_tuned: float
    tuned_stopped: bool
    place: Place
    base_is_right: bool = False
    tuned_is_right: bool = False


@dataclass(frozen=True, slots=True)
class WorseRow:
    """A held-out row whose loss rose: the adapter is further from its answer than the base is.

    Args:
        loss_base: mean nats per trained token of this row.
    """

    question: str
    expected: str
    loss_base: float
    loss_tuned: float
    place: Place


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What the held-out rows say.

    Args:
        heldout_loss_base: mean over questions of the rows' mean nats per trained token; None without held-out rows.
        interval: 95 % of mean(base loss - tuned loss) over resampled questions; None under five questions.
        weak: the data have so few rows that the verdict should be read with care.
        num_questions: distinct held-out questions.
        base_right: answered questions whose answers are right, as `metrics.is_right` has it.
        tuned_not_stopped: answers of the adapter that ran into the limit.
        answers: up to `max_answers`, one per question, spread evenly over the held-out rows.
        num_answers_learned: how many of them expect an answer that also stands, in the same words, in a learned row,
            asked otherwise there; None where the learned rows are not known.
        num_rows: held-out rows that were measured.
        num_worse: those whose loss rose by more than 2 %.
        worse: the first fifty of them, those that rose most before the others.
    """

    heldout_loss_base: float | None
    heldout_loss_tuned: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    weak: bool
    num_questions: int
    base_right: int
    tuned_right: int
    tuned_not_stopped: int
    answers: tuple[AnswerPair, ...]
    num_rows: int = 0
    num_worse: int = 0
    worse: tuple[WorseRow, ...] = ()
    num_answers_learned: int | None = None

    @property
    def summary(self) -> tuple[str, ...]:
        """The verdict in words, then the counts, in the current language."""
        lines = [say(f"evaluation.verdict.{self.verdict}")]
        if self.heldout_loss_base is not None:
            lines.append(say("evaluation.losses", base=self.heldout_loss_base, tuned=self.heldout_loss_tuned))
        if self.interval is not None:
            lines.append(_interval_line(*self.interval))
        if self.answers:
            lines.append(
                say(
                    "evaluation.counts",
                    n=len(self.answers),
                    base=self.base_right,
                    tuned=self.tuned_right,
                    not_stopped=self.tuned_not_stopped,
                )
            )
        if self.num_answers_learned:
            lines.append(say("evaluation.answers_learned", n=len(self.answers), learned=self.num_answers_learned))
        if self.verdict == "worse":
            lines.append(say("evaluation.worse_advice"))
        if self.weak and (self.answers or self.verdict != "cannot_tell"):  # else there is nothing to read or to doubt
            lines.append(say("evaluation.weak", rows=WEAK_ROWS))
        return tuple(lines)

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape of `report.json`."""
        values = asdict(self)
        places = {"answers": [row.place for row in self.answers], "worse": [row.place for row in self.worse]}
        for name, of_rows in places.items():
            for place, kept in zip(of_rows, values[name], strict=True):
                kept |= {"place": str(place), **asdict(place)}
        return values

    def _repr_html_(self) -> str:
        headers = [
            say("evaluation.question"),
            say("evaluation.expected"),
            say("answering.base"),
            say("answering.tuned"),
        ]
        rows = [[a.question, a.expected, a.base, a.tuned] for a in self.answers[:10]]
        return html_table(headers, rows, self.summary)


def _interval_line(low: float, high: float) -> str:
    """How much the loss fell; where it only rose, by how much that."""
    if high <= 0:
        return say("evaluation.interval_risen", low=-high, high=-low)
    return say("evaluation.interval", low=low, high=high)


def evaluate_adapter(
    model: nn.Module,
    chat_format: ChatFormat,
    heldout: Sequence[Conversation],
    heldout_examples: Sequence[Example],
    *,
    learned: Sequence[Conversation] = (),
    max_answers: int = 50,
    max_new_tokens: int = 96,
    num_rows: int | None = None,
    seed: int = 0,
    report: Report = ignore,
) -> EvaluationReport:
    """Measures loss and answers of base and adapter on rows that training did not see.

    Args:
        model: base with its adapter on; both sides are read from it.
        heldout: held-out conversations.
        heldout_examples: their tokens, found by place; conversations without (too long ones) are not measured.
        learned: the conversations that were trained; their answers show which words carry a fact in this file, and
            whether a held-out answer was learned under another question.
        max_answers: questions answered by both sides, greedily.
        num_rows: rows of the whole data set; under 60 the verdict is called weak. None counts the held-out ones.
        seed: of the bootstrap.
        report: told when the verdict is weak or cannot be given.
    """
    by_place = {c.place: c for c in heldout}
    examples = [e for e in heldout_examples if e.place in by_place]
    rows = [by_place[e.place] for e in examples]
    tuned = heldout_losses(model, examples)
    with adapter_disabled(model):
        base = heldout_losses(model, examples)
    questions = [c.question for c in rows]
    base_means, tuned_means = mean_by_question(questions, base), mean_by_question(questions, tuned)
    interval = bootstrap_interval(base_means - tuned_means, seed) if len(base_means) >= FEWEST_QUESTIONS else None
    loss_base = float(base_means.mean()) if rows else None
    picked = _spread(questions, max_answers)
    telling = TellingWords.of(c.answer for c in (*learned, *heldout))
    asked = [(rows[i], base[i], tuned[i]) for i in picked]
    answers = _answer_both(model, chat_format, asked, max_new_tokens, telling)
    worse = _worse(base, tuned)
    result = EvaluationReport(
        heldout_loss_base=loss_base,
        heldout_loss_tuned=float(tuned_means.mean()) if rows else None,
        interval=interval,
        verdict=judge(interval, loss_base),
        weak=(len(rows) if num_rows is None else num_rows) < WEAK_ROWS,
        num_questions=len(base_means),
        base_right=sum(a.base_is_right for a in answers),
        tuned_right=sum(a.tuned_is_right for a in answers),
        tuned_not_stopped=sum(not a.tuned_stopped for a in answers),
        answers=answers,
        num_rows=len(rows),
        num_worse=len(worse),
        worse=tuple(_worse_row(chat_format, rows[i], base[i], tuned[i]) for i in worse[:MOST_WORSE_ROWS]),
        num_answers_learned=_num_also_in(answers, learned) if learned else None,
    )
    _warn(result, report)
    return result


def _answer_both(
    model: nn.Module,
    chat_format: ChatFormat,
    rows: Sequence[tuple[Conversation, float, float]],
    max_new_tokens: int,
    telling: TellingWords,
) -> tuple[AnswerPair, ...]:
    prompts, sampling = [c.prompt for c, _, _ in rows], Sampling(max_new_tokens=max_new_tokens)
    tools = [c.tools for c, _, _ in rows]
    tuned_answers = generate_answers(model, chat_format, prompts, sampling, tools=tools)
    with adapter_disabled(model):
        base_answers = generate_answers(model, chat_format, prompts, sampling, tools=tools)
    expected = [chat_format.expected_text(c) for c, _, _ in rows]
    return tuple(_pair(*four, telling) for four in zip(rows, expected, base_answers, tuned_answers, strict=True))


def _pair(
    row: tuple[Conversation, float, float], expected: str, base: Answer, tuned: Answer, telling: TellingWords
) -> AnswerPair:
    conversation, loss_base, loss_tuned = row
    return AnswerPair(
        question=conversation.question,
        expected=expected,
        base=base.text,
        tuned=tuned.text,
        base_f1=character_f1(base.text, expected),
        tuned_f1=character_f1(tuned.text, expected),
        loss_base=loss_base,
        loss_tuned=loss_tuned,
        tuned_stopped=tuned.stopped,
        place=conversation.place,
        base_is_right=is_right(base.text, expected, telling),
        tuned_is_right=is_right(tuned.text, expected, telling),
    )


def _num_also_in(answers: Sequence[AnswerPair], learned: Sequence[Conversation]) -> int:
    """How many of the expected answers stand among the learned ones, but for white space."""
    known = {normalize_space(c.answer) for c in learned}
    return sum(normalize_space(a.expected) in known for a in answers)


def _worse(base: Sequence[float], tuned: Sequence[float]) -> list[int]:
    """Row numbers of those whose loss rose by more than what counts as nothing, the furthest risen first."""
    risen = [i for i, (before, after) in enumerate(zip(base, tuned, strict=True)) if after > before * (1 + SAME_SHARE)]
    return sorted(risen, key=lambda i: base[i] - tuned[i])


def _worse_row(chat_format: ChatFormat, row: Conversation, loss_base: float, loss_tuned: float) -> WorseRow:
    return WorseRow(row.question, chat_format.expected_text(row), loss_base, loss_tuned, row.place)


def _spread(questions: Sequence[str], limit: int) -> list[int]:
    """Row numbers of at most `limit` distinct questions, evenly over the rows: no end of the file is left out."""
    first = list({normalize_question(q): i for i, q in reversed(list(enumerate(questions)))}.values())
    first.sort()
    if len(first) <= limit:
        return first
    return [first[int(i)] for i in np.linspace(0, len(first) - 1, limit).round()] if limit else []


def _warn(result: EvaluationReport, report: Report) -> None:
    if result.num_questions < FEWEST_QUESTIONS:
        values = {"found": result.num_questions, "needed": FEWEST_QUESTIONS}
        report(Warned(key="evaluation.too_few", message=say("evaluation.too_few", **values), values=values))
