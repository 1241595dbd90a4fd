"""The report on a tiny model: who is counted, what is averaged, what is warned about."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from postil.config import AdapterConfig
from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, Message
from postil.data.examples import Example, tokenize_conversations
from postil.evaluation.report import AnswerPair, EvaluationReport, evaluate_adapter
from postil.evaluation.verdict import WEAK_ROWS
from postil.events import AnyEvent, Warned
from postil.language import say, use_language
from postil.models.adapter import add_adapter
from postil.models.scoring import heldout_losses
from postil.models.tokenizer import load_tokenizer
from postil.problems import Place
from postil.testing.tiny import STARTER, make_tiny_model


def conversation(row: int, question: str, answer: str = "好的，没问题。") -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), Place("q.csv", row))


ROWS = [conversation(i, f"第 {i} 个问题？", f"答案是 {i}。" * (1 + i % 3)) for i in range(8)]


@pytest.fixture(scope="module")
def chat_format() -> ChatFormat:
    return ChatFormat.from_tokenizer(load_tokenizer(STARTER), today=date(2026, 1, 1))


@pytest.fixture
def model(tmp_path: Path) -> PeftModel:
    """The adapter is new: it changes nothing yet."""
    base = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path, "qwen3"), dtype=torch.float32)
    return add_adapter(base.eval(), AdapterConfig(rank=4), seed=0)


def disturb(model: PeftModel, size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)


def pull(model: PeftModel, examples: Sequence[Example], direction: float) -> None:
    """A few steps towards the rows (1.0) or away from them (-1.0)."""
    chosen = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=2e-2)
    for _ in range(6):
        for example in examples:
            ids, labels = torch.tensor([example.input_ids]), torch.tensor([example.labels])
            logits = model(input_ids=ids).logits
            (direction * torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:])).backward()
        optimizer.step()
        optimizer.zero_grad()


def losses_by_hand(model: PeftModel, examples: Sequence[Example]) -> list[float]:
    losses = []
    with torch.no_grad():
        for example in examples:
            logits = model(input_ids=torch.tensor([example.input_ids])).logits[0, :-1]
            target = torch.tensor(example.labels)[1:]
            losses.append(torch.nn.functional.cross_entropy(logits, target).item())
    return losses


def test_losses_are_means_over_trained_tokens_in_the_order_given(model: PeftModel, chat_format: ChatFormat) -> None:
    disturb(model, 0.3)
    examples = tokenize_conversations(ROWS, chat_format).examples
    expected = losses_by_hand(model, examples)
    assert heldout_losses(model, examples) == pytest.approx(expected, abs=1e-5)
    assert heldout_losses(model, examples, max_tokens=40) == pytest.approx(expected, abs=1e-5)
    assert heldout_losses(model, []) == []


def test_an_adapter_that_changes_nothing_is_the_same(model: PeftModel, chat_format: ChatFormat) -> None:
    examples = tokenize_conversations(ROWS, chat_format).examples
    report = evaluate_adapter(model, chat_format, ROWS, examples, max_answers=2, max_new_tokens=4, num_rows=80)
    assert report.verdict == "same"
    assert report.heldout_loss_base == report.heldout_loss_tuned
    assert report.interval == (0.0, 0.0)
    assert not report.weak
    assert all(a.base == a.tuned for a in report.answers)


def test_better_when_trained_towards_the_rows_and_worse_when_away(model: PeftModel, chat_format: ChatFormat) -> None:
    examples = tokenize_conversations(ROWS, chat_format).examples
    pull(model, examples, 1.0)
    better = evaluate_adapter(model, chat_format, ROWS, examples, max_answers=0)
    assert better.verdict == "better"
    assert better.interval is not None and better.interval[0] > 0
    assert better.heldout_loss_base is not None and better.heldout_loss_tuned is not None
    low, high = better.interval
    assert low < better.heldout_loss_base - better.heldout_loss_tuned < high
    pull(model, examples, -2.0)
    pull(model, examples, -2.0)
    assert evaluate_adapter(model, chat_format, ROWS, examples, max_answers=0).verdict == "worse"


def test_rows_that_got_worse_are_named_the_furthest_risen_first(model: PeftModel, chat_format: ChatFormat) -> None:
    examples = tokenize_conversations(ROWS, chat_format).examples
    for size in (0.3, 0.6):
        disturb(model, size)
    pull(model, examples[:1], 1.0)
    pull(model, examples[4:], -1.0)
    report = evaluate_adapter(model, chat_format, ROWS, examples, max_answers=0)
    with model.disable_adapter():
        base = losses_by_hand(model, examples)
    tuned = losses_by_hand(model, examples)
    risen = {
        c.place: after - before for c, before, after in zip(ROWS, base, tuned, strict=True) if after > 1.02 * before
    }
    assert 0 < len(risen) < report.num_rows == len(ROWS)
    assert [row.place for row in report.worse] == sorted(risen, key=lambda place: -risen[place])
    assert report.num_worse == len(risen)
    first = report.worse[0]
    assert first.loss_tuned - first.loss_base == pytest.approx(max(risen.values()), abs=1e-4)
    assert (first.question, first.expected) in [(c.question, chat_format.expected_text(c)) for c in ROWS]
    assert json.loads(json.dumps(report.as_dict()))["worse"][0]["place"] == str(first.place)


def test_rows_without_an_example_are_not_measured(model: PeftModel, chat_format: ChatFormat) -> None:
    """A row that was too long has no example; the others must not shift into its place."""
    disturb(model, 0.3)
    examples = tokenize_conversations(ROWS, chat_format).examples
    report = evaluate_adapter(model, chat_format, ROWS, examples[1:], max_answers=50, max_new_tokens=2)
    assert report.num_questions == 7
    assert [a.place for a in report.answers] == [c.place for c in ROWS[1:]]
    by_hand = losses_by_hand(model, examples[1:])
    assert [a.loss_tuned for a in report.answers] == pytest.approx(by_hand, abs=1e-5)
    with model.disable_adapter():
        assert [a.loss_base for a in report.answers] == pytest.approx(losses_by_hand(model, examples[1:]), abs=1e-5)


def test_a_question_asked_often_counts_and_is_answered_once(model: PeftModel, chat_format: ChatFormat) -> None:
    disturb(model, 0.3)
    rows = [*ROWS[:5], *(conversation(100 + i, "第 4 个问题") for i in range(20))]
    examples = tokenize_conversations(rows, chat_format).examples
    report = evaluate_adapter(model, chat_format, rows, examples, max_new_tokens=2)
    assert report.num_questions == len(report.answers) == 5
    losses = heldout_losses(model, examples)
    expected = (sum(losses[:4]) + sum(losses[4:]) / 21) / 5
    assert report.heldout_loss_tuned == pytest.approx(expected, abs=1e-6)


def test_answers_are_spread_over_the_rows(model: PeftModel, chat_format: ChatFormat) -> None:
    examples = tokenize_conversations(ROWS, chat_format).examples
    report = evaluate_adapter(model, chat_format, ROWS, examples, max_answers=3, max_new_tokens=2)
    assert [a.place.row for a in report.answers] == [0, 4, 7]


@pytest.mark.parametrize(("num_rows", "verdict"), [(0, "cannot_tell"), (4, "cannot_tell"), (5, "same")])
def test_too_few_questions_give_no_verdict(
    model: PeftModel, chat_format: ChatFormat, num_rows: int, verdict: str
) -> None:
    rows = ROWS[:num_rows]
    examples = tokenize_conversations(rows, chat_format).examples if rows else ()
    seen: list[AnyEvent] = []
    report = evaluate_adapter(model, chat_format, rows, examples, max_new_tokens=2, report=seen.append)
    assert report.verdict == verdict
    assert (report.heldout_loss_base is None) == (num_rows == 0)
    assert report.weak
    is_said = say("evaluation.weak", rows=WEAK_ROWS) in report.summary
    assert is_said == (num_rows > 0)  # where nobody was asked there are no answers to read
    warned = [e.key for e in seen if isinstance(e, Warned)]
    assert warned == ([] if verdict == "same" else ["evaluation.too_few"])


def test_answers_that_were_learned_under_another_question_are_counted(
    model: PeftModel, chat_format: ChatFormat
) -> None:
    examples = tokenize_conversations(ROWS, chat_format).examples
    learned = [conversation(50 + i, f"换个说法 {i}", c.answer + " ") for i, c in enumerate(ROWS[:3])]
    report = evaluate_adapter(model, chat_format, ROWS, examples, learned=learned, max_new_tokens=2)
    assert report.num_answers_learned == 3
    assert say("evaluation.answers_learned", n=8, learned=3) in report.summary
    assert "3 of these 8 answers also stand in rows that were learned" in " ".join(report.summary)
    unknown = evaluate_adapter(model, chat_format, ROWS, examples, max_answers=2, max_new_tokens=2)
    assert unknown.num_answers_learned is None and "were learned" not in " ".join(unknown.summary)


PAIR = AnswerPair("<b>Q</b>", "A & B", "<script>x</script>", "A & B", 0.0, 1.0, 4.0, 0.5, True, Place("f.xlsx", 3, "S"))
REPORT = EvaluationReport(4.0, 0.5, (3.0, 4.0), "better", False, 9, 0, 1, 0, (PAIR,))


def test_the_report_becomes_json_and_escaped_html() -> None:
    values = json.loads(json.dumps(REPORT.as_dict()))
    assert values["verdict"] == "better" and values["answers"][0]["place"] == "f.xlsx S:3"
    assert [values["answers"][0][name] for name in ("file", "sheet", "row")] == ["f.xlsx", "S", 3]
    html = REPORT._repr_html_()
    assert "<script>x" not in html and "&lt;script&gt;x" in html and "A &amp; B" in html


def test_the_summary_speaks_both_languages() -> None:
    assert "base right 0, tuned right 1, did not stop 0" in " ".join(REPORT.summary)
    use_language("zh")
    assert "基础模型答对 0 个，适配器答对 1 个" in " ".join(REPORT.summary)


def test_a_loss_that_only_rose_is_said_without_minus_signs() -> None:
    worse = replace(REPORT, interval=(-2.067, -0.135), verdict="worse")
    assert "The loss rose by 0.135 to 2.067" in " ".join(worse.summary)
    assert "several wordings" in " ".join(worse.summary) and "several wordings" not in " ".join(REPORT.summary)
    unsure = replace(REPORT, interval=(-0.5, 0.25), verdict="cannot_tell")
    assert "-0.500 to 0.250" in " ".join(unsure.summary)


def test_a_row_of_nan_cannot_be_judged(model: PeftModel, chat_format: ChatFormat) -> None:
    examples = tokenize_conversations(ROWS, chat_format).examples
    heldout_losses(model, examples)  # as in a run, where the base was measured first
    disturb(model, math.inf)
    assert evaluate_adapter(model, chat_format, ROWS, examples, max_answers=0).verdict == "cannot_tell"
