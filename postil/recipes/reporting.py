"""Turns what each step of the road handed on into the events that tell the user."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from postil.config import RunConfig
from postil.data.conversations import Conversation
from postil.data.examples import Example, Tokenized
from postil.data.splits import Split
from postil.data.validation import ValidationReport
from postil.errors import DataError
from postil.events import DataRead, DataSplit, HeldoutMeasured, ModelLoaded, Report, Sample, Warned
from postil.events import Tokenized as TokenizedEvent
from postil.language import say

if TYPE_CHECKING:
    from torch import nn

    from postil.models.loading import Base


def warn(report: Report, key: str, **values: object) -> None:
    """Reports a sentence of the catalogs that the user should know."""
    report(Warned(key=key, message=say(key, **values), values=values))


def report_data(validation: ValidationReport, drop_bad: bool, report: Report) -> None:
    """Says what was read.

    Raises:
        DataError: rows have errors and leaving them out was not asked for, or no row is left.
    """
    report(
        DataRead(
            file=validation.file,
            format=validation.format,
            records_in=validation.records_in,
            kept=validation.kept,
            fixed=validation.fixed,
            dropped=validation.dropped,
            num_errors=len(validation.errors),
            num_warnings=len(validation.warnings),
        )
    )
    if not validation.conversations:
        raise DataError("recipes.nothing_to_train", problems=validation.problems, file=validation.file)
    if validation.errors and not drop_bad:
        raise DataError(
            "recipes.bad_rows",
            problems=validation.errors,
            file=validation.file,
            rows=validation.dropped,
            kept=validation.kept + validation.fixed,
        )
    for problem in validation.warnings:
        if not problem.place.row:  # about the whole file; those of single rows are for `postil check`
            warn(report, f"problems.{problem.code}", **problem.values)


def report_split(split: Split, report: Report) -> None:
    """Says how many conversations are trained and how many are kept away."""
    report(DataSplit(train=len(split.train), heldout=len(split.heldout), heldout_questions=split.num_heldout_questions))


def report_tokens(train: Tokenized, heldout: Tokenized, report: Report) -> None:
    """Says how long the rows are and which were left out for their length."""
    too_long = [*train.too_long, *heldout.too_long]
    report(
        TokenizedEvent(
            tokens=sum(len(e.input_ids) for e in train.examples),
            trained_tokens=sum(e.num_trained_tokens for e in train.examples),
            longest=train.longest,
            max_length_tokens=train.max_length_tokens,
            too_long=[str(place) for place in too_long],
            changed_by_template=train.changed,
            split=len(train.split) + len(heldout.split),
            shortened=len(train.shortened) + len(heldout.shortened),
            dropped=len(too_long),
            suggested_length_tokens=train.suggested_length_tokens,
        )
    )
    if too_long:
        places = ", ".join(str(place) for place in too_long[:5])
        warn(report, "recipes.too_long", rows=len(too_long), tokens=train.max_length_tokens, places=places)
    for key, places_of in (("recipes.split_rows", "split"), ("recipes.shortened_rows", "shortened")):
        changed = [*getattr(train, places_of), *getattr(heldout, places_of)]
        if changed:
            places = ", ".join(map(str, changed[:5]))
            warn(report, key, rows=len(changed), tokens=train.max_length_tokens, places=places)
    if train.changed:
        warn(report, "recipes.changed_by_template", rows=train.changed)


def report_model(base: "Base", model: "nn.Module", report: Report) -> None:
    """Says what is in memory and how much of it will be trained."""
    report(
        ModelLoaded(
            base=base.name,
            device=base.device,
            dtype=base.dtype,
            base_parameters=base.num_parameters,
            trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        )
    )


def heldout_probe(
    model: "nn.Module",
    base: "Base",
    heldout: Sequence[Conversation],
    examples: Sequence[Example],
    config: RunConfig,
    report: Report,
) -> Callable[[int], float] | None:
    """The measurement that training takes now and then: held-out loss, and answers to a few held-out questions.

    Returns:
        A function of the step that reports `HeldoutMeasured` and returns the loss; None without held-out rows.
    """
    from postil.evaluation.verdict import mean_by_question
    from postil.models.generation import Sampling, generate_answers
    from postil.models.scoring import heldout_losses

    if not examples:
        return None
    questions = [c.question for c in heldout]
    asked = list({c.question: c for c in heldout}.values())[: config.evaluation.num_samples]
    sampling = Sampling(max_new_tokens=config.evaluation.used_max_new_tokens)

    def measure(step: int) -> float:
        started = time.perf_counter()
        loss = float(mean_by_question(questions, heldout_losses(model, examples)).mean())
        loss_told = time.perf_counter()
        prompts, tools = [c.prompt for c in asked], [c.tools for c in asked]
        answers = generate_answers(model, base.chat_format, prompts, sampling, tools=tools)
        expected = [base.chat_format.expected_text(c) for c in asked]
        samples = [
            Sample(question=c.question, expected=e, answer=a.text)
            for c, e, a in zip(asked, expected, answers, strict=True)
        ]
        done = time.perf_counter()
        report(
            HeldoutMeasured(
                step=step, loss=loss, samples=samples, seconds=done - started, answer_seconds=done - loss_told
            )
        )
        return loss

    return measure
