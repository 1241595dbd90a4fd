"""Calls of tools: rendered as transformers does, trained whole, refused by name where a template leaves a part out."""

from pathlib import Path

import pytest

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, ToolCall
from postil.errors import DataError
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from postil.problems import Place
from tests.data.chats import (
    ASKED,
    CHATS,
    HOT,
    PAIRS,
    STARTER,
    TODAY,
    TOLD,
    TOOL_CHATS,
    WEATHER,
    calling,
    paired,
    theirs,
    tokenizer,
    tool_chat,
    trained_texts,
)

NO_TOOLS = {"tools_not_supported", "template_refuses_tools", "template_refuses_system", "template_refuses"}
REFUSED = {
    **dict.fromkeys(
        ("cohere", "deepseek_r1_distill", "deepseekv3", "gemma", "gemma3", "llama3", "phi3", "phi3_5"), None
    ),
    "lfm2": set(TOOL_CHATS) - {"no call"},
    "gptoss": {"two at once", "ends with a call"},
    "llama3_1": {"two at once"},
    "llama3_2": {"two at once"},
}
"""Chats that a template cannot show whole; None: all of them."""


@pytest.mark.parametrize(("template", "name"), PAIRS)
def test_tool_calls_are_rendered_as_transformers_does_and_trained_whole(
    name: str, template: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, source = paired(template, name, shared)
    refused = REFUSED.get(template, set(TOOL_CHATS) if (template, name) == ("own", "starter") else set())
    for title, conversation in TOOL_CHATS.items():
        chat_format = ChatFormat.from_tokenizer(reader, source, today=TODAY).fitted_to([conversation])
        if refused is None or title in refused:
            with pytest.raises(DataError) as caught:
                chat_format.encode_conversation(conversation)
            code = caught.value.problems[0].code
            assert code in NO_TOOLS or (template, title, code) == ("gptoss", "ends with a call", "calls_not_expected")
            continue
        encoded = chat_format.encode_conversation(conversation)
        assert list(encoded.input_ids) == theirs(reader, source, conversation, monkeypatch)
        prompt = chat_format.prompt_ids(conversation.prompt, conversation.tools)
        assert list(encoded.input_ids[: len(prompt)]) == prompt
        assert encoded.labels[len(prompt)] == encoded.input_ids[len(prompt)] and encoded.ends_trained
        texts = trained_texts(reader, encoded.input_ids, encoded.labels)
        answers = [m for m in conversation.messages if m.role == "assistant"]
        assert len(texts) == len(answers)
        for text, answer in zip(texts, answers, strict=True):
            assert all(c.name in text and str(v) in text for c in answer.tool_calls for v in c.arguments.values())
            assert "weather?" not in text and "30" not in text and "<|im_start|>" not in text
            if not answer.tool_calls:
                assert answer.content.rpartition("</think>")[2].strip() in text


MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and loop.first %}{{- '[AVAILABLE_TOOLS] ' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'tool' %}
{{- '[TOOL_RESULTS] {"content": ' + (message.content | tojson) }}
{{- ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- elif message.tool_calls is defined %}
{{- '[TOOL_CALLS] [' }}
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}
{{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + (', ' if not loop.last else ']') }}
{%- endfor %}
{{- eos_token }}
{%- else %}
{{- ' ' + message.content + eos_token }}
{%- endif %}
{%- endfor %}"""


def test_a_template_in_the_manner_of_mistral(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = tokenizer()
    inner = load_tokenizer(STARTER).inner
    inner.bos_token = inner.eos_token
    reader = HFTokenizer(inner)
    for conversation in (CHATS["multi"], *(TOOL_CHATS[n] for n in ("one call", "two at once", "several turns"))):
        chat_format = ChatFormat.from_tokenizer(reader, MISTRAL, today=TODAY).fitted_to([conversation])
        encoded = chat_format.encode_conversation(conversation)
        assert list(encoded.input_ids) == theirs(reader, MISTRAL, conversation, monkeypatch)
        texts = trained_texts(reader, encoded.input_ids, encoded.labels)
        assert len(texts) == sum(m.role == "assistant" for m in conversation.messages)
        assert all(text.endswith("<|im_end|>") for text in texts)
        assert "INST" not in "".join(texts) and "RESULTS" not in "".join(texts)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{% for m in messages %}{{ m.role + m.content + '<|im_end|>' }}{% endfor %}{{ tools }}", "tool_calls"),
        (
            "{{ tools }}{% for m in messages if m.role != 'tool' %}{{ m.role + m.content + (m.tool_calls | string) "
            "+ '<|im_end|>' }}{% endfor %}",
            "tool",
        ),
        (
            "{% for m in messages %}{{ m.role + m.content + (m.tool_calls | string) + '<|im_end|>' }}{% endfor %}",
            "tools",
        ),
    ],
)
def test_a_template_that_leaves_a_part_of_tools_out_is_refused_by_name(source: str, what: str) -> None:
    conversation = TOOL_CHATS["one call"]
    chat_format = ChatFormat.from_tokenizer(tokenizer(), source, name="odd").fitted_to([conversation])
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(conversation)
    problem = caught.value.problems[0]
    assert (problem.code, problem.values["what"]) == ("tools_not_supported", what)
    assert "odd" in problem.message and problem.place == Place("t.jsonl", 1)


def test_marks_around_calls_and_marks_beside_them() -> None:
    source = (
        "{{ tools }}{% for m in messages %}{{ m.role + ':' }}{% if m.role == 'assistant' %}BEFORE{% generation %}"
        "{{ m.content }}INSIDE<|im_end|>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    calls = "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
    conversation = TOOL_CHATS["text beside it"]
    inside = ChatFormat.from_tokenizer(tokenizer(), source.replace("BEFORE", "").replace("INSIDE", calls))
    encoded = inside.fitted_to([conversation]).encode_conversation(conversation)
    texts = trained_texts(tokenizer(), encoded.input_ids, encoded.labels)
    assert texts[0].startswith("Let me look.[{") and texts[0].endswith("}]<|im_end|>")
    beside = ChatFormat.from_tokenizer(tokenizer(), source.replace("BEFORE", calls).replace("INSIDE", ""))
    with pytest.raises(DataError) as caught:
        beside.fitted_to([conversation]).encode_conversation(conversation)
    assert caught.value.problems[0].code == "marks_unclear"


def test_control_tokens_in_calls_and_schemas_are_found_too(shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    smuggling = tool_chat(ASKED, calling(ToolCall("get_weather", {"city": "<|im_end|>"})), TOLD, HOT)
    with pytest.raises(DataError) as caught:
        ChatFormat.from_tokenizer(reader).encode_conversation(smuggling)
    assert [(p.code, p.column) for p in caught.value.problems] == [("control_token", "assistant")]
    fix = caught.value.problems[0].fix
    assert fix is not None and fix.action == "break_control_tokens" and fix.values == {"tokens": ["<|im_end|>"]}
    schema = Conversation(CHATS["single"].messages, Place("t.jsonl", 1), ({**WEATHER, "x": "<|im_start|>"},))
    with pytest.raises(DataError) as caught:
        ChatFormat.from_tokenizer(reader).encode_conversation(schema)
    assert [(p.code, p.column) for p in caught.value.problems] == [("control_token", "tools")]
