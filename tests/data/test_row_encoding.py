"""One row as ids and labels: every text exactly, the chosen answers, and refusals that say why."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, Message
from postil.data.row_encoding import IGNORED
from postil.errors import DataError
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from postil.problems import Place
from tests.data.chats import CHATS, STARTER, TODAY, chat, real_template, tokenizer, trained_texts


@given(question=st.text(max_size=30), answer=st.text(min_size=1, max_size=30).filter(str.strip))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_encoded_exactly_by_the_starter(question: str, answer: str) -> None:
    reader = tokenizer()
    conversation = chat(question, answer)
    chat_format = ChatFormat.from_tokenizer(reader, today=TODAY).fitted_to([conversation])
    encoded = chat_format.encode_conversation(conversation)
    messages = [{"role": m.role, "content": m.content} for m in conversation.messages]
    assert list(encoded.input_ids) == reader.inner.apply_chat_template(messages, return_dict=False)
    prompt = chat_format.prompt_ids(conversation.prompt)
    assert list(encoded.input_ids[: len(prompt)]) == prompt
    assert chat_format.encode_conversation(conversation).labels[len(prompt)] != IGNORED


def test_generation_marks_give_the_mask_of_transformers() -> None:
    reader = tokenizer()
    messages = [{"role": m.role, "content": m.content} for m in CHATS["system"].messages]
    found = reader.inner.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    encoded = ChatFormat.from_tokenizer(reader).encode_conversation(CHATS["system"])
    assert [int(label != IGNORED) for label in encoded.labels] == found["assistant_masks"]


def test_marks_inside_a_macro_are_found() -> None:
    source = (
        "{% macro say(m) %}{% generation %}{{ m.content }}{% endgeneration %}{{ '<|im_end|>' }}{% endmacro %}"
        "{% for m in messages %}{{ m.role + ':' }}{% if m.role == 'assistant' %}{{ say(m) }}{% else %}"
        "{{ m.content }}{% endif %}{% endfor %}"
    )
    encoded = ChatFormat.from_tokenizer(tokenizer(), source).encode_conversation(chat("q", "a", "r", "b"))
    # the end mark is trained although the block leaves it out
    assert trained_texts(tokenizer(), encoded.input_ids, encoded.labels) == ["a<|im_end|>", "b<|im_end|>"]


def test_weights_and_train_on_choose_the_answers() -> None:
    reader, chat_format = tokenizer(), ChatFormat.from_tokenizer(tokenizer())
    messages = list(CHATS["multi"].messages)
    encoded = chat_format.encode_conversation(CHATS["multi"], "last")
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["a2<|im_end|>"]
    messages[3] = Message("assistant", "a2", weight=0)
    unweighted = Conversation(tuple(messages), Place("t.jsonl", 1))
    encoded = chat_format.encode_conversation(unweighted)
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["a1\n<|im_end|>"]
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(unweighted, "last")
    assert caught.value.problems[0].code == "nothing_trained"


def test_a_template_that_drops_thinking_says_so(shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    source = real_template("deepseek_r1_distill", shared)
    chat_format = ChatFormat.from_tokenizer(reader, source)
    encoded = chat_format.encode_conversation(chat("q", "<think>why</think>so"))
    assert encoded.changed
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["so<｜end▁of▁sentence｜>"]
    assert not chat_format.encode_conversation(chat("q", "so")).changed
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(chat("q", "<think>why</think>"))
    assert caught.value.problems[0].code == "answer_dropped"


def test_a_template_that_rewrites_by_content_is_refused() -> None:
    source = (
        "{% for m in messages %}{% if 'secret' in m.content %}{{ 'hidden:' }}{% endif %}{{ m.role + '\n' + m.content "
        "+ '<|im_end|>' }}{% endfor %}"
    )
    chat_format = ChatFormat.from_tokenizer(tokenizer(), source)
    assert not chat_format.encode_conversation(chat("q", "a")).changed
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(chat("q", "a secret"))
    assert caught.value.problems[0].code == "answer_rewritten"


def test_control_tokens_in_text_are_refused_with_every_place() -> None:
    chat_format = ChatFormat.from_tokenizer(tokenizer())
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(chat("say <|im_end|>", "no <|im_start|>system", "and <think>", "<|endoftext|>"))
    found = [(p.code, p.column, p.values["token"]) for p in caught.value.problems]
    assert found == [
        ("control_token", "user", "<|im_end|>"),
        ("control_token", "assistant", "<|im_start|>"),
        ("control_token", "assistant", "<|endoftext|>"),
    ]
    assert "t.jsonl, row 1" in caught.value.message and "<|im_end|>" in caught.value.message
    with pytest.raises(DataError):
        chat_format.prompt_ids([Message("user", "<|im_end|>")])


def test_text_that_the_tokenizer_cannot_write_is_refused() -> None:
    class Deaf(HFTokenizer):
        def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
            return super().encode(text.replace("\u9f98", "?"))

    chat_format = ChatFormat.from_tokenizer(Deaf(load_tokenizer(STARTER).inner))
    assert chat_format.encode_conversation(chat("q", "a"))
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(chat("q", "ab\u9f98c"))
    assert caught.value.problems[0].code == "round_trip_differs"
    assert "\u9f98" in caught.value.problems[0].message
