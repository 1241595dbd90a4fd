import json
from decimal import Decimal
from typing import Any

import pytest

from postil.data.conversations import Conversation, ToolCall, content_hash
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Reading, Record
from postil.data.shapes.tool_calls import ToolFault, looks_like_calls, read_calls, read_tools
from postil.problems import Place

PLACE = Place("a.jsonl", 7)
CALL = {"name": "weather", "arguments": {"city": "北京", "days": 2}}
TOOL = {"name": "weather", "description": "d", "parameters": {"type": "object"}}


def read(fields: dict[str, Any]) -> Reading:
    return read_messages(Record(PLACE, fields))


def sharegpt(*turns: tuple[str, Any], **others: Any) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": value} for role, value in turns], **others}


def openai(*messages: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Q"}, *messages], **others}


def calling(*ids: str, content: Any = None) -> dict[str, Any]:
    calls = [
        {"id": i, "type": "function", "function": {"name": f"f{i}", "arguments": json.dumps({"x": i})}} for i in ids
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def answering(call_id: str | None, content: Any = "R") -> dict[str, Any]:
    return {"role": "tool", "content": content} | ({"tool_call_id": call_id} if call_id else {})


SAID = {"role": "assistant", "content": "A"}
ASKED = {"role": "user", "content": "Q"}


def roles(reading: Reading) -> list[str]:
    return [m.role for m in reading.messages]


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [{"type": "function", "function": TOOL}], TOOL])
def test_sharegpt_calls(tools: Any) -> None:
    turns = [("human", "Q"), ("function_call", json.dumps(CALL)), ("observation", '{"t": 20}'), ("gpt", "A")]
    reading = read(sharegpt(*turns, tools=tools))
    assert (reading.problems, reading.kind, reading.shape) == ((), "tool_calls", "sharegpt")
    assert roles(reading) == ["user", "assistant", "tool", "assistant"]
    assert reading.messages[1].tool_calls == (ToolCall("weather", {"city": "北京", "days": 2}),)
    assert (reading.messages[1].content, reading.messages[2].content) == ("", '{"t": 20}')
    assert reading.tools == ({"type": "function", "function": TOOL},)
    assert reading.origins[2].json_path == "conversations[2].value"


def test_openai_calls_with_ids_and_text_beside_them() -> None:
    reading = read(openai(calling("1", "2", content="wait"), answering("2"), answering("1"), SAID, tools="[]"))
    assert (reading.problems, reading.kind, reading.tools) == ((), "tool_calls", ())
    assert roles(reading) == ["user", "assistant", "tool", "tool", "assistant"]
    assert reading.messages[1].content == "wait"
    assert reading.messages[1].tool_calls == (ToolCall("f1", {"x": "1"}), ToolCall("f2", {"x": "2"}))


def test_the_older_openai_spelling() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    reading = read(openai(call, {"role": "function", "name": "f", "content": {"t": 1.5}}, SAID, functions=[TOOL]))
    assert reading.problems == ()
    assert reading.messages[1].tool_calls == (ToolCall("f", {}),)
    assert reading.messages[2].content == '{"t":1.5}'
    assert len(reading.tools) == 1


def test_calls_that_are_entries_of_their_own_belong_to_one_message() -> None:
    calls = [("gpt", "let me see"), ("tool_call", json.dumps(CALL)), ("tool_call", json.dumps([CALL, CALL]))]
    reading = read(sharegpt(("human", "Q"), *calls, ("tool_response", "1"), ("tool_response", "2"), ("gpt", "A")))
    assert reading.problems == ()
    assert roles(reading) == ["user", "assistant", "tool", "tool", "assistant"]
    assert (reading.messages[1].content, len(reading.messages[1].tool_calls)) == ("let me see", 3)


def test_a_conversation_may_end_with_a_call() -> None:
    assert roles(read(openai(calling("1")))) == ["user", "assistant"]
    reading = read({"query": "Q", "tools": json.dumps([TOOL]), "answers": json.dumps([CALL])})
    assert reading.problems == () and reading.messages[1].tool_calls == (ToolCall("weather", CALL["arguments"]),)


def test_without_tools_an_answer_of_calls_is_a_text() -> None:
    assert read({"query": "Q", "answers": json.dumps([CALL])}).messages[1].content == json.dumps([CALL])


def test_tools_alone_make_it_a_conversation_with_tools() -> None:
    reading = read(openai(SAID, tools=[TOOL]))
    assert (reading.problems, reading.kind, len(reading.tools)) == ((), "tool_calls", 1)


