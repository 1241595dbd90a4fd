"""check, prepare, compare, chat, merge, models, demo, doctor: what is printed, in which shape, with which exit code."""

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from postil.answering import ComparedAnswers, Comparison
from postil.cli.chat import Histories, _answer
from postil.cli.compare import read_questions, side_by_side
from postil.cli.models import is_here
from postil.cli.screen import Screen, byte_size, duration, own_program, shell_line
from postil.config import RunConfig
from postil.data.conversations import Message
from postil.errors import DataError, MissingInputError
from postil.export.merge import MergeReport
from postil.language import say, use_language
from postil.models.catalog import CATALOG
from postil.models.generation import Answer, Sampling
from postil.recipes.result import RunResult
from tests.cli.conftest import Shell, last_json
from tests.cli.test_train import result_in


def test_check_lists_at_most_twenty_of_a_kind_and_shows_what_was_read(shell: Shell, bad_file: Path) -> None:
    code, out, _ = shell("check", bad_file)
    assert code == 65
    assert "27 rows = 2 kept + 0 mended + 25 left out" in out
    assert f"{say('data_page.kind.missing_answer')}: 25 errors (missing_answer). " in out
    assert "\n  row 3, column 答案\n" in out
    assert "\n  row 22, column 答案\n" in out
    assert "\n  row 23, column 答案\n" not in out
    assert "5 more of this kind" in out
    assert "user: 几点开门？" in out


def test_check_of_a_good_file_ends_with_0_and_speaks_the_language_asked_for(shell: Shell, good_file: Path) -> None:
    code, out, _ = shell("check", good_file, "--lang", "zh")
    assert code == 0
    assert "没问题：12 段对话" in out


def test_check_json_is_one_object_with_every_problem(shell: Shell, bad_file: Path) -> None:
    code, out, _ = shell("check", bad_file, "--json")
    assert code == 65
    found = last_json(out)
    assert found["exit_code"] == 65
    assert found["records_in"] == found["kept"] + found["fixed"] + found["dropped"] == 27
    assert sum(p["code"] == "missing_answer" for p in found["problems"]) == 25


def test_prepare_writes_a_folder_and_refuses_to_overwrite_it(shell: Shell, good_file: Path) -> None:
    code, out, _ = shell("prepare", good_file, "-o", "prepared faq", "--model", "starter", "--json")
    assert code == 0
    found = last_json(out)
    assert found["train"] + found["heldout"] == 12
    code, _, err = shell("prepare", good_file, "-o", "prepared faq")
    assert code == 73
    assert "prepared faq" in err
    assert shell("prepare", good_file, "-o", "prepared faq", "--force")[0] == 0


def test_questions_come_from_text_or_from_any_data_file(bad_file: Path, tmp_path: Path) -> None:
    text = tmp_path / "q.txt"
    text.write_text("\ufeffHow?\n\n  Why? \nHow?\n", "utf-8")
    assert read_questions(text) == ({"How?": None, "Why?": None}, 0)
    assert read_questions(bad_file) == ({"几点开门？": "上午九点。", "怎么退货？": "七天内可退。"}, 25)
    text.write_bytes("怎么？".encode("gb18030"))
    with pytest.raises(DataError):
        read_questions(text)
    text.write_text("\n", "utf-8")
    with pytest.raises(DataError):
        read_questions(text)
    with pytest.raises(MissingInputError):
        read_questions(tmp_path / "none.txt")


def _compared(adapter: Path, questions: Sequence[str]) -> Comparison:
    rows = tuple(ComparedAnswers(q, f"base on {q}", f"tuned on {q}", True, True) for q in questions)
    return Comparison("starter", str(adapter), rows)


