"""check, fix, check: every problem that a machine can mend is gone after it has."""

import json
import re
from pathlib import Path

import pytest

import postil.data
from postil.data.checks import overlay as overlays
from postil.data.corrected.settling import settle
from postil.data.corrected.writing import write_corrected
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.problems import Fix

GOOD = [{"question": f"Where is shelf {n}?", "answer": f"In row {n}, on the left."} for n in range(3)]

_LONG = "In the big store on Main Street, on the second floor behind the plants, from nine in the morning until six."


def pair(question, answer):
    return {"question": question, "answer": answer}


def chat(*messages, **more):
    return {"messages": [{"role": role, "content": content} for role, content in messages], **more}


CASES = {
    "missing_answer": [pair("What?", "")],
    "missing_question": [pair(" ", "That.")],
    "duplicate": [pair("What is it?", "A lamp."), pair("What is it?", "A lamp.")],
    "near_duplicate": [
        pair(f"Where can I buy {article} large blue garden lamp of your shop?", _LONG) for article in ("the", "that")
    ],
    "conflicting_answers": [pair("What is it?", "A lamp."), pair("What is it?", "A chair.")],
    "html": [pair("What <b>is</b> it?", "<p>A lamp.</p><br>New.")],
    "control_characters": [pair("What is it?", "A\x00 lamp.\x08")],
    "control_tokens": [pair("What is it?", "A lamp.<|im_end|>")],
    "mojibake": [pair("Wie schÃ¶n ist es?", "GrÃ¼n und schÃ¶n.")],
    "personal_data": [pair("Who?", "Li Lei, 13812345678, li.lei@qq.com")],
    "outer_blanks": [pair("What is it?", " A lamp.\n")],
    "refusal": [pair("What is it?", "As an AI language model I cannot help with that.")],
    "answer_equals_question": [pair("What is it?", "What is it?")],
    "rejected_answer": [
        {**chat(("user", "What?"), ("assistant", "That.")), "label": True},
        {**chat(("user", "What?"), ("assistant", "No.")), "label": False},
    ],
    "empty_message": [
        chat(("user", "What?"), ("assistant", "That."), ("user", "")),
        chat(("user", "What?"), ("assistant", ""), ("user", "Well?"), ("assistant", "That.")),
    ],
    "wrong_role_order": [chat(("user", "What?"), ("user", "Well?"), ("assistant", "That."))],
    "opens_with_assistant": [chat(("assistant", "Hello!"), ("user", "What?"), ("assistant", "That."))],
    "ends_with_user": [chat(("user", "What?"), ("assistant", "That."), ("user", "And?"))],
    "no_user_turn": [chat(("assistant", "That."))],
    "unknown_role": [chat(("user", "What?"), ("wizard", "That."))],
    "unknown_shape": [{"width": 3, "height": 4}],
    "not_text": [pair("What?", {"a": 1})],
    "nothing_to_learn": [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}
    ],
    "not_an_object": [5],
    "json_unfinished": ['{"question": "a", "answer": "b'],
    "json_two_objects": ['{"question": "a", "answer": "b"} {"question": "c", "answer": "d"}'],
    "json_inner_quotes": ['{"question": "What is "this"?", "answer": "b"}'],
    "json_lone_surrogate": ['{"question": "a\\ud83d", "answer": "b"}'],
    "json_too_deep": ['{"question": ' + "[" * 200 + "]" * 200 + ', "answer": "b"}'],
    "broken_json": ['{"question": , "answer": "b"}'],
}
REPAIRED = {
    "json_single_quotes": "{'question': 'a', 'answer': 'b'}",
    "json_comma_too_many": '{"question": "a",, "answer": "b",}',
    "json_missing_comma": '{"question": "a" "answer": "b"}',
    "json_unquoted_key": '{question: "a", answer: "b"}',
    "json_not_a_number": '{"question": "a", "answer": "b", "score": NaN}',
    "json_python_word": '{"question": "a", "answer": "b", "note": None}',
    "json_comment": '{"question": "a", /* so */ "answer": "b"}',
    "json_stray_bom": '{"question": "a",\ufeff "answer": "b"}',
    "json_line_break": '{"question": "a", "answer": "b\tc"}',
    "json_bad_escape": '{"question": "a", "answer": "C:\\data"}',
    "json_wide_marks": "｛“question”：“a”，“answer”：“b”｝",
}
CASES |= {code: [row] for code, row in REPAIRED.items()}


