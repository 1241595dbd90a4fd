"""check, fix, check: logs of chats in every format, and JSON that holds its records one level below."""

import json
from pathlib import Path
from typing import Any

import pytest

from postil.data.corrected.settling import settle
from postil.data.corrected.writing import write_corrected
from postil.data.records import read_records
from postil.data.validation import ValidationReport, validate_dataset

REMARKS = {"too_few_rows", "messages_joined", "speakers_guessed", "chats_without_key", "skipped_row", "held_back_list"}
Said = list[tuple[str, str]]


def mended(tmp_path: Path, name: str, text: str) -> tuple[str, ValidationReport]:
    """The corrected file's text, and what is said of it; nothing that can be mended is left."""
    source, target = tmp_path / f"a{Path(name).suffix}", tmp_path / f"b{Path(name).suffix}"
    source.write_text(text, "utf-8")
    assert not {p.code for p in validate_dataset(read_records(source)).problems} <= REMARKS
    settled = settle(source)
    write_corrected(settled.records, settled.overlay, target)
    report = validate_dataset(read_records(target))
    assert {p.code for p in report.problems} <= REMARKS
    return target.read_text("utf-8"), report


def texts(report: ValidationReport) -> list[list[str]]:
    return [[m.content for m in c.messages] for c in report.conversations]


def by_line(said: Said) -> str:
    return "".join(f"{name}: {text}\n" for name, text in said)


def below_names(said: Said) -> str:
    return "".join(f"{name} 2024-05-01 10:{i:02}\n{text}\n\n" for i, (name, text) in enumerate(said))


def as_csv(said: Said) -> str:
    return "sender,content\n" + "".join(f"{name},{text}\n" for name, text in said)


def as_jsonl(said: Said) -> str:
    return "".join(json.dumps({"sender": name, "content": text}, ensure_ascii=False) + "\n" for name, text in said)


def as_json(said: Said) -> str:
    return json.dumps([{"id": i, "sender": n, "content": t} for i, (n, t) in enumerate(said)], indent=2)


LOGS = {"line.txt": by_line, "below.txt": below_names, "a.csv": as_csv, "a.jsonl": as_jsonl, "a.json": as_json}
U, A = "用户", "客服"
START, END = [(U, "ask1"), (A, "say1")], [(U, "ask9"), (A, "say9")]
FAULTS: dict[str, tuple[Said, list[str]]] = {
    "opens_with_assistant": ([(A, "hello"), *START, *END], ["ask1", "say1", "ask9", "say9"]),
    "ends_with_user": ([*START, *END, (U, "bye")], ["ask1", "say1", "ask9", "say9"]),
    "html": (
        [*START, (U, "<b>ask2</b>"), (A, "say2 <i>so</i>"), *END],
        ["ask1", "say1", "ask2", "say2 so", "ask9", "say9"],
    ),
    "html in the second of two": (
        [(U, "ask0"), *START, (A, "<p>b1</p>"), *END],
        ["ask0\nask1", "say1\nb1", "ask9", "say9"],
    ),
    "control_characters": (
        [*START, (U, "ask\x082"), (A, "say2"), *END],
        ["ask1", "say1", "ask2", "say2", "ask9", "say9"],
    ),
    "stand-in as the answer": ([*START, (U, "ask2"), (A, "[图片]"), *END], ["ask1", "say1", "ask9", "say9"]),
    "stand-in as the question": ([*START, (U, "[语音]"), (A, "say2"), *END], ["ask1", "say1", "ask9", "say9"]),
    "stand-in beside an answer": ([*START, (A, "<Media omitted>"), *END], ["ask1", "say1", "ask9", "say9"]),
    "stand-in that opens": ([(A, "[图片]"), *START, *END], ["ask1", "say1", "ask9", "say9"]),
    "all at once": (
        [(A, "hi"), *START, (A, "[图片]"), (U, "<b>ask2</b>"), (A, "say2"), (U, "x")],
        ["ask1", "say1", "ask2", "say2"],
    ),
}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_log_is_mended_in_its_own_format(tmp_path: Path, name: str, fault: str) -> None:
    said, wanted = FAULTS[fault]
    _, report = mended(tmp_path, name, LOGS[name](said))
    assert texts(report) == [wanted]


