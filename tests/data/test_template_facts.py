"""What is found out about a template: its marks, where its prompts end, and whether it writes thinking."""

import json
from pathlib import Path

import pytest

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Message
from postil.errors import DataError
from tests.data.chats import CHATS, TODAY, TOOL_CHATS, chat, real_template, tokenizer, trained_texts


@pytest.mark.parametrize(
    ("template", "end"),
    [
        ("cohere", "<|END_OF_TURN_TOKEN|>"),
        ("deepseek_r1_distill", "<｜end▁of▁sentence｜>"),
        ("gemma3", "<end_of_turn>"),
        ("gptoss", "<|return|>"),
        ("llama3_2", "<|eot_id|>"),
        ("phi3", "<|end|>"),
        ("qwen3", "<|im_end|>"),
    ],
)
def test_training_ends_with_the_mark_of_the_turn(template: str, end: str, shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    source = real_template(template, shared)
    chat_format = ChatFormat.from_tokenizer(reader, source, today=TODAY)
    encoded = chat_format.encode_conversation(CHATS["single"])
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == [f"答案是七。{end}"]
    ids = reader.encode(end)[0]
    assert ids[0] in chat_format.stop_ids if len(ids) == 1 else end in chat_format.stop_strings


def test_answers_stop_at_the_end_of_text_beside_the_mark(shared: Path) -> None:
    reader = tokenizer("qwen2.5-0.5b")
    ends = {reader.encode("<|im_end|>")[0][0], reader.encode("<|endoftext|>")[0][0]}
    assert ChatFormat.from_tokenizer(reader).stop_ids == ends and reader.eos_id in ends


def test_an_earlier_turn_may_end_with_another_mark(shared: Path) -> None:
    source = real_template("gptoss", shared)
    chat_format = ChatFormat.from_tokenizer(tokenizer("minimind-6400"), source, today=TODAY)
    encoded = chat_format.encode_conversation(chat("q", "a", "r", "b"))
    texts = trained_texts(tokenizer("minimind-6400"), encoded.input_ids, encoded.labels)
    assert texts == ["a<|end|>", "b<|return|>"]
    assert set(chat_format.stop_strings) == {"<|end|>", "<|return|>"}


def test_the_mark_of_a_call_stops_answers_where_calls_are_learned(shared: Path) -> None:
    source = real_template("gptoss", shared)
    reader = tokenizer("minimind-6400")
    plain = ChatFormat.from_tokenizer(reader, source, today=TODAY)
    assert "<|call|>" not in plain.stop_strings
    fitted = plain.fitted_to([TOOL_CHATS["one call"]])
    assert "<|call|>" in fitted.stop_strings
    again = ChatFormat.from_manifest(json.loads(json.dumps(fitted.manifest())), reader)
    assert again.calling and again.stop_strings == fitted.stop_strings
    with pytest.raises(DataError) as caught:
        plain.encode_conversation(TOOL_CHATS["one call"])
    assert caught.value.problems[0].code == "calls_not_expected"


def test_thinking_decides_where_prompts_of_qwen3_end(shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    plain = ChatFormat.from_tokenizer(reader, real_template("qwen3", shared))
    asked = CHATS["thinking"].prompt
    assert reader.decode(plain.prompt_ids(asked), False).endswith("assistant\n<think>\n\n</think>\n\n")
    with pytest.raises(DataError) as caught:
        plain.encode_conversation(CHATS["thinking"])
    assert caught.value.problems[0].code == "thinking_not_expected"
    thinking = plain.fitted_to([CHATS["thinking"], CHATS["single"]])
    assert plain.fitted_to([CHATS["single"]]) == plain
    assert reader.decode(thinking.prompt_ids(asked), False).endswith("assistant\n<think>\n")
    for conversation in (CHATS["thinking"], CHATS["single"]):
        encoded = thinking.encode_conversation(conversation)
        prompt = thinking.prompt_ids(conversation.prompt)
        assert list(encoded.input_ids[: len(prompt)]) == prompt


@pytest.mark.parametrize(
    "instead", ["", "{{ raise_exception('no thinking') }}", "{{ m.content[:3] }}"], ids=["drops", "refuses", "cuts"]
)
def test_a_template_without_answers_that_think_writes_no_thinking(instead: str) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if '</think>' in m.content %}" + instead + "{% else %}"
        "{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat_format = ChatFormat.from_tokenizer(tokenizer(), source)
    assert chat_format.fitted_to([CHATS["thinking"], CHATS["single"]]) == chat_format


def test_a_prompt_that_ends_with_a_blank_ends_before_it() -> None:
    source = (
        "{% for m in messages %}{{ m.role + ': ' + m.content }}"
        "{% if m.role == 'assistant' %}<|im_end|>{% endif %}\n{% endfor %}"
    )
    reader, chat_format = tokenizer(), ChatFormat.from_tokenizer(tokenizer(), source)
    for answer in ("Yes", "的", "(no)"):
        encoded = chat_format.encode_conversation(chat("q", answer))
        assert trained_texts(reader, encoded.input_ids, encoded.labels) == [f" {answer}<|im_end|>"]
    assert reader.decode(chat_format.prompt_ids([Message("user", "q")])).endswith("assistant:")