def write(path: Path, rows) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in (*GOOD, *rows)]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def codes(report):
    return {problem.code for problem in report.problems}


@pytest.mark.parametrize("code", CASES)
def test_check_fix_check_is_clean(tmp_path, code):
    source, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write(source, CASES[code])
    near = code == "near_duplicate"
    found = [p for p in validate_dataset(read_records(source), near=near).problems if p.code == code]
    assert found
    assert all(p.fix is not None for p in found)
    only = () if all(p.fix.automatic for p in found) else (code,)
    settled = settle(source, only=only)
    assert code not in codes(settled.after)
    report = settled.after
    assert report.records_in == report.kept + report.fixed + report.dropped
    write_corrected(settled.records, settled.overlay, target)
    again = validate_dataset(read_records(target), near=near)
    assert code not in codes(again)
    assert len(again.conversations) >= len(GOOD)
    if not only:
        assert not again.errors


@pytest.mark.parametrize("code", CASES)
def test_what_is_excluded_stays(tmp_path, code):
    write(tmp_path / "a.jsonl", CASES[code])
    settled = settle(tmp_path / "a.jsonl", excluded=[code])
    assert all(edit.code != code for edit in settled.overlay.edits)


def test_one_fix_uncovers_another(tmp_path):
    """Joined, the chat can be read and has tags; without those, it repeats another one."""
    rows = [
        chat(("user", "What?\nWell?"), ("assistant", "That.")),
        chat(("user", "What?"), ("user", "Well?"), ("assistant", "<b>That</b>.")),
    ]
    write(tmp_path / "a.jsonl", rows)
    settled = settle(tmp_path / "a.jsonl")
    assert [e.code for e in settled.overlay.edits] == ["wrong_role_order", "html", "duplicate"]
    assert not settled.after.errors
    assert settled.after.num_conversations == len(GOOD) + 1


def test_fixes_that_do_not_help_end(tmp_path, monkeypatch):
    """A fix that leaves its problem standing is done once, not for ever."""
    write(tmp_path / "a.jsonl", CASES["html"])
    monkeypatch.setattr(overlays, "apply_fix", lambda action, record, *_: record)
    settled = settle(tmp_path / "a.jsonl")
    assert [e.code for e in settled.overlay.edits] == ["html"]
    assert "html" in codes(settled.after)


@pytest.mark.parametrize("code", REPAIRED)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_row_that_is_nearly_json_is_repaired_and_counts_as_fixed(tmp_path, code, name):
    rows = [*map(json.dumps, GOOD), REPAIRED[code]]
    text = "\n".join(rows) if name == "a.jsonl" else "[\n  " + ",\n  ".join(rows) + "\n]"
    (tmp_path / name).write_text(text, "utf-8")
    settled = settle(tmp_path / name)
    report = settled.after
    assert [p.fix.action for p in settled.before.errors] == ["repair_json"]
    assert (report.records_in, report.kept, report.fixed, report.dropped) == (4, 3, 1, 0)
    written = write_corrected(settled.records, settled.overlay, tmp_path / f"b{Path(name).suffix}")
    (change,) = written.changes
    assert (change.place.row, change.action, change.code, change.column) == (4, "repair_json", code, None)
    assert change.before == REPAIRED[code]
    assert json.loads(change.after)["question"] == "a"
    again = (tmp_path / f"b{Path(name).suffix}").read_text("utf-8")
    assert again == text.replace(change.before, change.after)


def test_an_overlay_with_a_repair_is_replayed_from_its_file(tmp_path):
    write(tmp_path / "a.jsonl", [REPAIRED["json_single_quotes"], "{'question': 'c', 'answer': '<b>d</b>'}"])
    settled = settle(tmp_path / "a.jsonl")
    assert [(e.place.row, e.action) for e in settled.overlay.edits] == [
        (4, "repair_json"),
        (5, "repair_json"),
        (5, "strip_html"),
    ]
    settled.overlay.write(tmp_path / "overlay.json")
    overlay = overlays.read_overlay(tmp_path / "overlay.json")
    report = validate_dataset(read_records(tmp_path / "a.jsonl"), overlay=overlay)
    assert [c.messages[-1].content for c in report.conversations[-2:]] == ["b", "d"]
    assert (report.kept, report.fixed, report.dropped) == (3, 2, 0)
    assert not report.errors