@pytest.mark.parametrize("name", LOGS)
def test_two_messages_in_a_row_train_as_they_stand(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a{Path(name).suffix}"
    path.write_text(LOGS[name]([(U, "ask0"), *START, (A, "b1"), *END]), "utf-8")
    report = validate_dataset(read_records(path))
    assert (texts(report), report.errors) == ([["ask0\nask1", "say1\nb1", "ask9", "say9"]], ())
    assert [p.code for p in report.problems if p.code == "messages_joined"] == ["messages_joined"]
    assert report.records_in == report.kept


def test_a_log_without_anything_to_learn_goes_whole(tmp_path: Path) -> None:
    rows = [
        {"chat_id": c, "role": r, "content": t} for c, r, t in ((1, "user", "q"), (2, "user", "ask2"), (1, "bot", "a"))
    ]
    rows += [{"chat_id": 2, "role": "bot", "content": "[图片]"}]
    text, report = mended(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert texts(report) == [["q", "a"]]
    assert [json.loads(line)["chat_id"] for line in text.splitlines()] == [1, 1]


def test_other_fields_of_a_message_stay_as_they_were(tmp_path: Path) -> None:
    lines = ['{"role": "user", "content": "<b>q</b>", "score": 1.50}\n', '{"role":"assistant","content":"a","x":[1]}\n']
    text, _ = mended(tmp_path, "a.jsonl", "".join(lines))
    assert text == lines[0].replace("<b>q</b>", "q") + lines[1]


def test_messages_of_lists_lose_what_only_stands_for_media(tmp_path: Path) -> None:
    chat = [("system", "s"), ("user", "ask1"), ("assistant", "say1"), ("user", "ask2"), ("assistant", "[图片]")]
    both = [[{"role": r, "content": t} for r, t in said] for said in (chat, (chat[0], *chat[3:]))]
    text, report = mended(tmp_path, "a.jsonl", "".join(json.dumps({"messages": m}) + "\n" for m in both))
    assert [json.loads(line)["messages"] for line in text.splitlines()] == [both[0][:3]]
    assert texts(report) == [["s", "ask1", "say1"]]


@pytest.mark.parametrize("name", ["messages", "conversations", "my_turns"])
def test_lists_of_messages_are_mended_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    said = [("user", "q"), ("user", "r"), ("assistant", "[图片]"), ("assistant", "b"), ("user", "x")]
    row = {name: [{"role": r, "content": t} for r, t in said]}
    text, report = mended(tmp_path, "a.jsonl", json.dumps(row) + "\n")
    assert texts(report) == [["q\nr", "b"]]
    assert len(json.loads(text)[name]) == 2


def test_an_object_that_cannot_be_read_goes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"data": [{"question": , "answer": "b"}]}', "utf-8")
    settled = settle(tmp_path / "a.json")
    write_corrected(settled.records, settled.overlay, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text("utf-8")) == []


ROWS: list[dict[str, Any]] = [
    {"question": "ask1", "answer": "say1", "n": 1.5},
    {"question": "ask2", "answer": "<p>say2</p>"},
    {"question": "ask3", "answer": ""},
    {"question": "ask4", "answer": "say4"},
    {"question": "ask5", "answer": "[图片]"},
]
WANTED = [["ask1", "say1"], ["ask2", "say2"], ["ask4", "say4"]]
LEFT = [ROWS[0], {"question": "ask2", "answer": "say2"}, ROWS[3]]


@pytest.mark.parametrize("indent", [None, 2, 4])
def test_records_in_a_list_of_an_object_are_mended_there(tmp_path: Path, indent: int | None) -> None:
    value: dict[str, Any] = {"version": 1.50, "data": ROWS, "note": {"data": []}}
    text, report = mended(tmp_path, "a.json", json.dumps(value, indent=indent))
    assert texts(report) == WANTED
    assert text == json.dumps({**value, "data": LEFT}, indent=indent)


def test_records_in_several_lists_are_counted_through(tmp_path: Path) -> None:
    value = {"train": ROWS[:2], "more": [["ask6", "<b>say6</b>"], ["ask7", "say7"]], "test": ROWS[:2], "last": ROWS[2:]}
    text, report = mended(tmp_path, "a.json", json.dumps(value))
    assert texts(report) == [["ask1", "say1"], ["ask2", "say2"], ["ask6", "say6"], ["ask7", "say7"], ["ask4", "say4"]]
    more = [["ask6", "say6"], ["ask7", "say7"]]
    assert json.loads(text) == {"train": LEFT[:2], "more": more, "test": ROWS[:2], "last": LEFT[2:]}


def test_chats_in_a_list_of_an_object(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "<b>q</b>"}, {"role": "assistant", "content": "a"}]
    text, report = mended(tmp_path, "a.json", json.dumps({"chats": [chat, [*chat, {"role": "user", "content": "x"}]]}))
    assert texts(report) == [["q", "a"]]
    assert len(json.loads(text)["chats"]) == 1


def test_pairs_as_lists_and_as_members_stay_what_they_are(tmp_path: Path) -> None:
    pairs = {
        "How is it made?": "<b>By</b> hand.",
        "Where is it?": "",
        "Who are you?": "A shop.",
        "What is it?": "It is.",
    }
    left = {"How is it made?": "By hand.", "Who are you?": "A shop.", "What is it?": "It is."}
    for value, wanted in ((pairs, left), ([*map(list, pairs.items())], [*map(list, left.items())])):
        for indent in (None, 2):
            folder = tmp_path / f"{type(value).__name__} {indent}"
            folder.mkdir()
            text, _ = mended(folder, "a.json", json.dumps(value, indent=indent))
            assert json.loads(text) == wanted


def test_messages_of_people_are_mended_under_their_names(tmp_path: Path) -> None:
    said = [("Shop", "Welcome!"), ("Anna", "Tea?"), ("Anna", "Green?"), ("Shop", "<b>Yes</b>."), ("Anna", "Which?")]
    said += [("Shop", "All."), ("Anna", "Thanks")]
    messages = [{"from": name, "text": text} for name, text in said]
    messages.insert(3, {"from": "Shop", "text": "ask Tom", "internal": True})
    text, report = mended(tmp_path, "a.json", json.dumps({"name": "x", "messages": messages}))
    assert texts(report) == [["Tea?\nGreen?", "Yes.", "Which?", "All."]]
    left = json.loads(text)["messages"]
    assert [(m["from"], m["text"]) for m in left] == [
        *(("Anna", "Tea?\nGreen?"), ("Shop", "Yes."), ("Anna", "Which?"), ("Shop", "All.")),
    ]
    assert all(set(m) == {"from", "text"} for m in left)
