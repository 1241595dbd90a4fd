"""The engine by itself: who shares a batch with whom changes nothing, and one row's misfortune is its own."""

import time
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
import torch

from postil.config import ModelConfig
from postil.data.conversations import Message
from postil.errors import TooManyError, UnavailableError, UsageError
from postil.models.decoding import Sampling
from postil.models.generation import generate_answers
from postil.models.loading import load_base
from postil.serving.engine import Engine
from postil.serving.requests import Failed, Finished, Piece, Wish
from postil.serving.scheduler import Limits
from tests.adapters import make_adapter

QUESTIONS = ["Hello", "How do I return shoes?", "发票怎么开？", "Tell me a story about a fox and a crow.", "Why?"]


class Asked:
    """One request; `wait` gives its texts and reasons."""

    def __init__(self, engine: Engine, question: str, model: str | None = None, **wish: Any):
        self.deliveries: Queue[Any] = Queue()
        adapter = engine.find_adapter(model) if model else None
        prompt = engine.encode(adapter, [Message("user", question)])
        self.num_choices = wish.get("num_choices", 1)
        wished = Wish(**({"sampling": Sampling(), "max_new_tokens": 20} | wish))
        self.ticket = engine.submit(adapter, prompt, wished, self.deliveries.put)

    def wait(self) -> tuple[list[str], list[Finished]]:
        texts, finished = [""] * self.num_choices, []
        while len(finished) < self.num_choices:
            delivery = self.deliveries.get(timeout=60)
            if isinstance(delivery, Failed):
                raise delivery.error
            if isinstance(delivery, Piece):
                texts[delivery.index] += delivery.text
            else:
                finished.append(delivery)
        return texts, finished


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(load_base(ModelConfig(base="starter", device="cpu")), Limits(max_running=8, prefill_tokens=64))
    made.start()
    made.attach("a", make_adapter(tmp_path_factory.mktemp("a"), "starter", size=0.02))
    yield made
    made.close()


def test_drawn_answers_do_not_depend_on_company(engine: Engine) -> None:
    """Each request has its own temperature, seed and model, and they share every step."""
    wishes = [{"sampling": Sampling(0.5 + i / 4, 0.9, seed=i), "model": [None, "a"][i % 2]} for i in range(5)]
    alone = [Asked(engine, q, **w).wait() for q, w in zip(QUESTIONS, wishes, strict=True)]  # type: ignore[arg-type]
    asked = [Asked(engine, q, **w) for q, w in zip(QUESTIONS, wishes, strict=True)]  # type: ignore[arg-type]
    assert [one.wait() for one in asked] == alone


def test_they_are_what_the_decoding_loop_draws(engine: Engine) -> None:
    base = load_base(ModelConfig(base="starter", device="cpu"))
    sampling = Sampling(0.8, 0.95, max_new_tokens=20, seed=11)
    prompts = [[Message("user", q)] for q in QUESTIONS]
    expected = [generate_answers(base.model, base.chat_format, [p], sampling)[0] for p in prompts]
    for question, answer in zip(QUESTIONS, expected, strict=True):
        texts, finished = Asked(engine, question, sampling=sampling).wait()
        assert texts == [answer.text] and finished[0].num_tokens == answer.num_tokens
        assert finished[0].reason == ("stop" if answer.stopped else "length")


def test_prompts_and_answers_are_bounded(engine: Engine) -> None:
    with pytest.raises(UsageError):
        engine.submit(None, [5] * 2048, Wish(Sampling()), print)
    with pytest.raises(UsageError):
        engine.submit(None, [], Wish(Sampling()), print)
    deliveries: Queue[Any] = Queue()
    engine.submit(None, [5] * 2040, Wish(Sampling(temperature=2, seed=1), max_new_tokens=500), deliveries.put)
    last = Piece(0, "")
    while isinstance(last, Piece):
        last = deliveries.get(timeout=60)
    assert isinstance(last, Finished) and last.num_tokens <= 8  # the rest of the context


def test_caches_of_all_rows_together_are_bounded() -> None:
    base = load_base(ModelConfig(base="starter", device="cpu"))
    small = Engine(base, Limits(max_running=8, max_queued=8, cache_tokens=120))
    small.start()
    with pytest.raises(UsageError):
        small.submit(None, [5] * 120, Wish(Sampling()), print)
    asked = [Asked(small, "Hello", sampling=Sampling(temperature=1.5), max_new_tokens=40) for _ in range(5)]
    seen = set()
    while not all(one.ticket.rows[0].is_over for one in asked):
        state = small.state()
        seen.add(state["num_running"])
        assert state["cache_tokens_used"] <= 120
        time.sleep(0.002)
    assert max(seen) == 2  # of a prompt of about 12 tokens and 40 more, two fit
    small.close()


def test_a_row_that_computes_nonsense_ends_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from postil.serving import engine as module

    true_advance = module.advance

    def poisoned(model: Any, rows: Any, tokens: Any) -> torch.Tensor:
        logits = true_advance(model, rows, tokens)
        for i, row in enumerate(rows):
            if row is victim.ticket.rows[0].cache:
                logits[i] = float("nan")
        return logits

    other_alone = Asked(engine, QUESTIONS[1]).wait()
    victim = Asked(engine, QUESTIONS[0], sampling=Sampling(temperature=1.0), max_new_tokens=1000)
    monkeypatch.setattr(module, "advance", poisoned)
    other = Asked(engine, QUESTIONS[1])
    with pytest.raises(UnavailableError) as caught:
        victim.wait()
    assert caught.value.key == "generation.not_a_number"
    assert other.wait() == other_alone


def test_an_error_of_the_machine_ends_answers_and_not_the_server(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postil.serving import engine as module

    def out_of_memory(*arguments: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(module, "prefill", out_of_memory)
        with pytest.raises(UnavailableError) as caught:
            Asked(engine, "Hello").wait()
        assert "no memory left" in str(caught.value)
    assert Asked(engine, "Hello").wait()[0][0]
    assert engine.state()["num_running"] == 0


def test_a_cancelled_request_is_not_delivered_any_more(engine: Engine) -> None:
    asked = Asked(engine, QUESTIONS[3], sampling=Sampling(temperature=1.5), max_new_tokens=1500, num_choices=3)
    asked.deliveries.get(timeout=30)
    engine.cancel(asked.ticket)
    while engine.state()["num_running"]:
        time.sleep(0.01)
    while not asked.deliveries.empty():
        assert isinstance(asked.deliveries.get(), Piece | Finished)
    assert all(row.is_over for row in asked.ticket.rows)


def test_closing_ends_what_runs_and_what_waits() -> None:
    base = load_base(ModelConfig(base="starter", device="cpu"))
    closing = Engine(base, Limits(max_running=1, max_queued=1))
    closing.start()
    asked = [Asked(closing, "Hello", sampling=Sampling(temperature=1.5), max_new_tokens=1500) for _ in range(2)]
    with pytest.raises(TooManyError):
        Asked(closing, "Hello")
    asked[0].deliveries.get(timeout=30)
    closing.close()
    for one in asked:
        with pytest.raises(UnavailableError):
            one.wait()
    with pytest.raises(UnavailableError):
        Asked(closing, "Hello")
    with pytest.raises(UnavailableError):
        closing._in_loop(lambda: None)
