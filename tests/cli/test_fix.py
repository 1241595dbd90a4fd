"""`postil fix`: a corrected copy, what was done, what is left."""

import json
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook

from postil.data.checks.overlay import read_overlay
from postil.data.corrected import workbook_parts
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.language import say
from tests.cli.conftest import Shell, last_json


@pytest.fixture
def messy_file(tmp_path: Path) -> Path:
    """A question without an answer, a repetition, tags, a phone number, two answers to one question."""
    rows = [
        ("When do you open?", "At nine."),
        ("When do you open?", "At nine."),
        ("Where <b>are</b> you?", "In the park."),
        ("No answer?", ""),
        ("Who can I call?", "Call Li Lei, 13812345678."),
        ("How much?", "Five."),
        ("How much?", "Six."),
    ]
    path = tmp_path / "messy.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows), "utf-8")
    return path


def test_it_shows_what_was_changed_and_what_to_do_next(shell: Shell, messy_file: Path) -> None:
    code, out, _ = shell("fix", messy_file, "-o", "out.jsonl")
    assert code == 0
    assert "7 rows = 4 kept + 1 mended + 2 left out" in out
    assert f"{say('data_page.kind.html')} (html): 1 change." in out
    assert "- Where <b>are</b> you?" in out
    assert "+ Where are you?" in out
    assert "\n  row 4\n" in out and "\n  row 3, field question\n" in out
    assert "postil train out.jsonl" in out
    assert "conflicting_answers" in out
    assert validate_dataset(read_records(Path("out.jsonl"))).errors == ()
    assert shell("check", "out.jsonl")[0] == 0


def test_it_speaks_chinese(shell: Shell, messy_file: Path) -> None:
    _, out, _ = shell("fix", messy_file, "-o", "out.jsonl", "--lang", "zh")
    assert "已写出" in out
    assert "去掉这一行" in out


def test_codes_are_fixed_when_asked_for_and_left_when_excluded(shell: Shell, messy_file: Path) -> None:
    assert (
        shell("fix", messy_file, "-o", "a.jsonl", "--only", "personal_data", "--only", "conflicting_answers")[0] == 65
    )
    text = Path("a.jsonl").read_text()
    assert "13812345678" not in text
    assert "[phone]" in text
    assert "<b>" in text
    assert "Five." in text
    assert "Six." not in text
    assert shell("fix", messy_file, "-o", "b.jsonl", "--except", "html")[0] == 0
    assert "<b>" in Path("b.jsonl").read_text()


def test_a_dry_run_writes_nothing(shell: Shell, messy_file: Path, tmp_path: Path) -> None:
    code, out, _ = shell("fix", messy_file, "--dry-run", "--save-overlay", "o.json", "-o", "out.jsonl")
    assert code == 0
    assert f"{say('data_page.kind.html')} (html): 1 change." in out
    assert [p.name for p in tmp_path.iterdir()] == ["messy.jsonl"]


def test_json_is_one_object_that_adds_up(shell: Shell, messy_file: Path) -> None:
    code, out, _ = shell("fix", messy_file, "-o", "out.jsonl", "--json")
    result = last_json(out)
    assert len(out.splitlines()) == 1
    assert code == result["exit_code"] == 0
    assert result["records_in"] == result["kept"] + result["fixed"] + result["dropped"] == 7
    assert result["output"] == "out.jsonl"
    assert {(f["code"], f["action"], f["count"]) for f in result["fixes"]} == {
        ("missing_answer", "drop_row", 1),
        ("duplicate", "drop_row", 1),
        ("html", "strip_html", 1),
    }
    changed = next(c for c in result["changes"] if c["code"] == "html")
    assert (changed["row"], changed["before"], changed["after"]) == (3, "Where <b>are</b> you?", "Where are you?")


def test_the_overlay_can_be_replayed(shell: Shell, messy_file: Path) -> None:
    shell("fix", messy_file, "-o", "out.jsonl", "--save-overlay", "o.json")
    overlay = read_overlay(Path("o.json"))
    overlay.check(messy_file)
    replayed = validate_dataset(read_records(messy_file), overlay=overlay)
    written = validate_dataset(read_records(Path("out.jsonl")))
    assert [c.messages for c in replayed.conversations] == [c.messages for c in written.conversations]
    assert shell("fix", messy_file, "-o", "out2.jsonl", "--save-overlay", "o.json")[0] == 73


def test_what_cannot_be_fixed_is_named_and_ends_with_65(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("width,height\n" + "".join(f"{n},{n + 1}\n" for n in range(30)), "utf-8")
    code, out, _ = shell("fix", path, "-o", "out.csv")
    assert code == 65
    assert "width" in out
    assert "Nothing was written" in out
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.csv"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 64),
        (["-o", "messy.jsonl"], 64),
        (["-o", "out.csv"], 64),
        (["-o", "out.jsonl", "--only", "nonsense"], 64),
        (["-o", "out.jsonl", "--save-overlay", "messy.jsonl"], 64),
        (["-o", "there.jsonl"], 73),
        (["-o", "there.jsonl", "--force"], 0),
    ],
)
def test_it_refuses_what_it_should(shell: Shell, messy_file: Path, arguments: list[str], code: int) -> None:
    (messy_file.parent / "there.jsonl").write_text("mine")
    before = messy_file.read_bytes()
    assert shell("fix", messy_file, *arguments)[0] == code
    assert messy_file.read_bytes() == before


