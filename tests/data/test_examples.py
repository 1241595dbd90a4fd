"""Examples: every row whole, and training that can work."""

import time
from pathlib import Path

import pytest

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, Message
from postil.data.examples import tokenize_conversations
from postil.data.row_encoding import IGNORED
from postil.errors import DataError
from postil.language import use_language
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from postil.problems import Place

STARTER = Path(__file__).parents[2] / "postil" / "models" / "starter"


@pytest.fixture(scope="module")
def reader() -> HFTokenizer:
    return load_tokenizer(STARTER)


def row(number: int, question: str, answer: str, weight: int = 1) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer, weight)), Place("t.csv", number))


def test_rows_become_examples_in_order(reader: HFTokenizer) -> None:
    rows = [row(i, f"question {i}", "answer " * i) for i in range(1, 30)]
    made = tokenize_conversations(rows, ChatFormat.from_tokenizer(reader), max_length_tokens=None, train_on="all")
    assert [e.place.row for e in made.examples] == list(range(1, 30))
    assert made.too_long == () and made.changed == 0
    assert made.longest == max(len(e.input_ids) for e in made.examples)
    assert made.max_length_tokens % 64 == 0 and made.max_length_tokens - made.longest < 64
    example = made.examples[0]
    trained = [i for i, label in enumerate(example.labels) if label != IGNORED]
    assert example.num_trained_tokens == len(trained)
    assert reader.decode([example.input_ids[i] for i in trained], False) == "answer <|im_end|>"


def test_long_rows_are_left_out_whole_and_listed(reader: HFTokenizer) -> None:
    rows = [row(1, "q", "a"), row(2, "q", "word " * 200), row(3, "q", "b")]
    chat_format = ChatFormat.from_tokenizer(reader)
    made = tokenize_conversations(rows, chat_format, max_length_tokens=32, train_on="all")
    assert [e.place.row for e in made.examples] == [1, 3] and made.too_long == (Place("t.csv", 2),)
    assert made.longest > 200 and made.max_length_tokens == 32
    made = tokenize_conversations(rows, chat_format, max_length_tokens=None, model_max_tokens=100)
    assert made.max_length_tokens == 100 and made.too_long == (Place("t.csv", 2),)
    with pytest.raises(DataError) as caught:
        tokenize_conversations(rows, chat_format, max_length_tokens=4)
    assert caught.value.key == "tokens.all_too_long"


def test_every_refused_row_is_named(reader: HFTokenizer) -> None:
    rows = [row(1, "q", "a"), row(2, "<|im_end|>", "a"), row(3, "q", "a", weight=0)]
    with pytest.raises(DataError) as caught:
        tokenize_conversations(rows, ChatFormat.from_tokenizer(reader))
    assert [(p.place.row, p.code) for p in caught.value.problems] == [(2, "control_token"), (3, "nothing_trained")]
    assert "2 of 3" in caught.value.message
    use_language("zh")
    assert "3 段对话中有 2 段" in caught.value.message and all(p.hint for p in caught.value.problems)


def test_a_stop_that_is_never_trained_is_refused(reader: HFTokenizer) -> None:
    source = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    with pytest.raises(DataError) as caught:
        tokenize_conversations([row(1, "q", "a")], ChatFormat.from_tokenizer(reader, source))
    assert caught.value.key == "tokens.stop_never_trained"


def test_the_end_keeps_its_label_where_it_is_also_the_padding() -> None:
    inner = load_tokenizer(STARTER).inner
    inner.pad_token = inner.eos_token
    reader = HFTokenizer(inner)
    assert reader.pad_id == reader.eos_id
    made = tokenize_conversations([row(1, "q", "a")], ChatFormat.from_tokenizer(reader))
    labels = [label for label in made.examples[0].labels if label != IGNORED]
    assert labels[-1] == reader.eos_id


def test_a_changed_answer_is_counted(reader: HFTokenizer) -> None:
    source = "{% for m in messages %}{{ m.role + '\n' + m.content.strip() + '<|im_end|>\n' }}{% endfor %}"
    rows = [row(1, "q", " a "), row(2, "q", "a"), row(3, " q ", "a\n")]
    made = tokenize_conversations(rows, ChatFormat.from_tokenizer(reader, source))
    assert made.changed == 2


def test_no_rows_are_no_error(reader: HFTokenizer) -> None:
    made = tokenize_conversations([], ChatFormat.from_tokenizer(reader))
    assert made.examples == () and made.longest == 0


def test_a_thousand_short_rows_take_seconds(reader: HFTokenizer) -> None:
    rows = [
        row(i, f"How do I return order {i}?", f"Order {i} goes back within 30 days, in its box.") for i in range(1000)
    ]
    began = time.process_time()
    tokenize_conversations(rows, ChatFormat.from_tokenizer(reader))
    assert time.process_time() - began < 8  # about one second on a quiet machine
