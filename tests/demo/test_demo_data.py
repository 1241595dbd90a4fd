"""The example of the demo: what it promises about itself."""

import csv
import json
from collections import Counter
from typing import Any

import pytest
from tokenizers import Tokenizer

from postil.config import RunConfig
from postil.data.conversations import normalize_question
from postil.data.records import read_records
from postil.data.splits import split_conversations
from postil.data.validation import validate_dataset
from postil.language import CATALOGS

DEMO = CATALOGS.parent / "demo"
STARTER = CATALOGS.parent / "models" / "starter"
LONGEST_ANSWER_TOKENS = 45


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str]]:
    # utf-8-sig: the mark at the start lets a spreadsheet program open the Chinese as Chinese
    with (DEMO / "shop.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["问题", "答案"]
    return [(question, answer) for question, answer in rows]


@pytest.fixture(scope="module")
def asked() -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = json.loads((DEMO / "ask.json").read_text("utf-8"))
    return asked


def test_half_chinese_half_english(rows: list[tuple[str, str]]) -> None:
    assert len(rows) == 96
    assert sum(is_chinese(question) for question, _ in rows) == 48
    assert all(is_chinese(question) == is_chinese(answer) for question, answer in rows)


def test_no_question_twice_and_every_answer_in_two_wordings(rows: list[tuple[str, str]]) -> None:
    assert len({normalize_question(question) for question, _ in rows}) == len(rows)
    assert set(Counter(answer for _, answer in rows).values()) == {2}


def test_answers_are_short_whole_and_in_one_voice(rows: list[tuple[str, str]]) -> None:
    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    for _, answer in rows:
        assert len(tokenizer.encode(answer, add_special_tokens=False).ids) <= LONGEST_ANSWER_TOKENS, answer
        assert answer == answer.strip()
        if is_chinese(answer):
            assert answer.startswith("您好，"), answer
            assert answer.endswith("。"), answer
            assert 20 <= len(answer) <= 60, answer
        else:
            assert answer.endswith("."), answer
            assert 8 <= len(answer.split()) <= 20, answer


def test_nobody_can_be_reached(rows: list[tuple[str, str]]) -> None:
    text = "\n".join(part for row in rows for part in row)
    assert "@" not in text
    assert "http" not in text
    assert not [word for word in text.split() if sum(character.isdigit() for character in word) > 4]


def test_the_demo_asks_three_trained_and_two_reworded_questions(
    rows: list[tuple[str, str]], asked: list[dict[str, Any]]
) -> None:
    known = {question for question, _ in rows}
    normalized = {normalize_question(question) for question in known}
    assert [item["trained"] for item in asked] == [True, True, True, False, False]
    assert all(item["question"] in known for item in asked if item["trained"])
    assert all(normalize_question(item["question"]) not in normalized for item in asked if not item["trained"])
    assert [is_chinese(item["question"]) for item in asked] == [True, True, False, True, False]


def test_with_the_default_split_the_trained_questions_are_trained(asked: list[dict[str, Any]]) -> None:
    config = RunConfig()
    report = validate_dataset(read_records(DEMO / "shop.csv"))
    assert (report.kept, report.fixed, report.errors) == (96, 0, ())
    split = split_conversations(report.conversations, config.data.heldout_share, config.training.seed)
    trained = {conversation.question for conversation in split.train}
    assert all(item["question"] in trained for item in asked if item["trained"])
    # what is held out are other wordings of facts that were trained, never a fact that the adapter cannot know
    answers = {conversation.answer for conversation in split.train}
    assert all(conversation.answer in answers for conversation in split.heldout)
