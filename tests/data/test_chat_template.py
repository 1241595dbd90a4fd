"""Chat templates: the text and ids of transformers, spans that are exact, prompts that training saw."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.data.chat_template import IGNORED, INSTRUCTION_TEMPLATE, ChatFormat
from postil.data.conversations import Conversation, Message, ToolCall
from postil.data.template_renderer import KNOWN_TEMPLATES, TemplateRefusal, check_template, render
from postil.errors import DataError
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from postil.problems import Place

STARTER = Path(__file__).parents[2] / "postil" / "models" / "starter"
TODAY = date(2026, 3, 5)
TEMPLATES = (
    *("cohere", "deepseek_r1_distill", "deepseekv3", "gemma", "gemma3", "gptoss", "lfm2", "llama3", "llama3_1"),
    *("llama3_2", "phi3", "phi3_5", "qwen2_5", "qwen3", "qwen3_5_nothink", "qwen3_6", "qwen3_instruct_2507"),
)
TOKENIZERS = ("starter", "qwen2.5-0.5b", "minimind-6400")

_loaded: dict[str, HFTokenizer] = {}


def tokenizer(name: str = "starter") -> HFTokenizer:
    if name not in _loaded:
        folder = STARTER if name == "starter" else STARTER.parents[3] / "shared" / "tokenizers" / name
        if not folder.is_dir():
            pytest.skip("needs the folder of real files beside the repository")
        _loaded[name] = load_tokenizer(folder)
    return _loaded[name]


def chat(*contents: str, system: str | None = None) -> Conversation:
    roles = ("user", "assistant")
    messages = [Message(roles[i % 2], text) for i, text in enumerate(contents)]  # type: ignore[arg-type]
    return Conversation((*([Message("system", system)] if system else []), *messages), Place("t.jsonl", 1))


CHATS = {
    "single": chat("q1", "答案是七。"),
    "multi": chat(" q1 ", "a1\n", "q2", "a2"),
    "system": chat(" q1 ", "a1\n", "q2", " a2 ", system="Be kind. "),
    "thinking": chat("q1", "<think>\nwhy\n</think>\n\nx y", "q2", "<think>\nwhy not\n</think>\n\nz w"),
    "one thought": chat("q1", "<think>why</think>x y", "q2", "plain"),
    "leading": chat("q1", "\n\n  indented", "q2", "\nb"),
    "punctuation": chat("q1", "“Yes”", "q2", "(no)"),
}


def trained_texts(reader: HFTokenizer, ids: Sequence[int], labels: Sequence[int]) -> list[str]:
    """The trained stretches as text."""
    runs: list[list[int]] = [[]]
    for i, label in zip(ids, labels, strict=True):
        assert label in (IGNORED, i)
        if label == IGNORED and runs[-1]:
            runs.append([])
        elif label != IGNORED:
            runs[-1].append(i)
    return [reader.decode(run, skip_special_tokens=False) for run in runs if run]


def theirs(reader: HFTokenizer, source: str, conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What transformers makes of the conversation on our fixed day."""
    from transformers.utils import chat_template_utils

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Frozen":
            return cls(TODAY.year, TODAY.month, TODAY.day)

    monkeypatch.setattr(chat_template_utils, "datetime", Frozen)
    messages = [
        as_transformers_wants(m, ids) for m, ids in zip(conversation.messages, call_ids(conversation), strict=True)
    ]
    tools: Any = list(conversation.tools) or None
    text = reader.inner.apply_chat_template(messages, tools=tools, chat_template=source, tokenize=False)
    assert render(source, conversation.messages, reader.special_tokens, TODAY, tools=conversation.tools) == text
    return list(reader.inner.apply_chat_template(messages, tools=tools, chat_template=source, return_dict=False))


def call_ids(conversation: Conversation) -> list[Sequence[str]]:
    """Ids of the calls of each message, and of the call that a tool's message answers."""
    found: list[Sequence[str]] = []
    count, open_ids = 0, [""]
    for m in conversation.messages:
        if m.tool_calls:
            open_ids = [f"call{count + k:05d}" for k in range(1, len(m.tool_calls) + 1)]
            count += len(open_ids)
            found.append(tuple(open_ids))
        else:
            found.append((open_ids.pop(0) if len(open_ids) > 1 else open_ids[0],) if m.role == "tool" else ())
    return found