def test_compare_shows_both_sides_and_never_overwrites_a_page(
    shell: Shell, bad_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postil.answering.compare", _compared)
    monkeypatch.setattr("postil.cli.compare.read_manifest", lambda folder: None)
    code, out, _ = shell("compare", "adapter", "--questions", bad_file, "--html", "page.html")
    assert code == 0
    assert "base> base on 怎么退货？" in out
    assert "tuned> tuned on 怎么退货？" in out
    assert "25 rows" in out
    assert "tuned on 怎么退货？" in Path("page.html").read_text("utf-8")
    assert shell("compare", "adapter", "--questions", bad_file, "--html", "page.html")[0] == 73
    _, out, _ = shell("compare", "adapter", "--questions", bad_file, "--json")
    assert last_json(out)["answers"][0]["expected"] == "上午九点。"


class FakeTuned:
    """Answers with the number of messages it was sent, so that histories show."""

    manifest = SimpleNamespace(system="Be kind.")

    def __init__(self) -> None:
        self.sent: list[tuple[list[Message], ...]] = []

    def stream_both(
        self, base: Sequence[Message], tuned: Sequence[Message], *, sampling: Sampling
    ) -> Generator[tuple[str, str], None, dict[str, Answer]]:
        self.sent.append((list(base), list(tuned)))
        yield "base", f"B{len(base)}"
        yield "tuned", f"T{len(tuned)}"
        yield "base", "!"
        return {"base": Answer("", len(base) < 4, 1), "tuned": Answer("", True, 1)}

    def stream(self, messages: Sequence[Message], *, sampling: Sampling, side: str) -> Generator[str, None, Answer]:
        self.sent.append((list(messages),))
        yield f"{side}{len(messages)}"
        return Answer("", True, 1)


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> FakeTuned:
    """An adapter that is quick."""
    fake = FakeTuned()
    monkeypatch.setattr("postil.answering.load", lambda adapter: fake)
    monkeypatch.setattr("postil.cli.chat.read_manifest", lambda folder: None)
    return fake


class Typed(io.StringIO):
    """What somebody types at a terminal."""

    def isatty(self) -> bool:
        """True, as of a terminal."""
        return True


def _answers(out: str) -> list[str]:
    return re.findall(r"(?:base|tuned)> \w+!?", out)


def test_what_is_typed_is_one_conversation_a_side_until_it_starts_over(
    shell: Shell, tuned: FakeTuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed("one\n\ntwo\n/new\nthree\nQUIT\nnever asked\n"))
    code, out, _ = shell("chat", "adapter")
    assert code == 0
    assert _answers(out) == ["base> B2!", "tuned> T2", "base> B4!", "tuned> T4", "base> B2!", "tuned> T2"]
    assert out.count(say("answering.unfinished")) == 1  # the base's second answer ran into the limit
    base, tuned_messages = tuned.sent[1]
    assert base[0] == Message("system", "Be kind.")
    assert base[2] == Message("assistant", "B2!")
    assert tuned_messages[2] == Message("assistant", "T2")


def test_every_line_of_a_pipe_is_a_conversation_of_its_own(
    shell: Shell, tuned: FakeTuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n/etc or /usr?\nquit\nnever asked\n"))
    code, out, _ = shell("chat", "adapter")
    assert code == 0
    assert _answers(out) == ["base> B2!", "tuned> T2"] * 3
    asked = [Message("user", text) for text in ("one", "two", "/etc or /usr?")]
    assert tuned.sent == [([Message("system", "Be kind."), question],) * 2 for question in asked]


def test_a_mistyped_command_is_not_asked_but_answered_with_those_there_are(
    shell: Shell, tuned: FakeTuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed("/help me\none\n"))
    code, out, _ = shell("chat", "adapter")
    assert code == 0
    assert "There is no command /help." in out and "/new" in out
    assert [base[-1] for base, _ in tuned.sent] == [Message("user", "one")]


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_chat_with_one_side_asks_only_that_one(
    shell: Shell, tuned: FakeTuned, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one"))
    _, out, _ = shell("chat", "adapter", f"--{side}-only")
    assert f"{side}> {side}2" in out
    assert len(tuned.sent[0]) == 1


def _terminal(width: int) -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    return Screen(Console(file=file, force_terminal=True, width=width, color_system=None, highlight=False)), file


@pytest.mark.parametrize(("width", "beside"), [(100, True), (60, False)])
def test_answers_stand_beside_each_other_where_there_is_room(width: int, beside: bool) -> None:
    screen, file = _terminal(width)
    screen.show(side_by_side(screen, {"base": "不知道。" * 12, "tuned": "七天内可退。" * 8}))
    lines = file.getvalue().splitlines()
    assert ("base" in lines[0] and "tuned" in lines[0]) is beside
    assert file.getvalue().replace("\n", "").replace(" ", "").count("退") == 8  # nothing is cut off


def test_chat_streams_onto_a_terminal(tuned: FakeTuned) -> None:
    screen, file = _terminal(100)
    histories = Histories(None, ("base", "tuned"))
    histories.start_over()
    histories.add("user", {"base": "hi", "tuned": "hi"})
    fake: Any = tuned
    assert _answer(screen, fake, histories, Sampling()) == {"base": "B1!", "tuned": "T1"}
    assert "B1!" in file.getvalue()


def test_merge_says_where_the_model_is(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def merge_adapter(adapter: Path, out: Path, *, force: bool) -> MergeReport:
        return MergeReport(out, "starter", "fp32", 2_500_000, 1e-6)

    monkeypatch.setattr("postil.export.merge.merge_adapter", merge_adapter)
    monkeypatch.setattr("postil.cli.merge.read_manifest", lambda folder: None)
    code, out, err = shell("merge", "adapter", "-o", "merged", "--json")
    assert code == 0
    expected = {"model_dir": "merged", "bytes": 2_500_000, "dtype": "fp32", "logit_difference": 1e-6}
    assert last_json(out) == expected
    assert "2.5 MB" in err and "1.0e-06" in err


def test_merge_of_nothing_ends_with_66(shell: Shell) -> None:
    code, _, err = shell("merge", "no-adapter", "-o", "merged")
    assert code == 66
    assert "no-adapter" in err


@pytest.mark.parametrize("width", ["60", "80", "120"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_models_fits_the_window(shell: Shell, monkeypatch: pytest.MonkeyPatch, width: str, language: str) -> None:
    use_language("zh" if language == "zh" else "en")
    monkeypatch.setenv("COLUMNS", width)
    code, out, _ = shell("models")
    assert code == 0
    assert all(entry.name in out for entry in CATALOG)
    assert "…" not in out


def test_models_json_tells_what_fits(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.cli.models.available_memory_bytes", lambda: 3_000_000_000)
    _, out, _ = shell("models", "--json", "--device", "cpu")
    found = last_json(out)
    fits = {row["id"]: row["fits"] for row in found["models"]}
    assert fits["starter"] == "train"
    assert fits["Qwen/Qwen2.5-14B-Instruct"] == "no"
    assert found["best"] == "starter"
    assert next(row["here"] for row in found["models"] if row["id"] == "starter")


def test_a_model_is_here_when_its_weights_are_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    entry = CATALOG[2]
    assert not is_here(entry)
    snapshot = tmp_path / f"models--{entry.id.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    assert not is_here(entry)
    (snapshot / "model.safetensors").touch()
    assert is_here(entry)


def test_doctor_names_every_part_and_what_to_do(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.cli.doctor.machine", lambda device: (None, 1_000_000_000))
    code, out, _ = shell("doctor", "--json")
    assert code == 0
    findings = {f["name"]: f for f in last_json(out)["findings"]}
    assert {"versions", "processor", "threads", "gpu", "memory", "disk", "caches"} == findings.keys()
    assert findings["memory"]["state"] == "note"
    assert findings["memory"]["advice"]
    monkeypatch.setattr("postil.cli.doctor._version", lambda name: None if name == "peft" else "1")
    code, out, _ = shell("doctor")
    assert code == 69
    assert "pip install postil" in " ".join(out.split())


def test_demo_marks_what_was_not_trained(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def road(config: RunConfig, *_: object, **__: object) -> RunResult:
        return result_in(Path(config.output.dir or ""))

    monkeypatch.setattr("postil.recipes.lora_sft.train_lora", road)
    monkeypatch.setattr("postil.answering.compare", _compared)
    monkeypatch.setattr("postil.cli.compare.read_manifest", lambda folder: None)
    code, out, _ = shell("demo")
    assert code == 0
    assert len(re.findall(r"^base +tuned *$", out, re.MULTILINE)) == 5
    assert out.count("[not trained]") == 2
    assert str(Path("runs") / "demo-") in out
    _, out, _ = shell("demo", "--json")
    assert [ask["trained"] for ask in json.loads(out.splitlines()[-1])["demo"]] == [True, False, True, True, False]


def test_times_and_sizes_in_words() -> None:
    assert [duration(s) for s in (0.4, 59, 75, 7800)] == ["0 s", "59 s", "1 min 15 s", "2 h 10 min"]
    assert [byte_size(n) for n in (900, 11_000_000, 1_240_000_000, 2e12)] == ["1 kB", "11 MB", "1.2 GB", "2.0 TB"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_demo_begins_with_questions_in_the_readers_language(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setattr("postil.recipes.lora_sft.train_lora", lambda config, *_, **__: result_in(Path("runs/demo")))
    monkeypatch.setattr("postil.answering.compare", _compared)
    _, out, _ = shell("demo", "--json", "--lang", language)
    asked = [ask["language"] for ask in json.loads(out.splitlines()[-1])["demo"]]
    assert asked == sorted(asked, reverse=language == "zh")


def test_commands_to_copy_name_the_program_as_it_is_found_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "my venv" / "bin" / "postil"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(program.relative_to(tmp_path)), "demo"])
    assert shlex.split(shell_line(["postil", "web"])) == [str(Path("my venv/bin/postil")), "web"]
    monkeypatch.chdir(program.parent)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert own_program() == f".{os.sep}postil" and shell_line(["--model", "postil"]) == "--model postil"
    monkeypatch.chdir("/")
    assert own_program() == str(program.relative_to("/"))
    monkeypatch.setenv("PATH", str(program.parent))
    assert own_program() == "postil"
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert own_program() == "postil"
