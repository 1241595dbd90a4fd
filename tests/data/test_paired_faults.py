"""Two faults in one row are told at once, and nothing new comes up when both are mended."""

import csv
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from postil.data.corrected.settling import settle
from postil.data.corrected.writing import write_corrected
from postil.data.records import read_records
from postil.data.validation import ValidationReport, validate_dataset

Chat = list[dict[str, str]]
GOOD = [("Where is shelf 1?", "In row 1, on the left."), ("Where is shelf 2?", "In row 2, on the right.")]
CHAT = [("user", "What is it?"), ("assistant", "A lamp."), ("user", "What for?"), ("assistant", "To see by it.")]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def appended(index: int, text: str) -> Callable[[Chat], Chat]:
    """The fault of a text: more of it at the end of message `index`, counted in the sound chat."""

    def damage(chat: Chat) -> Chat:
        return [said(m["role"], m["content"] + text) if m["content"].startswith(CHAT[index][1]) else m for m in chat]

    return damage


IN_TEXT = {
    "html": " <b>Old.</b>",
    "control_characters": " O\x08ld.",
    "control_tokens": " Old.<|im_end|>",
    "mojibake": " GrÃ¼n und schÃ¶n.",
    "personal_data": " Ask li.lei@qq.com",
    "refusal": " As an AI language model I cannot help with that.",
    "outer_blanks": " \n",
}
IN_ORDER: dict[str, Callable[[Chat], Chat]] = {
    "answer_equals_question": lambda chat: [said("user", "Why?"), said("assistant", "Why?"), *chat],
    "wrong_role_order": lambda chat: [*chat, said("assistant", "As I said.")],
    "ends_with_user": lambda chat: [*chat, said("user", "And?")],
    "empty_message": lambda chat: [*chat, said("user", " ")],
    "opens_with_assistant": lambda chat: [said("assistant", "Hello!"), *chat],
}
CHAT_FAULTS = IN_ORDER | {code: appended(1, text) for code, text in IN_TEXT.items()}


def codes(report: ValidationReport) -> set[str]:
    return {p.code for p in report.problems} - {"too_few_rows"}


def write_chats(path: Path, damaged: Chat) -> None:
    good = [[said("user", question), said("assistant", answer)] for question, answer in GOOD]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in (*good, damaged)), "utf-8")


def assert_mended_in_one_round(source: Path, target: Path, wanted: tuple[str, ...]) -> None:
    """The first look finds both faults and all that is ever mended; afterwards the corrected file has none."""
    found = validate_dataset(read_records(source))
    assert set(wanted) <= codes(found)
    settled = settle(source, only=sorted(codes(found)))
    assert {edit.code for edit in settled.overlay.edits} <= codes(found)
    assert not codes(settled.after)
    write_corrected(settled.records, settled.overlay, target)
    assert not codes(validate_dataset(read_records(target)))


@pytest.mark.parametrize("pair", list(combinations(CHAT_FAULTS, 2)), ids="+".join)
def test_two_faults_of_a_chat(tmp_path: Path, pair: tuple[str, str]) -> None:
    chat = [said(*message) for message in CHAT]
    for code in pair:
        chat = CHAT_FAULTS[code](chat)
    write_chats(tmp_path / "a.jsonl", chat)
    assert_mended_in_one_round(tmp_path / "a.jsonl", tmp_path / "b.jsonl", pair)


@pytest.mark.parametrize("pair", list(combinations(CHAT_FAULTS, 2)), ids="+".join)
def test_automatic_fixes_leave_none_behind(tmp_path: Path, pair: tuple[str, str]) -> None:
    chat = [said(*message) for message in CHAT]
    for code in reversed(pair):
        chat = CHAT_FAULTS[code](chat)
    write_chats(tmp_path / "a.jsonl", chat)
    settled = settle(tmp_path / "a.jsonl")
    assert {edit.code for edit in settled.overlay.edits} <= codes(settled.before)
    assert codes(settled.after) <= codes(settled.before)
    assert not settled.after.errors
    assert not [p for p in settled.after.problems if p.fix and p.fix.automatic]


def check_table(path: Path, question: str, answer: str) -> ValidationReport:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("question", "answer"), *GOOD, (question, answer)])
    return validate_dataset(read_records(path))


@pytest.mark.parametrize("code", IN_TEXT)
def test_a_row_without_a_question_has_its_answer_looked_at(tmp_path: Path, code: str) -> None:
    report = check_table(tmp_path / "a.csv", "", "A lamp." + IN_TEXT[code])
    assert codes(report) == {"missing_question", code}
    assert all(p.place.row in (0, 4) for p in report.problems)
    assert (report.records_in, report.kept, report.dropped) == (3, 2, 1)
    settled = settle(tmp_path / "a.csv")
    assert not codes(settled.after) and settled.after.dropped == 1


def test_a_row_without_an_answer_has_its_question_looked_at(tmp_path: Path) -> None:
    report = check_table(tmp_path / "a.csv", '=HYPERLINK("x") <b>A\x08B</b> GrÃ¼n', "")
    assert codes(report) == {"missing_answer", "formula_injection", "html", "control_characters", "mojibake"}


def test_a_message_of_unknown_role_has_its_text_looked_at(tmp_path: Path) -> None:
    write_chats(tmp_path / "a.jsonl", [said("user", "Why?"), said("wizard", "<b>So</b>.")])
    assert codes(validate_dataset(read_records(tmp_path / "a.jsonl"))) == {"unknown_role", "html"}


def test_garbled_text_keeps_what_it_is_decoded_by(tmp_path: Path) -> None:
    """Unasked only the stray character goes; the others belong to the umlauts and are decoded when that is asked."""
    garbled = "“Grün” — schön".encode().decode("latin-1")
    write_chats(tmp_path / "a.jsonl", [said("user", "Wie?"), said("assistant", f"{garbled}\x08.")])
    assert codes(settle(tmp_path / "a.jsonl").after) == {"mojibake"}
    settled = settle(tmp_path / "a.jsonl", only=["control_characters", "mojibake"])
    write_corrected(settled.records, settled.overlay, tmp_path / "b.jsonl")
    assert validate_dataset(read_records(tmp_path / "b.jsonl")).conversations[-1].answer == "“Grün” — schön."