def as_transformers_wants(message: Message, ids: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        values["tool_calls"] = [
            {"id": key, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call, key in zip(message.tool_calls, ids, strict=True)
        ]
    if message.role == "tool":
        values["tool_call_id"] = ids[0]
    return values


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("template", ["own", *TEMPLATES])
def test_ids_are_those_of_transformers_and_prompts_their_beginning(
    name: str, template: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = tokenizer(name)
    source = reader.chat_template or ""
    if template != "own":
        source = (shared / "templates" / f"{template}.jinja").read_text("utf-8")
    if template == "llama3" and "bos_token" not in reader.special_tokens:
        with pytest.raises(DataError, match="bos_token"):  # transformers refuses it as well
            ChatFormat.from_tokenizer(reader, source)
        return
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


WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather <now> & here",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "城市"}}},
    },
}
ROME, BONN = ToolCall("get_weather", {"city": "罗马", "days": 3}), ToolCall("get_weather", {"city": "Bonn"})


def tool_chat(*messages: Message, system: str | None = None) -> Conversation:
    return Conversation((*([Message("system", system)] if system else []), *messages), Place("t.jsonl", 1), (WEATHER,))


def calling(*calls: ToolCall, content: str = "") -> Message:
    return Message("assistant", content, tool_calls=calls)


ASKED, TOLD, HOT = Message("user", " weather? "), Message("tool", '{"t": 30}'), Message("assistant", "It is hot.\n")
TOOL_CHATS = {
    "one call": tool_chat(ASKED, calling(ROME), TOLD, HOT),
    "text beside it": tool_chat(ASKED, calling(ROME, content="Let me look."), TOLD, HOT, system=" Be kind. "),
    "no arguments": tool_chat(ASKED, calling(ToolCall("get_weather", {})), TOLD, HOT),
    "two at once": tool_chat(ASKED, calling(ROME, BONN), TOLD, Message("tool", "20"), HOT),
    "several turns": tool_chat(ASKED, calling(ROME), TOLD, HOT, Message("user", "Bonn?"), calling(BONN), TOLD, HOT),
    "ends with a call": tool_chat(ASKED, calling(BONN)),
    "thinking": tool_chat(
        ASKED,
        calling(ROME, content="<think>\nhm\n</think>\n\n"),
        TOLD,
        Message("assistant", "<think>\nso\n</think>\n\nhot"),
    ),
    "no call": tool_chat(ASKED, HOT),
}
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


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("template", ["own", *TEMPLATES])
def test_tool_calls_are_rendered_as_transformers_does_and_trained_whole(
    name: str, template: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = tokenizer(name)
    source = reader.chat_template or ""
    if template != "own":
        source = (shared / "templates" / f"{template}.jinja").read_text("utf-8")
    if template == "llama3" and "bos_token" not in reader.special_tokens:
        return
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


def test_the_mark_of_a_call_stops_answers_where_calls_are_learned(shared: Path) -> None:
    source = (shared / "templates" / "gptoss.jinja").read_text("utf-8")
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


def test_the_expected_answer_may_be_a_call(shared: Path) -> None:
    source = (shared / "templates" / "qwen3.jinja").read_text("utf-8")
    chat_format = ChatFormat.from_tokenizer(tokenizer("qwen2.5-0.5b"), source)
    wanted = chat_format.expected_text(TOOL_CHATS["ends with a call"])
    assert wanted == '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
    assert chat_format.expected_text(TOOL_CHATS["one call"]) == "It is hot.\n"


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
    source = (shared / "templates" / f"{template}.jinja").read_text("utf-8")
    chat_format = ChatFormat.from_tokenizer(reader, source, today=TODAY)
    encoded = chat_format.encode_conversation(CHATS["single"])
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == [f"答案是七。{end}"]
    ids = reader.encode(end)[0]
    assert ids[0] in chat_format.stop_ids if len(ids) == 1 else end in chat_format.stop_strings


def test_an_earlier_turn_may_end_with_another_mark(shared: Path) -> None:
    source = (shared / "templates" / "gptoss.jinja").read_text("utf-8")
    chat_format = ChatFormat.from_tokenizer(tokenizer("minimind-6400"), source, today=TODAY)
    encoded = chat_format.encode_conversation(chat("q", "a", "r", "b"))
    texts = trained_texts(tokenizer("minimind-6400"), encoded.input_ids, encoded.labels)
    assert texts == ["a<|end|>", "b<|return|>"]
    assert set(chat_format.stop_strings) == {"<|end|>", "<|return|>"}


def test_thinking_decides_where_prompts_of_qwen3_end(shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    plain = ChatFormat.from_tokenizer(reader, (shared / "templates" / "qwen3.jinja").read_text("utf-8"))
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


def test_a_template_that_drops_thinking_says_so(shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    source = (shared / "templates" / "deepseek_r1_distill.jinja").read_text("utf-8")
    chat_format = ChatFormat.from_tokenizer(reader, source)
    encoded = chat_format.encode_conversation(chat("q", "<think>why</think>so"))
    assert encoded.changed
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["so<｜end▁of▁sentence｜>"]
    assert not chat_format.encode_conversation(chat("q", "so")).changed
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(chat("q", "<think>why</think>"))
    assert caught.value.problems[0].code == "answer_dropped"


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


def test_the_built_in_form() -> None:
    reader = tokenizer()
    inner = load_tokenizer(STARTER).inner
    inner.chat_template = None
    chat_format = ChatFormat.from_tokenizer(HFTokenizer(inner))
    assert chat_format.is_built_in and chat_format.stop_strings == ("###", "</s>") and chat_format.stop_ids == {2}
    encoded = chat_format.encode_conversation(chat("q", "a", "r", "b", system="s"))
    assert reader.decode(encoded.input_ids, False) == (
        "### Instruction:\ns\nq\n\n### Response:\na<|im_end|>\n\n### Instruction:\nr\n\n### Response:\nb<|im_end|>"
    )
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["a<|im_end|>", "b<|im_end|>"]
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(chat("q", "### Title\ntext"))
    assert caught.value.problems[0].code == "answer_holds_stop"
    inner.eos_token = None
    endless = ChatFormat.from_tokenizer(HFTokenizer(inner))
    encoded = endless.encode_conversation(chat("q", "a"))
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["a\n\n###"] and not endless.stop_ids


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
    assert "t.jsonl:1" in caught.value.message and "<|im_end|>" in caught.value.message
    with pytest.raises(DataError):
        chat_format.prompt_ids([Message("user", "<|im_end|>")])


def test_the_date_stays_and_the_manifest_carries_everything(shared: Path) -> None:
    reader = tokenizer("minimind-6400")
    source = (shared / "templates" / "llama3_2.jinja").read_text("utf-8")
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


def test_templates_that_ship_with_postil_run_without_a_child() -> None:
    shipped = {INSTRUCTION_TEMPLATE, tokenizer().chat_template or ""}
    assert {hashlib.sha256(source.encode()).hexdigest() for source in shipped} == KNOWN_TEMPLATES


def test_compiling_alone_says_what_is_wrong() -> None:
    with pytest.raises(TemplateRefusal, match="line 2"):
        check_template("\n{% if %}")