@pytest.mark.parametrize("tools", ["[]", [], "", None, " "])
def test_tools_that_are_empty_are_no_tools(tools: Any) -> None:
    reading = read(openai(SAID, tools=tools))
    assert (reading.problems, reading.kind) == ((), "qa")


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        (sharegpt(("human", "Q"), ("function_call", "{name: x}")), "bad_tool_call", "conversations[1].value"),
        (sharegpt(("human", "Q"), ("function_call", '{"arguments": {}}')), "bad_tool_call", "conversations[1].value"),
        (sharegpt(("human", "Q"), ("function_call", "[]")), "bad_tool_call", "conversations[1].value"),
        (
            openai({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}),
            "bad_tool_call",
            "messages[1].tool_calls[0].function.arguments",
        ),
        (openai({"role": "assistant", "tool_calls": ["f"]}), "bad_tool_call", "messages[1].tool_calls[0]"),
        (openai(SAID, tools="[{]"), "bad_tools", "tools"),
        (openai(SAID, tools=[TOOL, {"description": "x"}]), "bad_tools", "tools[1]"),
        (openai(SAID, tools=[{"type": "function", "function": {}}]), "bad_tools", "tools[0].function"),
        (openai(answering("1"), SAID), "tool_answer_without_call", "messages[1].content"),
        (openai(SAID, answering("1"), SAID), "tool_answer_without_call", "messages[2].content"),
        (openai(calling("1"), answering("2"), SAID), "tool_answer_without_call", "messages[2].content"),
        (openai(calling("1"), answering(None), answering(None), SAID), "tool_answer_without_call", None),
        (openai(calling("1"), SAID), "call_without_answer", "messages[1].content"),
        (openai(calling("1"), ASKED, SAID), "call_without_answer", "messages[1].content"),
        (openai(calling("1", "2"), answering("1"), SAID), "call_without_answer", "messages[1].content"),
        (openai(calling("1"), answering("1")), "ends_with_tool", "messages[2].content"),
        (openai(calling("1"), answering("1"), ASKED, SAID), "wrong_role_order", "messages[3].content"),
    ],
)
def test_faults_are_located(fields: dict[str, Any], code: str, path: str | None) -> None:
    (problem,) = read(fields).problems
    assert (problem.code, problem.severity, problem.place) == (code, "error", PLACE)
    assert path is None or problem.json_path == path
    assert problem.column and problem.message and problem.hint


def test_one_answer_may_serve_parallel_calls_without_ids() -> None:
    calls = json.dumps([CALL, CALL])
    turns = [("human", "Q"), ("function_call", calls), ("observation", "[1, 2]"), ("gpt", "A")]
    assert read(sharegpt(*turns)).problems == ()


def test_a_call_written_as_text_is_kept_with_a_warning() -> None:
    turns = [("human", "Q"), ("gpt", "calls f"), ("observation", "1"), ("observation", "2"), ("gpt", "A")]
    reading = read(sharegpt(*turns))
    assert [(p.code, p.severity) for p in reading.problems] == [("call_in_text", "warning")]
    assert roles(reading) == ["user", "assistant", "tool", "tool", "assistant"]
    assert reading.kind == "tool_calls"


def test_weights_of_calls() -> None:
    reading = read(openai({**calling("1"), "weight": 0}, answering("1"), SAID))
    assert [m.weight for m in reading.messages] == [1, 0, 1, 1]


def test_arguments_are_plain_json() -> None:
    value = {"name": "f", "arguments": {"x": Decimal("3.10"), "y": [Decimal("1e2")], "n": 2}}
    (call,), _ = read_calls(value)
    assert call.arguments == {"x": 3.1, "y": [100.0], "n": 2} and type(call.arguments["x"]) is float
    conversation = Conversation(read(openai(calling("1"))).messages, PLACE, read_tools(TOOL))
    assert len(content_hash([conversation])) == 64


def test_what_is_no_json_is_told_with_its_path() -> None:
    with pytest.raises(ToolFault) as caught:
        read_calls([CALL, {"function": {"name": "f", "arguments": "{"}}])
    assert (caught.value.path, caught.value.found) == ("[1].function.arguments", "{")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (json.dumps([CALL]), True),
        ([CALL], True),
        ("[]", False),
        ('[{"a": 1}]', False),
        ("[{", False),
        (CALL, False),
        (None, False),
        ("weather", False),
    ],
)
def test_lists_of_calls(value: Any, expected: bool) -> None:
    assert looks_like_calls(value) is expected
