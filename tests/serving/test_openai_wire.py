"""Requests read and answers shaped, without a server."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.conversations import Message, ToolCall
from postil.errors import ConflictError, DataError, MissingInputError, PostilError, TooManyError, UnavailableError
from postil.serving.openai_wire import Reply, WireError, choice, error_reply, parse_chat_request, sse, usage

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_a_bare_request_takes_the_defaults_of_the_wire() -> None:
    wanted = parse_chat_request(BODY)
    assert wanted.messages == (Message("user", "hi"),)
    assert (wanted.temperature, wanted.top_p, wanted.num_choices, wanted.max_tokens, wanted.seed) == (
        1,
        1,
        1,
        None,
        None,
    )
    assert not (wanted.is_streamed or wanted.includes_usage or wanted.tools or wanted.stops)


def test_nulls_are_as_good_as_nothing() -> None:
    names = ["temperature", "top_p", "n", "max_tokens", "max_completion_tokens", "seed", "stop", "stream", "tools"]
    names += ["stream_options", "logprobs", "logit_bias", "response_format", "presence_penalty", "tool_choice"]
    assert parse_chat_request(BODY | dict.fromkeys(names)) == parse_chat_request(BODY)


def test_the_newer_word_for_the_longest_answer_wins() -> None:
    assert parse_chat_request(BODY | {"max_tokens": 5, "max_completion_tokens": 7}).max_tokens == 7
    assert parse_chat_request(BODY | {"max_tokens": 5}).max_tokens == 5


def test_tools_and_their_answers() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    wanted = parse_chat_request({"model": "m", "messages": messages, "tools": [TOOL], "tool_choice": "auto"})
    assert [m.role for m in wanted.messages] == ["system", "user", "assistant", "tool"]
    assert wanted.messages[1].content == "a\nb"
    assert wanted.messages[2].tool_calls == (ToolCall("weather", {"city": "Rome"}),)
    assert wanted.tools == (TOOL,)
    assert parse_chat_request(BODY | {"tools": [TOOL], "tool_choice": "none"}).tools == ()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"function": "x"}]}, "tools"),
        ({"tools": "x"}, "tools"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": "{"}}]}]},
         "messages[0].tool_calls[0]"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 1.0}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_chat_request(BODY | change)
    reply = error_reply(caught.value)
    assert reply.status == 400 and reply.body["error"]["param"] == param and param in reply.body["error"]["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ["model", "messages", "temperature", "top_p", "n", "max_tokens", "seed", "stop", "stream", "stream_options"]
NAMES += ["tools", "tool_choice", "response_format", "logprobs", "logit_bias", "modalities", "presence_penalty"]
keys = st.sampled_from(NAMES)
messages = st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), json_values, max_size=3))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(keys, json_values), messages, json_values)
def test_nothing_but_a_wire_error_comes_out(entries: dict[str, Any], given_messages: list[Any], other: Any) -> None:
    for body in (entries, BODY | entries, entries | {"model": "m", "messages": given_messages}, other):
        reply = None
        try:
            parse_chat_request(body)
        except WireError as error:
            reply = error_reply(error)
        assert reply is None or (reply.status == 400 and json.dumps(reply.body))


def test_shapes() -> None:
    reply = Reply("chatcmpl-1", 5, "m", "fp_1")
    whole = reply.completion([choice(0, "hi", [], "stop")], usage(3, 2))
    assert whole["object"] == "chat.completion" and whole["usage"]["total_tokens"] == 5
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "hi", "refusal": None}
    calling = choice(0, "\n", [{"id": "c"}], "tool_calls")["message"]
    assert calling["content"] is None and calling["tool_calls"] == [{"id": "c"}]
    chunk = reply.chunk(1, {"content": "你"}, with_usage=True)
    assert chunk["choices"][0]["index"] == 1 and chunk["usage"] is None
    assert sse(chunk).decode().startswith('data: {"id":"chatcmpl-1"') and "你" in sse(chunk).decode()
    assert sse("[DONE]") == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (TooManyError("serving.queue_full", retry_after_seconds=7, seconds=7), 429, "rate_limit_error"),
        (MissingInputError("serving.no_such_model", name="x"), 404, "invalid_request_error"),
        (ConflictError("serving.name_taken", name="x"), 409, "invalid_request_error"),
        (DataError("adapter.not_finite", path="p", name="n"), 400, "invalid_request_error"),
        (UnavailableError("serving.stopping"), 503, "server_error"),
        (PostilError("serving.bug"), 500, "server_error"),
    ],
)
def test_every_kind_of_error_has_its_status(error: PostilError, status: int, kind: str) -> None:
    reply = error_reply(error)
    assert (reply.status, reply.body["error"]["type"]) == (status, kind)
    assert reply.headers.get("retry-after") == ("7" if status == 429 else None)
    assert ("x-should-retry" in reply.headers) == (status in (409, 503))


def test_it_needs_no_torch() -> None:
    names = "openai_wire, postil.serving.scheduler, postil.serving.spec, postil.serving.tool_text"
    program = f"import sys, postil.serving.{names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
