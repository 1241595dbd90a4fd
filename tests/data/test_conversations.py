import pytest

from postil.data.conversations import Conversation, Message, ToolCall, content_hash, normalize_question
from postil.problems import Place

PLACE = Place("a.jsonl", 1)
PLAIN = (Message("user", "Q"), Message("assistant", "A"))
CALLING = (
    Message("user", "Q"),
    Message("assistant", "", tool_calls=(ToolCall("f", {"x": 1}),)),
    Message("tool", "R"),
    Message("assistant", "A"),
)
TOOLS = ({"type": "function", "function": {"name": "f"}},)


def test_parts_of_a_chat() -> None:
    chat = Conversation((Message("system", "S"), *PLAIN, Message("user", "Q2"), Message("assistant", "A2")), PLACE)
    assert (chat.question, chat.answer, chat.num_turns) == ("Q\nQ2", "A2", 2)
    assert [m.content for m in chat.prompt] == ["S", "Q", "A", "Q2"]


def test_parts_of_a_conversation_with_tools() -> None:
    conversation = Conversation(CALLING, PLACE, TOOLS)
    assert (conversation.question, conversation.answer, conversation.num_turns) == ("Q", "A", 1)
    assert conversation.prompt == CALLING[:3]
    assert Conversation(CALLING[:2], PLACE).answer == ""


def test_the_hash_covers_what_is_trained() -> None:
    variants = [
        Conversation(PLAIN, PLACE),
        Conversation((PLAIN[0], Message("assistant", "A", 0)), PLACE),
        Conversation(PLAIN, PLACE, TOOLS),
        Conversation(CALLING, PLACE),
        Conversation(CALLING, PLACE, TOOLS),
        Conversation(
            (*CALLING[:1], Message("assistant", "", tool_calls=(ToolCall("f", {"x": 2}),)), *CALLING[2:]), PLACE
        ),
    ]
    assert len({content_hash([v]) for v in variants}) == len(variants)
    assert content_hash([Conversation(PLAIN, Place("b", 9))]) == content_hash(variants[:1])


@pytest.mark.parametrize(
    ("first", "second"),
    [("How ?", " how"), ("ＡＢＣ１", "abc1"), ("怎么退货？", "怎么退货"), ("a\n b", "A b…"), ("？", "?")],
)
def test_questions_that_are_one(first: str, second: str) -> None:
    assert normalize_question(first) == normalize_question(second)
