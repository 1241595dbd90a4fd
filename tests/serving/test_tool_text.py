"""Calls of tools are told from speech, in whatever pieces the text comes."""

import json

import pytest

from postil.serving.tool_text import ToolText

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "罗马"}}\n</tool_call>'


def read(text: str, size: int) -> tuple[str, list[tuple[str, object]]]:
    """What is spoken and called, when the text comes in pieces of `size`."""
    tools = ToolText()
    spoken = "".join(tools.feed(text[at : at + size]) for at in range(0, len(text), size)) + tools.finish()
    calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in tools.calls]
    return spoken, calls


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_calls_and_speech(size: int) -> None:
    rome = ("weather", {"city": "罗马"})
    assert read(f"Let me see. {CALL}", size) == ("Let me see. ", [rome])
    assert read(f"{CALL}\n{CALL} done", size) == ("\n done", [rome, rome])
    assert read("a < b <tool and <tool_cal", size) == ("a < b <tool and <tool_cal", [])


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_only_looks_like_a_call_stays_text(size: int) -> None:
    for text in (
        "<tool_call>{broken</tool_call>",
        "<tool_call>[1]</tool_call>!",
        '<tool_call>{"arguments": 1}</tool_call>',
    ):
        assert read(text, size) == (text, [])


def test_a_call_that_lacks_its_end_mark_is_one_where_it_is_whole() -> None:
    assert read(CALL.removesuffix("</tool_call>"), 4) == ("", [("weather", {"city": "罗马"})])
    assert read(CALL[:30], 4) == (CALL[:30], [])


def test_a_stream_is_held_back_no_longer_than_needed() -> None:
    tools = ToolText()
    assert tools.feed("Hello <") == "Hello "
    assert tools.feed("b> you") == "<b> you"
    assert tools.feed("<tool_call>") == "" and tools.feed("{") == ""
