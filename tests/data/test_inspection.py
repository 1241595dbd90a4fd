"""What is shown is what trains: the ids and labels of the examples, no character lost."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, Message
from postil.data.examples import tokenize_conversations
from postil.data.inspection import TokenReader, count_rows, show_row
from postil.data.row_encoding import IGNORED
from postil.models.tokenizer import load_tokenizer
from postil.problems import Place

STARTER = Path(__file__).parents[2] / "postil" / "models" / "starter"


@pytest.fixture(scope="module")
def chat_format() -> ChatFormat:
    return ChatFormat.from_tokenizer(load_tokenizer(STARTER))


def chat(*contents: str, number: int = 1) -> Conversation:
    roles = ("user", "assistant")
    messages = (Message(roles[i % 2], text) for i, text in enumerate(contents))  # type: ignore[arg-type]
    return Conversation(tuple(messages), Place("t.csv", number))


def test_shown_tokens_are_the_examples(chat_format: ChatFormat) -> None:
    row = chat("你好 <b>", "龘🙂  ok\n", "q", "a")
    made = tokenize_conversations([row], chat_format)
    shown = show_row(row, made, "train", chat_format, "all")
    example = made.examples[0]
    assert tuple(i for t in shown.examples[0] for i in t.ids) == example.input_ids
    states = [t.state for t in shown.examples[0] for _ in t.ids]
    assert states == ["ignored" if label == IGNORED else "trained" for label in example.labels]
    text = "".join(t.text for t in shown.examples[0])
    assert text == chat_format.tokenizer.decode(example.input_ids, skip_special_tokens=False)
    assert "龘🙂  ok\n" in text and "\ufffd" not in text
    trained = "".join(t.text for t in shown.examples[0] if t.state == "trained")
    assert trained == "龘🙂  ok\n<|im_end|>a<|im_end|>"
    assert [t.text for t in shown.examples[0] if t.is_control].count("<|im_end|>") == 4
    assert (shown.num_tokens, shown.num_trained) == (len(example.input_ids), example.num_trained_tokens)
    assert shown.stops == 1 and shown.round_trip and shown.left_out == ()


def test_what_is_left_out_is_shown_as_cut(chat_format: ChatFormat) -> None:
    row, short = chat("first", "one " * 30, "second", "two"), chat("x", "y", number=2)
    made = tokenize_conversations([row, short], chat_format, max_length_tokens=40, too_long="keep_last")
    shown = show_row(row, made, "train", chat_format, "all")
    assert "second" in "".join(t.text for t in shown.examples[0])
    cut = "".join(t.text for t in shown.left_out)
    assert cut == "first\n" + "one " * 30 + "\n" and {t.state for t in shown.left_out} == {"cut"}
    made = tokenize_conversations([row, short], chat_format, max_length_tokens=40)
    shown = show_row(row, made, "train", chat_format, "all")
    assert shown.examples == () and "two<|im_end|>" in "".join(t.text for t in shown.left_out)
    counts = count_rows([row, short], chat_format, made, tokenize_conversations([], chat_format))
    assert (counts.conversations, counts.examples, counts.too_long, counts.stops) == (2, 1, 1, 1)


def test_another_template_since_then_is_noticed(chat_format: ChatFormat) -> None:
    row = chat("q", "a")
    made = tokenize_conversations([row], chat_format)
    source = (chat_format.template or "").replace("'\\n'", "' '")
    assert source != chat_format.template
    other = ChatFormat.from_tokenizer(chat_format.tokenizer, source)
    assert not show_row(row, made, "train", other, "all").round_trip


@given(text=st.text(max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_token_is_lost_and_no_text_made_up(chat_format: ChatFormat, text: str) -> None:
    tokenizer = chat_format.tokenizer
    ids = tokenizer.encode(text)[0]
    shown = list(TokenReader(tokenizer).read(ids, ["ignored"] * len(ids)))
    assert [i for t in shown for i in t.ids] == ids
    if "\ufffd" not in "".join(t.text for t in shown):
        assert "".join(t.text for t in shown) == tokenizer.decode(ids, skip_special_tokens=False)
