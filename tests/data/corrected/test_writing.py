"""The corrected file says what original and overlay say, in the original's format; the original is only read."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.data.checks.overlay import Edit, Overlay, fingerprint
from postil.data.corrected import workbook_parts, writing
from postil.data.corrected.settling import settle
from postil.data.corrected.writing import write_corrected
from postil.data.files.formulas import neutralise
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.errors import CannotWriteError, DataError, UsageError
from postil.problems import Place
from tests.data.corrected.sources import FORMATS, PAIRS, table_text, write_csv, write_jsonl, write_xlsx


def texts(report):
    return [[(m.role, neutralise(m.content)) for m in c.messages] for c in report.conversations]


def corrected(source, target, **wanted):
    settled = settle(source, **wanted)
    written = write_corrected(settled.records, settled.overlay, target)
    return settled, written


@pytest.mark.parametrize("name", FORMATS)
def test_it_says_what_original_and_overlay_say(tmp_path, name):
    source_name, target_name, write = FORMATS[name]
    source, target = tmp_path / source_name, tmp_path / target_name
    write(source, PAIRS)
    before = fingerprint(source)
    settled, written = corrected(source, target)
    assert fingerprint(source) == before
    assert {c.code for c in written.changes} >= {"duplicate", "html", "control_tokens"}
    assert any(c.before == "Do you deliver?" for c in written.changes)
    wanted = validate_dataset(settled.records, overlay=settled.overlay)
    found = validate_dataset(read_records(target))
    assert texts(found) == texts(wanted)
    assert len(found.conversations) >= 4
    assert not found.errors
    assert not {"duplicate", "html", "control_tokens"} & {p.code for p in found.problems}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted((source_name, target_name))


@pytest.mark.parametrize("name", FORMATS)
def test_without_changes_it_says_what_the_original_says(tmp_path, name):
    source_name, target_name, write = FORMATS[name]
    write(tmp_path / source_name, PAIRS)
    records = read_records(tmp_path / source_name)
    write_corrected(records, Overlay(), tmp_path / target_name)
    found = validate_dataset(read_records(tmp_path / target_name))
    assert texts(found) == texts(validate_dataset(records))
    if name not in ("xlsx", "ods", "docx", "docx with a table", "parquet", "folder", "zip"):
        assert (tmp_path / target_name).read_bytes() == (tmp_path / source_name).read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_all_rows_may_go(tmp_path, name):
    source_name, target_name, write = FORMATS[name]
    write(tmp_path / source_name, PAIRS)
    records = read_records(tmp_path / source_name)
    edits = [Edit(item.place, "drop_row", "asked") for item in records if not hasattr(item, "code")]
    write_corrected(records, Overlay("", tuple(edits)), tmp_path / target_name)
    assert not _texts_or_none(tmp_path / target_name)


def test_untouched_lines_of_jsonl_stay_byte_for_byte(tmp_path):
    lines = [
        '{"question":"a",  "answer":"b","n":1.500, "k":1e5}\r\n',
        '{"question": "c", "answer": "<b>d</b>", "n": 2.50, "z": null, "a": [1, true]}\r\n',
        "\r\n",
        '{"question":"e","answer":""}\r\n',
        '{"question":"\\u4f60", "answer":"g"}',
    ]
    (tmp_path / "a.jsonl").write_bytes("".join(lines).encode())
    corrected(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    mended = lines[1].replace("<b>d</b>", "d")
    assert (tmp_path / "b.jsonl").read_bytes() == "".join((lines[0], mended, lines[2], lines[4])).encode()


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
def test_untouched_items_of_json_stay_as_they_were(tmp_path, indent):
    items = [
        {"question": "a", "answer": ""},
        {"question": "b", "answer": "<i>c</i>", "n": 1.5, "list": [1, {"x": []}]},
        {"question": "d", "answer": "e", "number": 1.0},
        {"question": "f", "answer": ""},
    ]
    (tmp_path / "a.json").write_text(json.dumps(items, indent=indent))
    corrected(tmp_path / "a.json", tmp_path / "b.json")
    wanted = [{**items[1], "answer": "c"}, items[2]]
    assert (tmp_path / "b.json").read_text() == json.dumps(wanted, indent=indent)


def test_broken_items_of_json_are_cut_out(tmp_path):
    lines = ('{"question": "a", "answer": "b"}', '{"question": "c", "answer": }', '{"question": "d", "answer": "e"}')
    text = "[\n" + "".join(f"  {line},\n" for line in lines) + "]"
    (tmp_path / "a.json").write_text(text)
    corrected(tmp_path / "a.json", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == [
        {"question": "a", "answer": "b"},
        {"question": "d", "answer": "e"},
    ]


def test_rows_of_csv_keep_their_quotes_and_line_ends(tmp_path):
    lines = ['"question",answer\r\n', 'a,"b"\r\n', '"c\nd",<b>e</b>\r\n', "f,\r\n", "\r\n", 'g "h",i']
    (tmp_path / "a.csv").write_bytes("".join(lines).encode())
    corrected(tmp_path / "a.csv", tmp_path / "b.csv")
    wanted = "".join((lines[0], lines[1], lines[2].replace("<b>e</b>", "e"), lines[4], lines[5]))
    assert (tmp_path / "b.csv").read_bytes() == wanted.encode()


def test_formulas_are_made_harmless_in_csv_and_read_back(tmp_path):
    pairs = [("=1+1?", "@home"), ("-5", "+86 138"), ("list", "- one\n- two")]
    write_csv(tmp_path / "a.csv", pairs)
    corrected(tmp_path / "a.csv", tmp_path / "b.csv")
    text = (tmp_path / "b.csv").read_text()
    assert "'=1+1?,'@home" in text
    assert "-5,+86 138" in text
    assert "\"'- one" in text
    found = validate_dataset(read_records(tmp_path / "b.csv"))
    assert [tuple(m.content for m in c.messages) for c in found.conversations] == pairs


def test_a_plain_workbook_keeps_sheets_titles_and_types_and_lists_its_changes(tmp_path, monkeypatch):
    from openpyxl import load_workbook

    monkeypatch.setattr(workbook_parts, "MAX_ITEMS", 0)  # so that its look is not kept
    write_xlsx(tmp_path / "a.xlsx", [*PAIRS, ("sum?", "'=1+1"), ("number", "5"), ("id", "0012")])
    book = load_workbook(tmp_path / "a.xlsx")
    book["FAQ"].cell(row=10, column=2).value = "=1+1"
    book["FAQ"].cell(row=10, column=2).data_type = "s"
    book.save(tmp_path / "a.xlsx")
    corrected(tmp_path / "a.xlsx", tmp_path / "b.xlsx")
    book = load_workbook(tmp_path / "b.xlsx")
    assert book.sheetnames == ["FAQ", "More", "Old", "Postil changes"]
    assert book["Old"].sheet_state == "hidden"
    sheet = book["FAQ"]
    assert sheet["A1"].value == "Questions of our shop"
    assert (sheet["A3"].value, sheet["B3"].value) == ("question", "answer")
    cells = {row[0].value: row[1] for row in sheet.iter_rows(min_row=4)}
    assert "Do you deliver?" not in cells
    assert cells["sum?"].data_type == "s"
    assert cells["sum?"].value == "=1+1"
    assert cells["sum?"].quotePrefix
    assert cells["number"].data_type == "n"
    assert cells["id"].data_type == "s"
    assert sheet.column_dimensions["A"].width > 15
    changed = next(row[0] for row in sheet.iter_rows() if row[0].value == "Where are you?")
    assert changed.fill.fill_type == "solid"
    assert sheet["A4"].fill.fill_type is None
    listed = [[c.value for c in row] for row in book["Postil changes"].iter_rows(min_row=2)]
    assert ["FAQ", 6, "question", "html", "Where <b>are</b> you?", "Where are you?"] in [
        [row[0], row[1], row[2], row[4], row[5], row[6]] for row in listed
    ]
    assert any(row[:2] == ["More", 3] for row in listed)


def test_a_text_that_its_encoding_cannot_hold_makes_it_utf8(tmp_path):
    text = table_text(
        [("caf\u00e9 <b>x</b>", "&#20320;&#22909; d\u00e9j\u00e0 &nbsp; vu"), ("\u00e0 bient\u00f4t", "tr\u00e8s bien")]
    )
    (tmp_path / "a.csv").write_text(text, encoding="cp1252", newline="")
    _, written = corrected(tmp_path / "a.csv", tmp_path / "b.csv")
    assert written.encoding == "utf-8-sig"
    assert "\u4f60\u597d d\u00e9j\u00e0" in (tmp_path / "b.csv").read_text(encoding="utf-8-sig")


def test_the_output_is_guarded(tmp_path):
    write_csv(tmp_path / "a.csv", PAIRS)
    records = read_records(tmp_path / "a.csv")
    for name, key in (("a.csv", "data.would_overwrite"), ("b.xlsx", "data.writes_suffix"), ("b", "data.writes_suffix")):
        with pytest.raises(UsageError) as refused:
            write_corrected(records, Overlay(), tmp_path / name)
        assert refused.value.key == key
    (tmp_path / "b.csv").write_text("mine")
    with pytest.raises(CannotWriteError):
        write_corrected(records, Overlay(), tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "mine"
    write_corrected(records, Overlay(), tmp_path / "b.csv", force=True)
    assert (tmp_path / "b.csv").read_text() != "mine"


def test_force_leaves_other_files_of_a_folder_alone(tmp_path):
    (tmp_path / "a").mkdir()
    write_csv(tmp_path / "a" / "x.csv", PAIRS)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    (tmp_path / "b" / "x.csv").write_text("old")
    settled = settle(tmp_path / "a")
    with pytest.raises(CannotWriteError):
        write_corrected(settled.records, settled.overlay, tmp_path / "b")
    write_corrected(settled.records, settled.overlay, tmp_path / "b", force=True)
    assert (tmp_path / "b" / "mine.txt").read_text() == "mine"
    assert "Where are you?" in (tmp_path / "b" / "x.csv").read_text()
    with pytest.raises(UsageError):
        write_corrected(settled.records, settled.overlay, tmp_path / "a" / "inside")


def test_an_overlay_of_another_file_is_refused(tmp_path):
    write_csv(tmp_path / "a.csv", PAIRS)
    with pytest.raises(DataError) as refused:
        write_corrected(read_records(tmp_path / "a.csv"), Overlay("0" * 64), tmp_path / "b.csv")
    assert refused.value.key == "data.overlay_of_other_file"
    assert not (tmp_path / "b.csv").exists()


def test_a_copy_that_would_read_differently_is_not_written(tmp_path, monkeypatch):
    write_csv(tmp_path / "a.csv", PAIRS)
    settled = settle(tmp_path / "a.csv")
    monkeypatch.setattr(writing, "corrected_table", lambda *_: iter(["question,answer\nx,y\n"]))
    with pytest.raises(DataError) as refused:
        write_corrected(settled.records, settled.overlay, tmp_path / "b.csv")
    assert refused.value.key == "data.corrected_differs"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    settled = settle(tmp_path / "a.jsonl")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "replace", full)
    with pytest.raises(CannotWriteError) as refused:
        write_corrected(settled.records, settled.overlay, tmp_path / "b.jsonl")
    assert "No space left" in str(refused.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_chat_of_merged_rows_stays_one(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.append(["\u5e8f\u53f7", "\u95ee\u9898", "\u7b54\u6848"])
    for row in ((1, "a <b>x</b>", "b"), (None, "c", "d"), (2, "e", "f"), (None, "g", ""), (None, "h", "i")):
        sheet.append(list(row))
    sheet.merge_cells("A2:A3")
    sheet.merge_cells("A4:A6")
    book.save(tmp_path / "a.xlsx")
    settled, _ = corrected(tmp_path / "a.xlsx", tmp_path / "b.xlsx")
    found = validate_dataset(read_records(tmp_path / "b.xlsx"))
    assert texts(found) == texts(validate_dataset(settled.records, overlay=settled.overlay))
    assert [c.num_turns for c in found.conversations] == [2, 2]
    assert found.conversations[0].messages[0].content == "a x"


_CELL = st.text(alphabet="ab ,;\"'\n=+-@<b>/\u4f60\ufeff&|\t", max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(_CELL, _CELL), min_size=1, max_size=8), dropped=st.sets(st.integers(0, 7)))
def test_any_csv_says_what_original_and_overlay_say(tmp_path, pairs, dropped):
    source, target = tmp_path / "a.csv", tmp_path / "b.csv"
    source.write_text(table_text(pairs), encoding="utf-8", newline="")
    _same_after_correction(source, target, dropped)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=8),
    dropped=st.sets(st.integers(0, 7)),
    is_ascii=st.booleans(),
    marks=st.sampled_from([(", ", ": "), (",", ":")]),
)
def test_any_jsonl_says_what_original_and_overlay_say(tmp_path, pairs, dropped, is_ascii, marks):
    source, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    rows = [dict(zip(("question", "answer"), pair, strict=True)) for pair in pairs]
    source.write_text("".join(json.dumps(r, ensure_ascii=is_ascii, separators=marks) + "\n" for r in rows), "utf-8")
    _same_after_correction(source, target, dropped)


def _same_after_correction(source, target, dropped):
    original = source.read_bytes()
    settled = settle(source)
    places = [item.place for item in settled.records if not hasattr(item, "code")]
    overlay = settled.overlay.plus(Edit(p, "drop_row", "asked") for i, p in enumerate(places) if i in dropped)
    write_corrected(settled.records, overlay, target, force=True)
    wanted = texts(validate_dataset(settled.records, overlay=overlay))
    assert _texts_or_none(target) == wanted
    assert source.read_bytes() == original


def _texts_or_none(path):
    """What a file says; an empty one, which cannot be read, says nothing."""
    try:
        return texts(validate_dataset(read_records(path)))
    except DataError:
        return []


def test_places_of_other_sheets_are_left_alone(tmp_path):
    write_xlsx(tmp_path / "a.xlsx", PAIRS)
    records = read_records(tmp_path / "a.xlsx")
    overlay = Overlay("", (Edit(Place("a.xlsx", 2, "More"), "drop_row"),))
    write_corrected(records, overlay, tmp_path / "b.xlsx")
    found = [c.question for c in validate_dataset(read_records(tmp_path / "b.xlsx")).conversations]
    assert "What is 1+1?" not in found
    assert found.count("When do you open?") == 2
