"""An overlay changes what it says, can be written and replayed, and fits one file only."""

import json

import pytest

from postil.data.checks.fixes import drop_row, keep_first_answer, mask_personal_data, trim
from postil.data.checks.overlay import Edit, Overlay, fingerprint, overlay_of, read_overlay
from postil.data.shapes.drafts import Draft
from postil.data.shapes.record import Record
from postil.errors import DataError, MissingInputError
from postil.problems import Place, Problem

ROW = Place("a.csv", 2)


def problem(code, fix, severity="warning"):
    return Problem(code, severity, ROW, fix=fix)


def test_edits_are_done_in_order_and_once():
    overlay = Overlay().plus([Edit(ROW, "set_text", "x", {"path": "a", "value": " y "}), Edit(ROW, "trim", "x")])
    assert overlay.plus(overlay.edits) == overlay
    changed = overlay.apply(Record(ROW, {"a": "b"}))
    assert changed is not None
    assert changed.fields == {"a": "y"}
    other = Record(Place("a.csv", 3), {"a": " b "})
    assert overlay.apply(other) is other


def test_a_dropped_record_is_gone_whatever_else_is_to_be_done():
    overlay = Overlay().plus([Edit(ROW, "drop_row"), Edit(ROW, "trim")])
    assert overlay.apply(Record(ROW, {"a": "b"})) is None
    assert overlay.drops(ROW)
    assert overlay.touches(ROW)
    assert not overlay.touches(Place("a.csv", 2, "Sheet"))


def test_an_edit_reaches_a_record_by_any_of_its_rows():
    overlay = Overlay().plus([Edit(Place("a.txt", 5), "trim")])
    changed = overlay.apply(Record(Place("a.txt", 4), {"a": " b "}, rows=(4, 5)))
    assert changed is not None
    assert changed.fields == {"a": "b"}
    turns = (Draft("user", " a ", "", place=Place("a.txt", 4)), Draft("assistant", " b ", "", place=Place("a.txt", 5)))
    changed = overlay.apply(Record(Place("a.txt", 4), {}, turns=turns, rows=(4, 5)))
    assert changed is not None
    assert [d.content for d in changed.turns] == [" a ", "b"]


def test_automatic_fixes_are_done_unasked_and_others_when_asked_for():
    others = Place("a.csv", 9), Place("a.csv", 12)
    problems = [
        problem("missing_answer", drop_row(ROW), "error"),
        problem("white_space", trim(ROW)),
        problem("personal_data", mask_personal_data(ROW)),
        problem("conflicting_answers", keep_first_answer(*others)),
        problem("too_few_rows", None),
    ]
    codes = lambda overlay: [e.code for e in overlay.edits]
    assert codes(overlay_of(problems)) == ["missing_answer", "white_space"]
    assert codes(overlay_of(problems, excluded=["white_space"])) == ["missing_answer"]
    assert codes(overlay_of(problems, only=["personal_data", "too_few_rows"])) == ["personal_data"]
    asked = overlay_of(problems, only=["conflicting_answers"])
    assert [(e.place, e.code) for e in asked.edits] == [(p, "conflicting_answers") for p in others]
    assert all(asked.drops(p) for p in others)


def test_an_overlay_is_written_read_and_bound_to_its_file(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("q,a\nx,y\n")
    edit = Edit(Place("a.csv", 2, "表"), "set_text", "code", {"path": "a", "value": "新"})
    overlay = Overlay(fingerprint(file), (edit,))
    overlay.write(tmp_path / "o.json")
    assert read_overlay(tmp_path / "o.json") == overlay
    overlay.check(file)
    file.write_text("q,a\nx,z\n")
    with pytest.raises(DataError) as refused:
        overlay.check(file)
    assert refused.value.key == "data.overlay_of_other_file"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "postil-overlay-1", "sha256": "", "edits": [{}]}', '{"format": "other"}', "[" * 10**5],
)
def test_what_is_no_overlay_is_refused(tmp_path, content):
    path = tmp_path / "o.json"
    path.write_text(content)
    with pytest.raises(DataError):
        read_overlay(path)


def test_an_unknown_action_is_refused(tmp_path):
    path = tmp_path / "o.json"
    edit = Edit(ROW, "trim").as_dict() | {"action": "format_disk"}
    path.write_text(json.dumps(Overlay("", ()).as_dict() | {"edits": [edit]}))
    with pytest.raises(DataError):
        read_overlay(path)
    with pytest.raises(MissingInputError):
        read_overlay(tmp_path / "none.json")


def test_a_folders_fingerprint_is_that_of_its_files(tmp_path):
    for name, text in (("a.txt", "1"), ("b/c.txt", "2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = fingerprint(tmp_path)
    assert before == fingerprint(tmp_path)
    (tmp_path / "b/c.txt").rename(tmp_path / "b/d.txt")
    assert fingerprint(tmp_path) != before
