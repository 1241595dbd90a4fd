"""What a service keeps of a file, asked without the child: report, edits, tokens, summary; and rows as a page shows."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from postil.data.chat_template import ChatFormat
from postil.data.checks.overlay import BY_HAND, Edit, Overlay, fingerprint
from postil.data.checks.plain_problems import plain_problem, read_problem
from postil.data.conversations import Conversation, Message
from postil.data.corrected.single_file import write_single_file
from postil.data.examination import Wanted, examine
from postil.data.files.sandbox import Limits, run_in_child
from postil.data.options import ReadOptions
from postil.data.records import read_records
from postil.data.token_counts import TokenCounter
from postil.data.validation import validate_dataset
from postil.data.viewing import view_rows
from postil.errors import DataError
from postil.models.base_folder import STARTER
from postil.models.tokenizer import load_tokenizer
from postil.problems import ADDED, Place

ROWS = "question,answer\nOne?,1\nOne?,1\nTwo?,\nThree?, 3 \n"
ADDITION = Edit(
    Place(ADDED, 2),
    "add_conversation",
    BY_HAND,
    {"messages": [{"role": "user", "content": "Four?"}, {"role": "assistant", "content": "4"}]},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "original"
    path.write_text(ROWS, "utf-8")
    return path


def found(file: Path, *edits: Edit, fixes: tuple[str, ...] = (), seconds: float = 60.0) -> dict[str, list[Any]]:
    wanted = Wanted(Overlay(fingerprint(file), edits), fixes, None, STARTER, seconds)
    return joined(examine(file, ReadOptions(), "faq.csv", wanted))


def joined(sent: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """The pieces of each part put together."""
    names = ("edits", "problems", "rows", "tokens", "summary", "has_all_rows")
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for part in sent:
        for name, value in part.items():
            parts[name] += value if isinstance(value, list) else [value]
    return parts


def test_everything_at_once(file: Path) -> None:
    parts = found(file)
    summary = parts["summary"][0]
    assert (summary["file"], summary["trainable"], summary["records_in"]) == ("faq.csv", 3, 4)
    counts = {c["code"]: (c["severity"], c["count"]) for c in summary["codes"]}
    assert counts["missing_answer"] == ("error", 1) and summary["codes"][0]["code"] == "missing_answer"
    assert sum(c["count"] for c in summary["codes"]) == len(parts["problems"])
    assert len(parts["tokens"]) == 3 and summary["tokens"]["total"] == sum(parts["tokens"])
    assert parts["edits"] == [] and json.dumps(summary)
    assert summary["rows_to_drop"] == {"missing_answer": 1, "duplicate": 1}
    assert summary["profile"]["evidence"][0]["key"].startswith("data.profile.")
    assert [row["place"] for row in parts["rows"]] == [["faq.csv", row, None] for row in (2, 3, 4, 5)]
    assert parts["has_all_rows"] == [True]


def test_rows_are_kept_up_to_a_number_and_a_length(tmp_path: Path) -> None:
    path = tmp_path / "many"
    path.write_text("question,answer\n" + "".join(f"What is {n}?,It is {n}\n" for n in range(1001)), "utf-8")
    many = found(path)
    assert (len(many["rows"]), many["has_all_rows"]) == (1000, [False])
    path.write_text("question,answer\n" + "".join(f"What is {n}?,{n}{'x' * 9000}\n" for n in range(300)), "utf-8")
    long = found(path)
    assert 200 < len(long["rows"]) < 300 and long["has_all_rows"] == [False]


def test_fixes_are_added_until_nothing_is_left(file: Path) -> None:
    parts = found(file, fixes=("*",))
    assert not any(c["automatic"] for c in parts["summary"][0]["codes"])
    assert {edit["action"] for edit in parts["edits"]} == {"drop_row", "trim"}
    only = found(file, fixes=("duplicate",))
    assert [edit["code"] for edit in only["edits"]] == ["duplicate"]


@pytest.mark.parametrize(
    "edit",
    [
        Edit(Place("faq.csv", 2), "set_text", BY_HAND, {"path": "colour", "value": "x"}),
        Edit(Place("faq.csv", 99), "set_text", BY_HAND, {"path": "answer", "value": "x"}),
        Edit(Place("faq.csv", 99), "drop_row", BY_HAND),
        Edit(Place("other.csv", 2), "drop_row", BY_HAND),
    ],
)
def test_edits_by_hand_that_meet_nothing(file: Path, edit: Edit) -> None:
    with pytest.raises(DataError) as caught:
        found(file, edit)
    assert caught.value.key == "data.edit_without_place"


def test_the_child_sends_the_same(file: Path) -> None:
    arguments = {
        "path": str(file),
        "options": {"encoding": None, "columns": {}, "single_turn": False},
        "name": "faq.csv",
        "overlay": Overlay(fingerprint(file)).as_dict(),
        "fixes": ["*"],
        "purpose": None,
        "tokenizer": str(STARTER),
        "token_seconds": 60.0,
        "language": "en",
        "scratch": str(file.parent),
    }
    parts = joined(run_in_child("examine", arguments, Limits(file_bytes=1 << 20)))
    assert json.loads(json.dumps(parts)) == json.loads(json.dumps(found(file, fixes=("*",))))


def test_problems_come_back_as_they_were(file: Path) -> None:
    problems = validate_dataset(read_records(file, name="faq.csv"), near=True).problems
    assert problems
    for problem in problems:
        assert read_problem(json.loads(json.dumps(plain_problem(problem)))) == problem


def test_tokens_are_counted_and_guessed() -> None:
    texts = ["你好，请问几点发货？", "Where is my order?", "a" * 300, "{}<b>\n"]
    rows = [
        Conversation((Message("user", text), Message("assistant", text * 2)), Place("x", i))
        for i, text in enumerate(texts * 100)
    ]
    chat_format = ChatFormat.from_tokenizer(load_tokenizer(STARTER))
    exact = [len(chat_format.encode_conversation(row).input_ids) for row in rows]
    counted = TokenCounter(STARTER).count(rows, seconds=60)
    assert counted.rows.tolist() == exact and counted.num_exact == 400
    guessed = TokenCounter(STARTER).count(rows, seconds=0)
    assert guessed.rows.tolist()[:200] == exact[:200] and guessed.num_exact == 200 and len(guessed.rows) == 400
    assert sum(guessed.rows) == pytest.approx(sum(exact), rel=0.15)


def test_what_is_added_is_read_after_the_rest(file: Path) -> None:
    parts = found(file, ADDITION)
    assert parts["summary"][0]["trainable"] == 4 and len(parts["tokens"]) == 4
    overlay = Overlay(fingerprint(file), (ADDITION,))
    rows = list(view_rows(file, ReadOptions(), "faq.csv", overlay))
    assert [row["place"] for row in rows] == [["faq.csv", n, None] for n in range(2, 6)] + [[ADDED, 2, None]]
    assert rows[-1]["messages"][1]["content"] == "4" and rows[-1]["is_edited"]
    assert overlay.for_file("other.csv").added == overlay.added
    assert Place(ADDED, 2).in_words(known_file="faq.csv") == "added by hand, no. 2"


def test_rows_that_are_left_out_are_shown_as_such(file: Path) -> None:
    overlay = Overlay(edits=(Edit(Place("faq.csv", 3), "drop_row", BY_HAND),))
    rows = list(view_rows(file, ReadOptions(), "faq.csv", overlay, offset=1, limit=2))
    assert [(row["place"][1], row["is_left_out"]) for row in rows] == [(3, True), (4, False)]
    assert rows[1]["messages"] == [] and [c["column"] for c in rows[1]["cells"]] == ["question", "answer"]
    named = list(view_rows(file, ReadOptions(), "faq.csv", overlay, places={Place("faq.csv", 5)}))
    assert [row["place"][1] for row in named] == [5]


def test_short_rows_take_a_text_in_their_last_cell(tmp_path: Path) -> None:
    file = tmp_path / "original"
    file.write_text("question,answer\nOne?,1\nTwo?\nThree?,3\n", "utf-8")
    edit = Edit(Place("faq.csv", 3), "set_text", BY_HAND, {"path": "answer", "value": "2"})
    out = tmp_path / "out"
    about = write_single_file(file, ReadOptions(), "faq.csv", Overlay(fingerprint(file), (edit,)), out)
    assert (about["path"], about["num_changes"]) == ("corrected.csv", 1)
    assert (out / "corrected.csv").read_text("utf-8") == "question,answer\nOne?,1\nTwo?,2\nThree?,3\n"
