"""Too long: whole turns go, answers and their end marks stay whole, and every row is counted."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, Message, ToolCall
from postil.data.examples import Tokenized, tokenize_conversations
from postil.data.row_encoding import IGNORED
from postil.data.truncation import TooLong, round_up, split_turns, suggest_length
from postil.errors import DataError
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from postil.problems import Place

STARTER = Path(__file__).parents[2] / "postil" / "models" / "starter"


@pytest.fixture(scope="module")
def chat_format() -> ChatFormat:
    return ChatFormat.from_tokenizer(load_tokenizer(STARTER))


def chat(
    *answers: str, number: int = 1, system: str | None = "Be kind.", weights: tuple[int, ...] = ()
) -> Conversation:
    messages = [Message("system", system)] if system else []
    for i, answer in enumerate(answers):
        messages += [Message("user", f"question {i}"), Message("assistant", answer, weights[i] if weights else 1)]
    return Conversation(tuple(messages), Place("t.jsonl", number))


def said(made: Tokenized) -> list[list[str]]:
    return [[m.content for m in c.messages] for c in made.conversations]


def run(chat_format: ChatFormat, policy: TooLong, *rows: Conversation, limit: int, train_on: str = "all") -> Tokenized:
    return tokenize_conversations(
        rows,
        chat_format,
        max_length_tokens=limit,
        too_long=policy,
        train_on=train_on,  # type: ignore[arg-type]
    )


def length(chat_format: ChatFormat, conversation: Conversation) -> int:
    return len(chat_format.encode_conversation(conversation).input_ids)


def test_a_chat_is_split_between_turns_and_the_system_message_repeated(chat_format: ChatFormat) -> None:
    long, short = chat("zero", "one", "two", number=1), chat("a", number=2)
    limit = length(chat_format, chat("zero", "one"))
    made = run(chat_format, "split", long, short, limit=limit)
    assert said(made) == [
        ["Be kind.", "question 0", "zero", "question 1", "one"],
        ["Be kind.", "question 2", "two"],
        ["Be kind.", "question 0", "a"],
    ]
    assert made.split == (long.place,) and made.shortened == made.too_long == ()
    assert [e.place.row for e in made.examples] == [1, 1, 2]
    assert all(len(e.input_ids) <= limit for e in made.examples)


def test_a_turn_that_alone_is_too_long_is_left_out_and_counted(chat_format: ChatFormat) -> None:
    row = chat("zero", "word " * 200, "two")
    made = run(chat_format, "split", row, limit=64)
    assert said(made) == [["Be kind.", "question 0", "zero"], ["Be kind.", "question 2", "two"]]
    assert made.split == made.shortened == (row.place,)
    nothing = chat("word " * 200, "word " * 200, number=2)
    made = run(chat_format, "split", chat("a"), nothing, limit=64)
    assert made.too_long == (nothing.place,) and made.split == made.shortened == ()


def test_keep_last_keeps_system_last_question_and_answer(chat_format: ChatFormat) -> None:
    row = chat("word " * 100, "one", "two")
    made = run(chat_format, "keep_last", row, limit=64)
    assert said(made) == [["Be kind.", "question 2", "two"]]
    assert made.shortened == (row.place,) and made.split == ()
    hopeless = chat("one", "word " * 200, number=2)
    made = run(chat_format, "keep_last", chat("a"), hopeless, limit=64)
    assert made.too_long == (hopeless.place,)


def test_drop_is_the_default_and_leaves_out_whole_rows(chat_format: ChatFormat) -> None:
    row, short = chat("word " * 100, "one"), chat("a", number=2)
    made = tokenize_conversations([row, short], chat_format, max_length_tokens=64)
    assert made.too_long == (row.place,) and made.split == made.shortened == ()
    assert made.conversations == (short,)


def test_where_only_last_answers_are_learned_no_other_becomes_a_last_one(chat_format: ChatFormat) -> None:
    made = run(chat_format, "split", chat("zero", "word " * 20, "two"), limit=50, train_on="last")
    assert said(made) == [["Be kind.", "question 2", "two"]]


def test_a_part_that_nobody_should_learn_trains_nothing(chat_format: ChatFormat) -> None:
    row = chat("zero", "one", weights=(0, 1))
    made = run(chat_format, "split", row, limit=length(chat_format, chat("zero")) + 2)
    assert said(made) == [["Be kind.", "question 1", "one"]]
    assert made.shortened == (row.place,) and made.split == ()


def test_a_single_turn_is_never_cut(chat_format: ChatFormat) -> None:
    for policy in ("drop", "split", "keep_last"):
        with pytest.raises(DataError) as caught:
            run(chat_format, policy, chat("word " * 100), limit=32)  # type: ignore[arg-type]
        assert caught.value.key == "tokens.all_too_long"


@given(
    answers=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    limit=st.integers(40, 160),
    policy=st.sampled_from(["drop", "split", "keep_last"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_is_cut_and_every_row_is_counted(
    chat_format: ChatFormat, answers: list[int], limit: int, policy: TooLong
) -> None:
    row, short = chat(*("word " * n for n in answers), number=1), chat("a", number=2)
    made = run(chat_format, policy, row, short, limit=limit)
    assert {e.place for e in made.examples} | set(made.too_long) == {row.place, short.place}
    assert {e.place for e in made.examples}.isdisjoint(made.too_long)
    whole = {"word " * n for n in answers} | {"a"}
    for conversation, example in zip(made.conversations, made.examples, strict=True):
        assert len(example.input_ids) <= limit
        assert conversation.messages[0].content == "Be kind."
        assert {m.content for m in conversation.messages if m.role == "assistant"} <= whole
        encoded = chat_format.encode_conversation(conversation)
        assert (encoded.input_ids, encoded.labels) == (example.input_ids, example.labels)
        ends = [i for i in example.labels if i in chat_format.stop_ids]
        assert len(ends) == sum(m.role == "assistant" for m in conversation.messages)
        assert example.labels[-1] != IGNORED or example.input_ids[-1] not in chat_format.stop_ids


def test_turns_hold_what_tools_answered() -> None:
    call = Message("assistant", "", tool_calls=(ToolCall("f", {}),))
    messages = (
        Message("system", "s"),
        *(Message("user", "a"), call, Message("tool", "1"), Message("assistant", "b")),
        *(Message("user", "c"), Message("user", "c2"), Message("assistant", "d")),
    )
    head, turns = split_turns(messages)
    assert [m.content for m in head] == ["s"]
    assert [[m.content for m in turn] for turn in turns] == [["a", "", "1", "b"], ["c", "c2", "d"]]


def test_a_length_is_suggested_from_the_histogram() -> None:
    assert suggest_length([]) == 64 and round_up(65) == 128
    assert suggest_length([10] * 995 + [5000] * 5) == 64
    assert suggest_length([10] * 994 + [5000] * 6) == 5056
    assert suggest_length([100, 130]) == 192


def test_what_was_asked_reaches_the_tokens_of_a_split(chat_format: ChatFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe: training splits, measuring keeps the last turn; problems of both parts come at once."""
    from postil.config import DataConfig
    from postil.data.splits import Split
    from postil.events import AnyEvent
    from postil.recipes.prepare import tokenize_split
    from postil.recipes.reporting import report_tokens

    row, held = chat("zero", "one", "two", number=1), chat("zero", "one", "two", number=2)
    config = DataConfig(max_length_tokens=48, too_long="split")
    events: list[AnyEvent] = []
    train, heldout = tokenize_split(Split.of([row], [held]), chat_format, config, events.append)
    assert len(train.examples) > 1 and len(heldout.examples) == 1
    report_tokens(train, heldout, events.append)
    told = next(e for e in events if type(e).__name__ == "Tokenized")
    assert (told.split, told.shortened, told.dropped) == (1, 1, 0)  # type: ignore[union-attr]
    assert {"recipes.split_rows", "recipes.shortened_rows"} <= {getattr(e, "key", "") for e in events}
    bad = [chat("<|im_end|>", number=n) for n in (1, 2)]
    with pytest.raises(DataError) as caught:
        tokenize_split(Split.of(bad[:1], bad[1:]), chat_format, config, events.append)
    assert [p.place.row for p in caught.value.problems] == [1, 2]
    good = [chat("a", number=n) for n in (3, 4)]
    config = DataConfig(drop_bad=True)
    train, heldout = tokenize_split(Split.of([bad[0], good[0]], [bad[1], good[1]]), chat_format, config, events.append)
    assert [p.place.row for p in (*train.refused, *heldout.refused)] == [1, 2]


def test_prepared_folders_keep_tools_and_parts(chat_format: ChatFormat, tmp_path: Path, shared: Path) -> None:
    from postil.data.conversations import content_hash
    from postil.data.prepared import Prepared, PreparedPart, read_prepared, write_prepared

    inner = load_tokenizer(shared / "tokenizers" / "minimind-6400").inner
    knowing = ChatFormat.from_tokenizer(HFTokenizer(inner))
    call = Message("assistant", "", tool_calls=(ToolCall("f", {"city": "罗马", "n": [1, None]}),))
    messages = (Message("user", "a"), call, Message("tool", "1"), Message("assistant", "b", 0))
    rows = [Conversation(messages, Place("t.jsonl", 1), ({"type": "function", "function": {"name": "f"}},)), chat("a")]
    made = tokenize_conversations(rows, knowing)
    part = PreparedPart(made.conversations, made.examples)
    write_prepared(tmp_path, Prepared(part, PreparedPart((), ()), {"base": "x"}))
    again = read_prepared(tmp_path)
    assert again.train == part
    assert content_hash(again.train.conversations) == content_hash(rows)