def test_a_repaired_row_may_still_have_to_go(tmp_path):
    write(tmp_path / "a.jsonl", ["{'question': 'a', 'answer': ''}"])
    settled = settle(tmp_path / "a.jsonl")
    assert [e.action for e in settled.overlay.edits] == ["repair_json", "drop_row"]
    assert (settled.after.kept, settled.after.fixed, settled.after.dropped) == (3, 0, 1)
    written = write_corrected(settled.records, settled.overlay, tmp_path / "b.jsonl")
    assert [(c.action, c.before, c.after) for c in written.changes] == [("drop_row", "a", None)]


def test_a_repair_comes_before_fixes_of_what_the_broken_row_hides(tmp_path):
    """Without its first message a log is no log, and each of its rows would be left out."""
    rows = ["{'role': 'user', 'content': 'a'}", *map(json.dumps, chat(("assistant", "b"), ("user", "c"))["messages"])]
    rows.append("{'role': 'assistant', 'content': 'd'}")
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    settled = settle(tmp_path / "a.jsonl")
    assert [(e.place.row, e.action) for e in settled.overlay.edits] == [(1, "repair_json"), (4, "repair_json")]
    report = settled.after
    assert (report.records_in, report.fixed, report.dropped, report.num_conversations) == (4, 4, 0, 1)
    written = write_corrected(settled.records, settled.overlay, tmp_path / "b.jsonl")
    assert [c.before for c in written.changes] == [rows[0], rows[3]]
    assert (tmp_path / "b.jsonl").read_text("utf-8").count("'") == 0


def test_a_repair_in_a_folder_is_done_in_its_own_file_only(tmp_path):
    (tmp_path / "rows").mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / "rows" / name, [REPAIRED["json_comment"].replace("so", name)])
    broken = next(p for p in validate_dataset(read_records(tmp_path / "rows")).errors if p.place.file == "b.jsonl")
    overlay = overlays.overlay_of([broken])
    report = validate_dataset(read_records(tmp_path / "rows"), overlay=overlay)
    assert [(p.place.file, p.code) for p in report.errors] == [("a.jsonl", "json_comment")]
    assert report.fixed == 1


def test_an_object_with_all_records_is_repaired_as_a_whole(tmp_path):
    (tmp_path / "a.json").write_text('{"data": ' + json.dumps(GOOD, indent=1)[:-2] + ",\n],}\n", "utf-8")
    settled = settle(tmp_path / "a.json")
    assert settled.before.num_conversations == 0
    assert settled.after.num_conversations == len(GOOD)
    write_corrected(settled.records, settled.overlay, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text("utf-8")) == {"data": GOOD}


def test_repaired_rows_one_after_the_other_hide_no_comma(tmp_path):
    """Taking the repaired row from the reader must not make it think that a comma was missing."""
    rows = ['{"question": "a", "answer": "b",}', "{'question': 'c', 'answer': 'd'}", "{“question”: “e”, “answer”: “f”}"]
    (tmp_path / "a.json").write_text("[\n " + ",\n ".join(rows) + "\n]", "utf-8")
    settled = settle(tmp_path / "a.json")
    assert (settled.after.fixed, codes(settled.after)) == (3, {"too_few_rows"})
    write_corrected(settled.records, settled.overlay, tmp_path / "b.json")
    assert codes(validate_dataset(read_records(tmp_path / "b.json"))) == {"too_few_rows"}


def test_what_was_dropped_is_counted(tmp_path):
    write(tmp_path / "a.jsonl", [*CASES["missing_answer"], *CASES["html"], *CASES["duplicate"]])
    report = settle(tmp_path / "a.jsonl").after
    assert (report.records_in, report.kept, report.fixed, report.dropped) == (7, 4, 1, 2)


def test_every_fix_that_the_checks_name_is_tried_here():
    """Text checks and repetitions name their fixes by code: each of these codes has a case above."""
    folder = Path(postil.data.__file__).parent / "checks"
    text = (folder / "findings.py").read_text("utf-8")
    named = {
        code
        for line in re.findall(r'case ("[a-z_]+"(?: \| "[a-z_]+")*):', text)
        for code in re.findall(r"[a-z_]+", line)
    }
    assert named
    assert named <= CASES.keys()
    assert Fix.__dataclass_fields__["automatic"].default is True
