"""`postil check`: what a person reads, what a program reads, and which exit code."""

import csv
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from openpyxl import Workbook
from rich.console import Console

from postil.cli.check import _signs_of_life
from postil.cli.options import read_options, spell_options
from postil.cli.screen import Screen, harmless
from postil.config import Purpose as ConfigPurpose
from postil.config import RunConfig, parse_assignments
from postil.data.options import PURPOSES, ReadOptions
from postil.errors import UsageError
from tests.cli.conftest import Shell, last_json

KEYS = {"format", "kind", "encoding", "sheets", "records_in", "kept", "fixed", "dropped"}
KEYS |= {"conversations", "multi_turn", "turns", "problems", "exit_code"}


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    """A title, names in row 3, a hidden sheet, one row without an answer."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["常见问题汇总"], [], ["提问", "回复"], ["几点开门？", "九点。"], ["几点关门？", None]):
        sheet.append(row)
    old = book.create_sheet("旧表")
    old.append(["q", "a"])
    old.sheet_state = "hidden"
    path = tmp_path / "客服.xlsx"
    book.save(path)
    return path


def test_a_person_reads_what_was_found_where(shell: Shell, workbook: Path) -> None:
    code, out, _ = shell("check", workbook)
    assert code == 65
    assert "names of the columns in row 3" in out
    assert "question = 提问" in out and "answer = 回复" in out
    assert "旧表" in out
    assert "  sheet Sheet, row 5, column 回复\n" in out
    assert "(missing_answer)" in out
    assert "1 mended" not in out and "1 kept + 0 mended + 1 left out" in out
    assert "postil fix " in out and "客服-fixed.xlsx" in out


def test_a_good_file_ends_with_the_command_to_train(shell: Shell, good_file: Path) -> None:
    code, out, _ = shell("check", good_file, "--single-turn")
    assert code == 0
    assert out.rstrip().splitlines()[-1].strip() == f"postil train {good_file} --set single_turn=true"


def test_chats_are_counted_with_the_way_back_to_single_turns(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    messages = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    file.write_text((json.dumps({"messages": messages}) + "\n") * 2, "utf-8")
    _, out, _ = shell("check", file)
    assert "2 of 2 conversations are chats of several turns; 3.0 turns on average" in out
    found = last_json(shell("check", file, "--json")[1])
    assert (found["conversations"], found["multi_turn"], found["turns"]) == (2, 2, 6)
    found = last_json(shell("check", file, "--json", "--single-turn")[1])
    assert (found["conversations"], found["multi_turn"], found["turns"]) == (6, 0, 6)


def test_another_encoding_is_shown_with_the_beginning_of_the_text(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "gb.csv"
    file.write_bytes(
        "问题,答案\n请问几点开门营业？,每天上午九点开门。\n可以退货吗？,七天内可以无理由退货。\n".encode("gb18030")
    )
    _, out, _ = shell("check", file)
    assert "gb18030" in out
    assert "| 问题,答案" in out
    assert "--encoding" in out
    found = last_json(shell("check", file, "--encoding", "gbk", "--json")[1])
    assert found["conversations"] == 2


def test_columns_can_be_named(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("spalte,zeile,nr\n" + "".join(f"wie geht {n},so geht {n},{n}\n" for n in range(8)), "utf-8")
    code, out, _ = shell("check", file, "--map", "question=spalte,answer=zeile", "--json")
    assert code == 0
    assert last_json(out)["conversations"] == 8
    _, out, _ = shell("check", file, "--map", "question=spalte", "--map", "answer=zeile")
    assert f"postil train {file} --set map=question=spalte,answer=zeile" in out


@pytest.mark.parametrize("text", ["nothing", "topic=a", "question=", "=a"])
def test_a_wrong_map_or_encoding_is_a_usage_error(shell: Shell, good_file: Path, text: str) -> None:
    code, _, err = shell("check", good_file, "--map", text)
    assert code == 64
    assert "--map question=" in err
    code, _, err = shell("check", good_file, "--encoding", "hex")
    assert code == 64
    assert "gb18030" in err


def test_what_the_options_say_can_be_said_again() -> None:
    options = read_options(["question=a,b，answer=c", "system = d e"], "GBK", True)
    assert options == ReadOptions("gbk", {"question": "a,b", "answer": "c", "system": "d e"}, True)
    words = spell_options(options)
    assert read_options([words[1]], words[3], True) == options
    assignments = [word for word in spell_options(options, as_settings=True) if word != "--set"]
    data = RunConfig().replace(parse_assignments(assignments)).data
    assert ReadOptions(data.encoding, data.map, data.single_turn) == options
    assert ConfigPurpose.__args__ == PURPOSES  # type: ignore[attr-defined]
    with pytest.raises(UsageError):
        RunConfig().replace({"data.map": {"topic": "a"}})


@pytest.mark.parametrize(
    ("name", "content", "exit_code"),
    [
        ("none.csv", None, 66),
        ("empty.csv", b"", 65),
        ("broken.xlsx", b"PK\x03\x04rubbish", 65),
        ("b.bin", bytes(99), 65),
    ],
)
def test_json_is_the_whole_object_also_where_nothing_can_be_read(
    shell: Shell, tmp_path: Path, name: str, content: bytes | None, exit_code: int
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    code, out, _ = shell("check", file, "--json")
    assert code == exit_code
    (line,) = out.splitlines()
    found = json.loads(line)
    assert found.keys() >= KEYS
    assert found["exit_code"] == exit_code
    assert found["conversations"] == found["records_in"] == 0
    assert found["problems"][0]["code"] == "unreadable"
    assert name in found["problems"][0]["message"]
    assert found["error"]["message"]
    code, _, err = shell("check", file)
    assert code == exit_code
    assert name in err


def test_json_of_a_good_file_has_the_same_keys(shell: Shell, good_file: Path) -> None:
    found = last_json(shell("check", good_file, "--json")[1])
    assert found.keys() >= KEYS
    assert found["exit_code"] == 0


def test_problems_are_located_in_json(shell: Shell, workbook: Path) -> None:
    found = last_json(shell("check", workbook, "--json")[1])
    problem = next(p for p in found["problems"] if p["code"] == "missing_answer")
    assert (problem["sheet"], problem["row"], problem["column"], problem["severity"]) == ("Sheet", 5, "回复", "error")
    assert problem["message"] and problem["hint"]
    assert problem["fix"]["action"] == "drop_row"


def test_escapes_in_the_users_text_never_reach_the_terminal(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "evil.jsonl"
    evil = "\x1b]0;owned\x07\x1b[31m[bold]red[/bold]\u202e\x9b2J"
    rows = [{"question": evil, "answer": f"a{evil}"}, {"question": evil, "answer": ""}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    _, out, err = shell("check", file)
    assert not any(sign in out + err for sign in ("\x1b", "\x07", "\u202e", "\x9b"))
    assert r"\x1b[31m[bold]red[/bold]" in out
    listed = tmp_path / "list.csv"
    shell("check", file, "--all", listed)
    assert "\x1b" not in listed.read_text("utf-8-sig")


def test_harmless_leaves_plain_text_alone() -> None:
    text = "问题：\n\t第一行 👨‍👩‍👧 café"
    assert harmless(text) == text
    assert harmless("a\r\nb\rc\x00") == "a\nb\\rc\\x00"


def test_every_problem_goes_into_a_list(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("question,answer\n" + "".join(f"=1+{n},\n" for n in range(30)) + "ok?,ok then\n", "utf-8")
    code, out, _ = shell("check", file, "--all", "list.csv")
    assert code == 65
    assert "list.csv" in out and "--all problems.csv" in out
    with Path("list.csv").open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert sum(row["code"] == "missing_answer" for row in rows) == 30
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    shell("check", file, "--all", "list.json")
    assert len(json.loads(Path("list.json").read_text("utf-8"))) == len(rows)
    before = file.read_bytes()
    monkeypatch.setattr("postil.cli.check.read_records", lambda *_: pytest.fail("read before the list was looked at"))
    for taken in ("list.csv", file, "no folder/list.csv"):
        assert shell("check", file, "--all", taken)[0] == 73
    assert file.read_bytes() == before
    assert shell("check", file, "--all", "list.txt")[0] == 64


def test_standard_input_is_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.BytesIO(b'{"question": "How?", "answer": "So it is."}\n')
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=piped, isatty=lambda: False))
    code, out, _ = shell("check", "-", "--json")
    assert code == 0
    assert last_json(out)["conversations"] == 1


def test_a_terminal_shows_that_reading_goes_on() -> None:
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=True, width=80, color_system=None))
    with _signs_of_life(screen, Path("a.csv")) as seen:
        seen(12_000)
        screen.console.print("x")
    assert "a.csv" in file.getvalue()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_check_fits_the_window(shell: Shell, workbook: Path, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert shell("check", workbook, "--lang", language)[0] == 65


def test_one_column_cannot_have_two_purposes(shell: Shell, good_file: Path) -> None:
    assert shell("check", good_file, "--map", "question=instruction,answer=instruction")[0] == 64


def test_a_way_out_is_shown_where_nothing_can_train_yet(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(
        "客服：您好！\n客户：几点开门？\n客服：九点。\n客户：谢谢\n客服：再见。\n", "utf-8"
    )
    code, out, _ = shell("check", "log.txt")
    assert code == 65
    assert "postil fix log.txt -o log-fixed.txt" in out
    assert shell("fix", "log.txt", "-o", "log-fixed.txt")[0] == 0
    assert shell("check", "log-fixed.txt")[0] == 0


@pytest.mark.parametrize("verb", [("check",), ("fix", "--dry-run"), ("profile",), ("inspect",), ("train",)])
def test_a_column_that_is_nowhere_is_said_before_anything_else(shell: Shell, tmp_path: Path, verb: tuple[str]) -> None:
    (tmp_path / "t.csv").write_text("question,answer,note\n" + "".join(f"q {n}?,a {n}.,x\n" for n in range(9)), "utf-8")
    rows = [{"ask": f"q {n}?", "reply": f"a {n}."} for n in range(9)]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for file, wrong, near, columns in (
        ("t.csv", "question=qestion,answer=answer", "did you mean `question`", "question, answer, note"),
        ("r.jsonl", "question=ask,answer=Antwort", "no column `Antwort`", "ask, reply"),
    ):
        map_option = ["--set", f"map={wrong}"] if verb[0] in ("inspect", "train") else ["--map", wrong]
        code, out, err = shell(verb[0], file, *verb[1:], *map_option)
        assert (code, out) == (64, "")
        assert near in err and f"The columns are: {columns}." in err


def test_a_column_may_be_a_letter_or_in_some_records_or_sheets_only(
    shell: Shell, workbook: Path, tmp_path: Path
) -> None:
    assert shell("check", workbook, "--map", "question=A,answer=B")[0] == 65
    rows = [{"ask": "q1?", "said": "a1."}, {"Ask": "q2?", "reply": "a2."}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert shell("check", "r.jsonl", "--map", "question=ask,answer=reply")[0] != 64
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.csv").write_text("x,y\n1,2\n", "utf-8")
    (folder / "b.csv").write_text("frage,antwort\nWann offen?,Um neun.\n", "utf-8")
    assert shell("check", folder, "--map", "question=frage,answer=antwort")[0] == 0
    code, _, err = shell("check", folder, "--map", "question=Frag,answer=antwort")
    assert code == 64 and "did you mean `frage`" in err


def test_places_are_said_in_words_and_rows_are_named(shell: Shell, tmp_path: Path) -> None:
    rows = [{"question": f"q {n}?", "answer": f"a {n}. " if n < 11 else f"a {n}."} for n in range(12)]
    for name in ("a.jsonl", "folder/a.jsonl", "folder/b.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    _, out, _ = shell("check", "a.jsonl")
    assert "\n  rows 1, 2, 3, 4, 5, 6, 7, 8 and 3 more\n" in out
    assert "An example (row 1), as it is read:" in out
    _, out, _ = shell("check", "a.jsonl", "--lang", "zh")
    assert "\n  第 1、2、3、4、5、6、7、8 行，另有 3 处\n" in out
    assert "  用户：q 0?\n  助手：a 0." in out and "user:" not in out
    _, out, _ = shell("check", "folder", "--lang", "en")
    assert "a.jsonl, row 1; a.jsonl, row 2" in out
    assert "An example (a.jsonl, row 1)" in out
    (tmp_path / "bad.csv").write_text("question,answer\nq1?,a1.\nq2?,\n", "utf-8")
    assert "\n  第 3 行，“answer”列\n" in shell("check", "bad.csv", "--lang", "zh")[1]


def test_what_was_piped_in_is_to_be_saved_first(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.BytesIO(b"question,answer\nWhen do you open?,At nine.\nAnd on Sunday?,\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=piped, isatty=lambda: False))
    code, out, _ = shell("check", "-")
    assert code == 65
    assert "`postil check faq.csv`, then `postil fix`" in out


def test_one_is_not_several(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("question,answer\nWhen do you open?, At nine.\n", "utf-8")
    _, out, _ = shell("check", "one.csv")
    assert "1 row = 1 kept" in out and "1 conversation can be trained" in out and "in 1 row: Trim" in out
    assert "1 entry;" in out


def test_columns_that_are_not_read_are_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("分类,问题,答案,日期\n甲,几点开门？,九点。,5\n", "utf-8")
    _, out, _ = shell("check", "a.csv", "--lang", "zh")
    assert "没有读取的列：分类, 日期" in out
    (reading,) = last_json(shell("check", "a.csv", "--json")[1])["readings"]
    assert reading["unread"] == ["分类", "日期"]
    (tmp_path / "b.csv").write_text("question,answer\nWhen?,At nine.\n", "utf-8")
    assert "not read" not in shell("check", "b.csv")[1]
