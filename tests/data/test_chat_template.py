"""Chat formats: the text and ids of transformers, prompts that training saw, and a manifest that keeps all of it."""

import json
from pathlib import Path

import pytest

from postil.data.chat_template import ChatFormat
from postil.errors import DataError
from tests.data.chats import (
    CHATS,
    PAIRS,
    TODAY,
    TOOL_CHATS,
    WITHOUT_BOS,
    paired,
    real_template,
    theirs,
    tokenizer,
    trained_texts,
)


@pytest.mark.parametrize(("template", "name"), PAIRS)
def test_ids_are_those_of_transformers_and_prompts_their_beginning(
    name: str, template: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, source = paired(template, name, shared)
    for conversation in CHATS.values():
        chat_format = ChatFormat.from_tokenizer(reader, source, today=TODAY).fitted_to([conversation])
        if template == "gemma" and conversation.messages[0].role == "system":
            with pytest.raises(DataError) as caught:
                chat_format.encode_conversation(conversation)
            assert [p.code for p in caught.value.problems] == ["template_refuses_system"]
            continue
        encoded = chat_format.encode_conversation(conversation)
        assert list(encoded.input_ids) == theirs(reader, source, conversation, monkeypatch)
        prompt = chat_format.prompt_ids(conversation.prompt)
        assert list(encoded.input_ids[: len(prompt)]) == prompt
        assert encoded.labels[len(prompt)] == encoded.input_ids[len(prompt)]  # the answer begins where the prompt ends
        assert encoded.ends_trained
        texts = trained_texts(reader, encoded.input_ids, encoded.labels)
        assert len(texts) == 2 or conversation is CHATS["single"]
        for text, answer in zip(texts, (m for m in conversation.messages if m.role == "assistant"), strict=True):
            assert answer.content.rpartition("</think>")[2].strip() in text


@pytest.mark.parametrize("name", WITHOUT_BOS)
def test_a_template_that_names_a_token_that_is_missing_is_refused(name: str, shared: Path) -> None:
    with pytest.raises(DataError, match="bos_token"):  # transformers refuses it as well
        ChatFormat.from_tokenizer(tokenizer(name), real_template("llama3", shared))


def test_the_expected_answer_may_be_a_call(shared: Path) -> None:
    source = real_template("qwen3", shared)
    chat_format = ChatFormat.from_tokenizer(tokenizer("qwen2.5-0.5b"), source)
    wanted = chat_format.expected_text(TOOL_CHATS["ends with a call"])
    assert wanted == '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
    assert chat_format.expected_text(TOOL_CHATS["one call"]) == "It is hot.\n"


def test_the_date_stays_and_the_manifest_carries_everything(shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    source = real_template("llama3_2", shared)
    made = ChatFormat.from_tokenizer(reader, source, today=TODAY, name="Llama").fitted_to([CHATS["leading"]])
    manifest = json.loads(json.dumps(made.manifest()))
    again = ChatFormat.from_manifest(manifest, reader)
    assert again.manifest() == manifest and again.name == "Llama"
    assert again.encode_conversation(CHATS["system"]) == made.encode_conversation(CHATS["system"])
    assert "05 Mar 2026" in reader.decode(again.prompt_ids(CHATS["system"].prompt))
    with pytest.raises(DataError) as caught:
        ChatFormat.from_manifest(manifest, tokenizer())
    assert caught.value.key == "tokens.other_tokenizer"
    with pytest.raises(DataError) as caught:
        ChatFormat.from_manifest({"template": source}, reader)
    assert caught.value.key == "tokens.broken_manifest"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}", "line 1"),
        ("x" * 200_001, "200001"),
        ("{{ 'a' * 10 ** 9 }}", "not allowed"),
        ("{{ messages * 10000000 }}", "not allowed"),
        ("{% for i in range(90000) %}{{ 'abcdefghij' * 100 }}{% endfor %}", "more than 4000000"),
        ("{{ raise_exception('go away') }}", "go away"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{% set n = namespace(__class__=1) %}", "__class__"),
        ("{{ messages[0].content.upper() }}", "once"),
    ],
)
def test_templates_that_cannot_be_used_are_named(source: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        ChatFormat.from_tokenizer(tokenizer(), source, name="odd")
    assert caught.value.key == "tokens.bad_template"
    assert "(odd)" in caught.value.message and reason in caught.value.message
