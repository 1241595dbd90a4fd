"""Text out of tokens: streamed = batched, whole characters only, stop strings cut, both sides from one model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from postil.config import AdapterConfig
from postil.data.chat_template import ChatFormat
from postil.data.conversations import Message
from postil.models.adapter import add_adapter
from postil.models.generation import AnswerText, Sampling, generate_answers, stream_both, stream_text
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from postil.testing.tiny import STARTER

QUESTIONS = ["你好，请问什么时候发货？", "Hi!", "Tell me about the weather in the mountains, please.", "退款"]


def asked(question: str) -> list[Message]:
    return [Message("user", question)]


@pytest.fixture(scope="module")
def tokenizer() -> HFTokenizer:
    return load_tokenizer(STARTER)


@pytest.fixture(scope="module")
def chat_format(tokenizer: HFTokenizer) -> ChatFormat:
    return ChatFormat.from_tokenizer(tokenizer, today=date(2026, 1, 1))


@pytest.fixture(scope="module")
def starter() -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(STARTER, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def adapted() -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(STARTER, dtype=torch.float32)
    model = add_adapter(base.eval(), AdapterConfig(rank=4), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_streamed_equals_batched(starter: nn.Module, chat_format: ChatFormat, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, top_p=0.9, max_new_tokens=24, seed=5)
    prompts = [asked(q) for q in QUESTIONS]
    answers = generate_answers(starter, chat_format, prompts, sampling, batch_size=3)
    streamed = ["".join(stream_text(starter, chat_format, p, sampling)) for p in prompts]
    assert [a.text for a in answers] == streamed
    assert all(a.text for a in answers)
    assert all(a.num_tokens <= 24 and (a.stopped or a.num_tokens == 24) for a in answers)


def test_both_sides_stream_from_one_model(adapted: PeftModel, chat_format: ChatFormat) -> None:
    sampling = Sampling(max_new_tokens=12)
    prompt = asked(QUESTIONS[2])
    tuned = generate_answers(adapted, chat_format, [prompt], sampling)[0].text
    with adapted.disable_adapter():
        base = generate_answers(adapted, chat_format, [prompt], sampling)[0].text
    assert base != tuned
    pieces = list(stream_both(adapted, chat_format, prompt, prompt, sampling))
    assert "".join(text for side, text in pieces if side == "base") == base
    assert "".join(text for side, text in pieces if side == "tuned") == tuned
    assert [side for side, _ in pieces[:4]] == ["base", "tuned", "base", "tuned"]


def test_both_sides_draw_with_the_same_numbers(starter: nn.Module, chat_format: ChatFormat) -> None:
    """Without an adapter the sides are the same model: without a seed too they must say the same."""
    sampling = Sampling(temperature=1.0, max_new_tokens=10)
    pieces = list(stream_both(starter, chat_format, asked("Hi!"), asked("Hi!"), sampling))
    base, tuned = ("".join(text for side, text in pieces if side == wanted) for wanted in ("base", "tuned"))
    assert base == tuned
    again = list(stream_both(starter, chat_format, asked("Hi!"), asked("Hi!"), sampling))
    assert "".join(text for side, text in again if side == "base") != base


def test_closing_a_stream_early_leaves_the_adapter_on(adapted: PeftModel, chat_format: ChatFormat) -> None:
    before = generate_answers(adapted, chat_format, [asked("Hi!")], Sampling(max_new_tokens=6))
    stream: Iterator[Any] = stream_both(adapted, chat_format, asked("Hi!"), asked("Hi!"), Sampling(max_new_tokens=20))
    assert next(stream)[0] == "base"
    stream.close()  # type: ignore[attr-defined]
    assert generate_answers(adapted, chat_format, [asked("Hi!")], Sampling(max_new_tokens=6)) == before


@dataclass
class Form:
    """What `AnswerText` needs of a chat format."""

    tokenizer: HFTokenizer
    stop_ids: frozenset[int] = frozenset({2})
    stop_strings: tuple[str, ...] = ()
    pieces: list[str] = field(default_factory=list)

    def feed(self, ids: Sequence[int]) -> AnswerText:
        text = AnswerText(self)  # type: ignore[arg-type]
        for token in ids:
            self.pieces.append(text.feed(token))
            if text.stopped:
                return text
        self.pieces.append(text.finish())
        return text


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_pieces_join_to_the_whole_and_none_holds_half_a_character(text: str) -> None:
    tokenizer = load_tokenizer_once()
    ids = tokenizer.encode(text)[0]
    form = Form(tokenizer, stop_ids=frozenset())
    form.feed(ids)
    assert "".join(form.pieces) == tokenizer.decode(ids, skip_special_tokens=True).lstrip()
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in form.pieces)


_loaded: list[HFTokenizer] = []


def load_tokenizer_once() -> HFTokenizer:
    if not _loaded:
        _loaded.append(load_tokenizer(STARTER))
    return _loaded[0]


def test_a_character_of_several_tokens_comes_whole(tokenizer: HFTokenizer) -> None:
    ids = tokenizer.encode("好🦊鿃!")[0]
    assert len(ids) > 4
    form = Form(tokenizer)
    form.feed(ids)
    assert [p for p in form.pieces if p] == ["好", "🦊", "鿃", "!"]


def test_bytes_that_are_no_character_come_at_the_end(tokenizer: HFTokenizer) -> None:
    ids = tokenizer.encode("🦊")[0][:-1]
    form = Form(tokenizer)
    assert form.feed(ids).text == "\ufffd"


@pytest.mark.parametrize(
    ("said", "shown", "stopped"),
    [
        ("Yes.\n\n### Instruction:\nmore", "Yes.\n\n", True),
        ("a # b ## c", "a # b ## c", False),
        ("ends with ##", "ends with ##", False),
        ("###", "", True),
        ("no stop at all", "no stop at all", False),
        ("x</s>y###z", "x", True),
    ],
)
def test_stop_strings_are_cut_and_never_shown(tokenizer: HFTokenizer, said: str, shown: str, stopped: bool) -> None:
    form = Form(tokenizer, stop_strings=("###", "</s>"))
    text = form.feed(tokenizer.encode(said)[0])
    assert (text.answer.text, text.answer.stopped) == (shown, stopped)
    assert "".join(form.pieces) == shown


def test_a_stop_token_flushes_what_was_held_back(tokenizer: HFTokenizer) -> None:
    form = Form(tokenizer, stop_strings=("###",))
    answer = form.feed([*tokenizer.encode("C#")[0], 2]).answer
    assert (answer.text, answer.stopped) == ("C#", True)
    assert answer.num_tokens == len(tokenizer.encode("C#")[0]) + 1


def test_a_stop_string_ends_its_row_only(starter: nn.Module, tokenizer: HFTokenizer, tmp_path: Path) -> None:
    """In a batch, a row that writes its stop string falls silent while the others go on."""
    plain = ChatFormat.from_tokenizer(tokenizer)
    sampling = Sampling(max_new_tokens=16)
    free = generate_answers(starter, plain, [asked(q) for q in QUESTIONS], sampling)
    stop = free[2].text[4:7]

    class Stopping:
        def __getattr__(self, name: str) -> Any:
            return (stop,) if name == "stop_strings" else getattr(plain, name)

    cut = generate_answers(starter, Stopping(), [asked(q) for q in QUESTIONS], sampling)  # type: ignore[arg-type]
    assert cut[2].stopped and cut[2].text == free[2].text[: free[2].text.index(stop)]
    assert cut[2].num_tokens < free[2].num_tokens
    assert [a for i, a in enumerate(cut) if stop not in free[i].text] == [a for a in free if stop not in a.text]