def test_a_missing_file_is_named(shell: Shell) -> None:
    code, _, err = shell("fix", "none.csv", "-o", "out.csv")
    assert code == 66
    assert "none.csv" in err


def test_nothing_to_fix_is_said_and_the_copy_is_written_all_the_same(shell: Shell, good_file: Path) -> None:
    code, out, _ = shell("fix", good_file, "-o", "out.jsonl")
    assert code == 0
    assert "nothing" in out
    assert Path("out.jsonl").read_bytes() == good_file.read_bytes()


def test_what_is_masked_stands_nowhere_in_the_copy_nor_on_the_screen(shell: Shell, tmp_path: Path) -> None:
    workbook = Workbook()
    sheet = workbook.worksheets[0]
    sheet.append(["问题", "答案"])
    sheet.append(["找谁？", "请找王小姐，电话 13812345678。"])
    sheet.append(["几点开门？", "上午九点。"])
    workbook.save(tmp_path / "a.xlsx")
    code, out, err = shell("fix", "a.xlsx", "-o", "b.xlsx", "--only", "personal_data,duplicate")
    assert code == 0
    assert "13812345678" not in out + err
    sheets = load_workbook(tmp_path / "b.xlsx")
    cells = [str(cell) for sheet in sheets for row in sheet.iter_rows(values_only=True) for cell in row]
    assert any("王小姐" in cell for cell in cells)
    assert not [cell for cell in cells if "13812345678" in cell]


def test_a_code_that_the_file_does_not_have_writes_nothing(shell: Shell, messy_file: Path) -> None:
    code, out, _ = shell("fix", messy_file, "-o", "out.jsonl", "--only", "mojibake", "--save-overlay", "o.json")
    assert code == 65  # the row without an answer is still there
    assert "nothing written" in out and "no mojibake" in out
    assert "What it could fix: duplicate, html, missing_answer, personal_data, conflicting_answers." in out
    assert "There is nothing here" not in out and "with -o and a file name" not in out
    assert not Path("out.jsonl").exists() and not Path("o.json").exists()
    result = last_json(shell("fix", messy_file, "-o", "out.jsonl", "--only", "mojibake", "--json")[1])
    assert (result["output"], result["num_edits"]) == (None, 0)


def test_nothing_asked_for_in_a_good_file_is_no_failure(shell: Shell, good_file: Path) -> None:
    code, out, _ = shell("fix", good_file, "-o", "out.jsonl", "--only", "html")
    assert code == 0
    assert "What it could fix: nothing" in out
    assert not Path("out.jsonl").exists()


def test_an_unknown_code_is_answered_with_those_of_the_file(shell: Shell, messy_file: Path) -> None:
    code, _, err = shell("fix", messy_file, "-o", "out.jsonl", "--only", "htlm")
    assert code == 64
    assert "htlm" in err and "html" in err.replace("htlm", "") and "personal_data" in err


def test_a_name_without_an_ending_is_answered_with_the_whole_name(shell: Shell, messy_file: Path) -> None:
    code, _, err = shell("fix", messy_file, "-o", "clean")
    assert code == 64
    assert "-o clean.jsonl" in err


@pytest.mark.parametrize(
    ("language", "plain", "parts"), [("en", "too large", "pictures"), ("zh", "太大", "图片和图形")]
)
def test_what_became_of_the_look_of_a_workbook_is_said(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, plain: str, parts: str
) -> None:
    workbook = Workbook()
    for row in (("question", "answer"), ("When?", "At <b>nine</b>."), ("Where?", "In the park.")):
        workbook.worksheets[0].append(row)
    workbook.save(tmp_path / "a.xlsx")
    _, out, _ = shell("fix", "a.xlsx", "-o", "b.xlsx", "--lang", language)
    assert plain not in out
    assert parts not in out
    with zipfile.ZipFile(tmp_path / "a.xlsx", "a") as archive:
        archive.writestr("xl/media/image1.png", "x")
    _, out, _ = shell("fix", "a.xlsx", "-o", "c.xlsx", "--json")
    result = last_json(out)
    assert (result["output_look"], result["left_out"]) == ("kept", ["pictures"])
    monkeypatch.setattr(workbook_parts, "MAX_ITEMS", 0)
    _, out, _ = shell("fix", "a.xlsx", "-o", "d.xlsx", "--lang", language)
    assert plain in out
    assert parts in out


def test_what_is_asked_for_is_fixed_besides_what_is_fixed_anyway(shell: Shell, messy_file: Path) -> None:
    assert shell("fix", messy_file, "-o", "out.jsonl", "--also", "personal_data,conflicting_answers")[0] == 0
    text = Path("out.jsonl").read_text()
    assert "[phone]" in text and "<b>" not in text and "No answer?" not in text
    assert "Five." in text and "Six." not in text
    code, _, err = shell("fix", messy_file, "-o", "b.jsonl", "--also", "nonsense")
    assert code == 64 and "nonsense" in err


def test_what_is_left_to_look_at_is_said_in_words(shell: Shell, messy_file: Path) -> None:
    _, out, _ = shell("fix", messy_file, "-o", "out.jsonl")
    title = say("data_page.kind.conflicting_answers")  # the same words as on the page
    assert "note" in out and "warning" not in out
    assert f"  {title} (conflicting_answers): 1. The same question has 2 different answers" in out
    assert "--also CODE: personal_data, conflicting_answers" in out
