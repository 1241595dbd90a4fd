"""Errors become words and exit codes; help teaches in both languages; nothing heavy is imported for a short answer."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from postil.cli.app import app, main, take_language
from postil.cli.exits import describe_failure
from postil.config import setting_paths
from postil.errors import DataError, MissingInputError, Stopped
from postil.language import CATALOGS, current_language, say, use_language
from tests.cli.conftest import Shell, last_json

VERBS = ("demo", "check", "train", "chat", "compare", "merge", "prepare", "models", "doctor")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("verb", VERBS)
def test_help_teaches_with_examples(shell: Shell, verb: str, language: str) -> None:
    use_language("zh" if language == "zh" else "en")
    code, out, _ = shell(verb, "--help")
    assert code == 0
    assert f"postil {verb}" in out
    assert ("例子" if language == "zh" else "Examples") in out
    assert "cli." not in out  # every key has become words
    assert "…" not in out.replace("……", "")  # nothing is cut off


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("verb", VERBS)
def test_examples_can_be_copied_and_are_explained_above(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, verb: str, language: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    use_language("zh" if language == "zh" else "en")
    lines = [line.strip() for line in shell(verb, "--help")[1].splitlines()]
    for example in say(f"cli.{verb}.examples").splitlines():
        command, _, comment = example.partition("  # ")
        assert command in lines
        above = lines[lines.index(command) - 1]
        assert not comment or (not above.startswith("postil") and comment.endswith(above.removeprefix("# ")))


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_road_in_the_readme_goes_on_with_the_corrected_copy(name: str) -> None:
    text = (CATALOGS.parents[1] / name).read_text("utf-8")
    commands = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("postil ")]
    copy = next(words for words in commands if words[1] == "fix")[-1]
    assert next(words for words in commands if words[1] == "train")[2] == copy
    assert copy in next(words for words in commands if words[1] == "compare")


def test_help_names_every_verb_and_every_exit_code(shell: Shell) -> None:
    _, out, _ = shell("--help")
    assert all(f"  {verb} " in out for verb in VERBS)
    assert all(re.search(rf"\b{code}\b", out) for code in (64, 65, 66, 69, 70, 73, 75, 130, 143))
    assert shell()[1].split() == out.split()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "did you mean `train`"),
        (["train", "x.csv", "--modle", "y"], "did you mean --model"),
        (["train"], "No file"),
        (["compare", "adapter"], "--questions"),
        (["train", "x.csv", "--seed", "many"], "--seed"),
        (["train", "x.csv", "--set", "epoch=3"], "training.epochs"),
        (["train", "x.csv", "--device", "gpu"], "model.device"),
        (["check", "x.csv", "--lang", "fr"], "en, zh"),
        (["chat", "adapter", "--base-only", "--tuned-only"], "exclude each other"),
    ],
)
def test_wrong_usage_ends_with_64(shell: Shell, arguments: list[str], said: str) -> None:
    code, out, err = shell(*arguments)
    assert code == 64
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_json_prints_an_error_as_one_object(shell: Shell) -> None:
    code, out, err = shell("check", "nowhere.csv", "--json")
    assert code == 66
    found = last_json(out)
    assert found["exit_code"] == 66
    assert found["error"]["code"] == "data.no_file"
    assert "nowhere.csv" in found["error"]["message"]
    assert found["error"]["message"] in err.replace("\n", " ")


def test_exit_codes_follow_the_error() -> None:
    assert describe_failure(DataError("cli.bug", kind="x", detail="y")).exit_code == 65
    assert describe_failure(MissingInputError("data.no_file", path="x")).exit_code == 66
    assert describe_failure(Stopped("cli.stopped", by_signal=15)).exit_code == 143
    assert describe_failure(KeyboardInterrupt()).exit_code == 130
    assert describe_failure(OSError(28, "No space left on device", "/data/x")).exit_code == 73
    assert describe_failure(PermissionError(13, "no", "/data/x")).exit_code == 73
    assert describe_failure(MemoryError()).exit_code == 69
    assert describe_failure(ZeroDivisionError("oh")).exit_code == 70


def test_a_fault_of_ours_is_one_plain_message_without_traceback(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, good_file: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("[bold]7[/bold]")

    monkeypatch.setattr("postil.cli.check.validate_dataset", broken)
    code, _, err = shell("check", good_file)
    assert code == 70
    assert "ZeroDivisionError: [bold]7[/bold]" in err
    assert "postil doctor --json" in err
    assert "Traceback" not in err
    monkeypatch.setenv("POSTIL_DEBUG", "1")
    assert "Traceback" in shell("check", good_file)[2]


def test_ctrl_c_ends_any_verb_with_130(shell: Shell, monkeypatch: pytest.MonkeyPatch, good_file: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("postil.cli.check.validate_dataset", interrupted)
    code, out, err = shell("check", good_file, "--json")
    assert code == 130
    assert last_json(out)["exit_code"] == 130
    assert "Stopped" in err


def test_short_answers_import_nothing_heavy(good_file: Path) -> None:
    script = (
        "import sys; from postil.cli.app import main\n"
        f"for line in (['--help'], ['--version'], ['models'], ['check', {str(good_file)!r}]): assert main(line) == 0\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PATH": ""}  # no nvidia-smi: a machine without a GPU
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True)


def test_the_module_runs_and_speaks_the_language_of_the_environment() -> None:
    environment = {**os.environ, "POSTIL_LANG": "zh", "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-m", "postil", "--help"], env=environment, capture_output=True, check=True)
    assert "用法" in done.stdout.decode()


@pytest.mark.parametrize("room", ["cli", "config"])
def test_both_catalogs_say_the_same_things(room: str) -> None:
    catalogs = {}
    for language in ("en", "zh"):
        with (CATALOGS / language / f"{room}.po").open("rb") as file:
            catalogs[language] = {str(m.id): str(m.string) for m in read_po(file) if m.id}
    assert catalogs["en"].keys() == catalogs["zh"].keys()
    for key, sentence in catalogs["en"].items():
        assert _named(sentence) == _named(catalogs["zh"][key]), key
        assert sentence, key


def _named(sentence: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", sentence))


def test_every_setting_is_explained_in_both_languages(shell: Shell) -> None:
    for language in ("en", "zh"):
        code, out, _ = shell("--lang", language, "train", "--settings")
        assert code == 0
        assert all(path in out for path in setting_paths())
    assert "学习率" in out


def test_app_is_what_the_entry_point_runs() -> None:
    assert app.info.help == "cli.help"
    assert main(["--version"]) == 0


@pytest.mark.parametrize("arguments", [["--lang", "zh", "models"], ["models", "--lang", "zh"], ["models", "--lang=zh"]])
def test_the_language_is_taken_at_any_place(arguments: list[str]) -> None:
    assert take_language(arguments) == ["models"]
    assert current_language() == "zh"


def test_what_follows_two_hyphens_is_no_option() -> None:
    assert take_language(["check", "--", "--lang", "zh"]) == ["check", "--", "--lang", "zh"]
