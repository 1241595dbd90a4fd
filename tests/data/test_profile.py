"""What is counted, in which language it is, and what it is taken to be for."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from postil.data.conversations import Conversation, Message
from postil.data.languages import language_of
from postil.data.profile import Lengths, profile_conversations
from postil.data.purposes import DATA_PURPOSES, DataPurpose, find_purpose
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.language import has_sentence, use_language
from postil.problems import Place


def talk(*texts: str, system: str = "") -> Conversation:
    """A conversation of question, answer, question, answer ..."""
    messages = [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    return Conversation((*([Message("system", system)] if system else []), *messages), Place("f", 1))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("几点开门？", "zh"),
        ("營業時間到晚上九點", "zh"),
        ("営業時間は九時までです", "ja"),
        ("영업 시간은 몇 시까지인가요?", "ko"),
        ("When do you open?", "en"),
        ("Où êtes-vous situés, à côté de la gare ?", "other"),
        ("Когда вы открываетесь?", "other"),
        ("怎么用 PowerPoint 和 Excel", "zh"),
        ("12345 !?", "other"),
        ("", "other"),
    ],
)
def test_the_language_is_told_by_the_script(text: str, language: str) -> None:
    assert language_of(text) == language


def test_lengths_are_counted_in_bins_of_powers_of_two() -> None:
    lengths = Lengths.of([*range(1, 101)], "characters")
    assert lengths is not None
    assert (lengths.shortest, lengths.median, lengths.p90, lengths.p99, lengths.longest) == (1, 50, 90, 99, 100)
    assert lengths.bins == ((1, 1, 1), (2, 3, 2), (4, 7, 4), (8, 15, 8), (16, 31, 16), (32, 63, 32), (64, 127, 37))
    assert sum(count for _, _, count in lengths.bins) == 100
    assert Lengths.of([], "tokens") is None
    empty = Lengths.of([0, 0, 5], "characters")
    assert empty is not None and empty.bins == ((0, 0, 2), (1, 1, 0), (2, 3, 0), (4, 7, 1))


def test_what_a_file_shares_and_repeats_is_counted() -> None:
    rows = [talk("How?", "So.", system="Be kind."), talk("how ?", "Thus.", system="Be kind."), talk("How?", "So.")]
    rows.append(talk("How?", "So.", "Why?", "Because.", system="Be kind."))
    found = profile_conversations([*rows, rows[0]])
    assert (found.conversations, found.turns, found.multi_turn) == (5, 6, 1)
    assert (found.system_prompts, found.shared_system, found.system_share) == (1, "Be kind.", 0.8)
    assert found.duplicates == 1
    assert found.repeated_questions == 3
    assert found.distinct_answers == 3
    assert found.shared_prefix_chars == 0
    with_prefix = profile_conversations([r for r in rows if r.messages[0].role == "system"])
    assert with_prefix.shared_prefix_chars == len("Be kind.\n")
    assert profile_conversations(rows[:1]).shared_prefix_chars == 0


def test_tokens_suggest_a_length_that_nearly_all_fit_into() -> None:
    rows = [talk("q" * n, "a") for n in range(1, 201)]
    lengths = {c.question: 300 if i == 199 else 90 for i, c in enumerate(rows)}
    found = profile_conversations(rows, count_tokens=lambda c: None if c.question == "q" else lengths[c.question])
    assert found.suggested_max_tokens == 128
    assert found.longer_than_suggested == 1
    assert found.untokenized == 1
    assert found.conversation_tokens is not None and found.conversation_tokens.longest == 300
    assert profile_conversations(rows).suggested_max_tokens is None


def test_labels_have_an_entropy() -> None:
    rows = [talk(f"a text of some length, number {n}", "abcd"[n % 4]) for n in range(80)]
    found = profile_conversations(rows)
    assert found.purpose == "classification"
    assert found.label_entropy_bits == pytest.approx(2.0)
    assert dict(found.labels) == dict.fromkeys("abcd", 20)
    one_sided = profile_conversations([talk(f"text {n}", "a") for n in range(8)], "classification")
    assert one_sided.label_entropy_bits == 0.0
    skewed = profile_conversations([talk(f"text {n}", "a" if n else "b") for n in range(8)], "classification")
    assert skewed.label_entropy_bits == pytest.approx(-(1 / 8) * math.log2(1 / 8) - (7 / 8) * math.log2(7 / 8))
    assert profile_conversations([talk("q", "a")]).label_entropy_bits is None


SERVICE = [talk(f"我的订单 {n} 到哪了", f"您好，快递 {n} 已发货，请您留意物流。") for n in range(10)]
ROLE = [talk(q, "我是小狐，一只住在山里的狐狸。") for q in ("你是谁", "你叫什么名字", "今天好吗", "吃了吗")]
WRITING = [talk(f"写一篇关于第 {n} 座城市的游记", "清晨的雾。" * 60) for n in range(10)]
FACTS = [talk(f"第 {n} 层有什么？", f"第 {n} 层是会议室，共 {n} 间。") for n in range(10)]
SHOP_FACTS = [talk(f"第 {n} 种订单几天发货？", f"第 {n} 种订单 {n} 天内发货，退款三天到账。") for n in range(10)]
CHATS = [talk("在吗", "在", "几点", "九点") for _ in range(5)]
PIRATE = [talk(f"What is {n}?", f"Arr, I tell ye 'tis {n}!", system="You are a pirate.") for n in range(10)]
ENGLISH_SERVICE = [
    talk(f"How do I return item {n}?", "We are happy to help; you get a refund.", system="You are a support agent.")
    for n in range(10)
]
AUTHOR = [talk(f"Write a short poem about number {n}.", "O number of wonder, " * 20) for n in range(10)]


@pytest.mark.parametrize(
    ("rows", "purpose"),
    [
        (SERVICE, "customer_service"),
        (ENGLISH_SERVICE, "customer_service"),
        (ROLE, "role"),
        (PIRATE, "role"),
        (WRITING, "copywriting"),
        (AUTHOR, "copywriting"),
        (FACTS, "fact_qa"),
        (SHOP_FACTS, "fact_qa"),
        (CHATS, "multi_turn"),
        ([], "fact_qa"),
    ],
)
def test_the_purpose_comes_with_its_evidence_in_both_languages(
    rows: Sequence[Conversation], purpose: DataPurpose
) -> None:
    found, evidence = find_purpose(rows)
    assert found == purpose
    assert evidence
    english = [str(e) for e in evidence]
    use_language("zh")
    assert all(str(e) and str(e) != other for e, other in zip(evidence, english, strict=True))


def test_the_order_of_rows_changes_nothing_and_the_user_decides() -> None:
    rows = [*SERVICE, *FACTS]
    assert profile_conversations(rows).as_dict() == profile_conversations(rows[::-1]).as_dict()
    chosen = profile_conversations(rows, purpose="copywriting")
    assert (chosen.purpose, chosen.found_purpose) == ("copywriting", "customer_service")


def test_every_purpose_has_a_name() -> None:
    assert all(has_sentence(f"cli.profile.purpose.{p}", lang) for p in DATA_PURPOSES for lang in ("en", "zh"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("o03_", "role"),
        ("o07_", "multi_turn"),
        ("o10_", "customer_service"),
        ("o12_", "customer_service"),
        ("o14_", "fact_qa"),
        ("o16_", "role"),
        ("o17_", "fact_qa"),
        ("o19_", "fact_qa"),
        ("o21_", "fact_qa"),
        ("o24_", "classification"),
        ("o26_", "fact_qa"),
        ("o34_", "role"),
    ],
)
def test_real_files_are_taken_for_what_they_are(shared: Path, name: str, purpose: str) -> None:
    (path,) = (shared / "data").glob(f"{name}*")
    report = validate_dataset(read_records(path))
    assert profile_conversations(report.conversations, report.kind).purpose == purpose
