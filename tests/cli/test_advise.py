"""`postil advise`: kind, settings with reasons, and what they take."""

import shlex
from pathlib import Path

import pytest

from postil.config import load_config
from tests.cli.conftest import Shell, last_json

EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO = Path(__file__).parents[2] / "postil" / "demo" / "shop.csv"


def test_advice_on_this_machine_is_measured(shell: Shell) -> None:
    code, out, err = shell("advise", DEMO, "--json")
    assert code == 0, err
    found = last_json(out)
    assert (found["kind"], found["steps"]) == ("customer_service", 140)
    estimate = found["estimate"]
    assert estimate["is_measured"] and estimate["price_micro"] == 0
    assert 0 < estimate["seconds"]["low"] < estimate["seconds"]["high"]
    assert "training.epochs = 14" in err and "customer service (customer_service)" in err
    assert "postil train" in err


def test_a_card_that_is_not_here_is_worked_out_and_says_so(shell: Shell) -> None:
    command = ("advise", EXAMPLES / "product_copy.csv", "--model", "Qwen/Qwen2.5-14B-Instruct")
    code, out, _ = shell(*command, "--on", "a100", "--hourly", "10", "--lang", "zh")
    assert code == 0
    assert "文案写作（copywriting）" in out
    assert "未经实测" in out and "每小时 10.00" in out and "A100" in out


def test_a_base_that_does_not_fit_the_card_is_said(shell: Shell) -> None:
    code, out, _ = shell("advise", DEMO, "--model", "Qwen/Qwen2.5-14B-Instruct", "--on", "4090", "--json")
    found = last_json(out)
    assert code == 0 and found["fits"] is False and found["estimate"]["is_measured"] is False


def test_a_base_that_is_not_here_gets_settings_but_no_estimate(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = shell("advise", DEMO, "--model", "Qwen/Qwen3-0.6B", "--json")
    found = last_json(out)
    assert code == 0 and found["estimate"] is None and found["settings"]
    assert "not on this machine" in err and "--on" in err


def test_a_file_with_errors_is_mended_or_trained_without_them(shell: Shell, bad_file: Path) -> None:
    command = ("advise", bad_file, "--model", "Qwen/Qwen3-4B", "--on", "h200")
    code, out, _ = shell(*command, "--map", "question=问题,answer=答案")
    fix, train = [shlex.split(line) for line in out.splitlines() if line.startswith("  postil ")]
    assert code == 0 and "25 rows have errors and stop a training" in out
    copy = str(bad_file.with_name("bad file-fixed.csv"))
    assert shlex.join(["postil", "check", str(bad_file)]) in out  # quoted, for the blank in its name
    assert fix == ["postil", "fix", str(bad_file), "--map", "question=问题,answer=答案", "-o", copy]
    assert train[:3] == ["postil", "train", str(bad_file)] and train[-1] == "--drop-bad"
    assert "map=question=问题,answer=答案" in train
    _, out, _ = shell("advise", DEMO, "--model", "Qwen/Qwen3-4B", "--on", "h200")
    assert "postil fix" not in out and "--drop-bad" not in out


def test_the_users_kind_and_preset_decide(shell: Shell) -> None:
    arguments = ("--model", "Qwen/Qwen3-4B", "--on", "h200", "--json")
    _, out, err = shell("advise", DEMO, "--kind", "role", "--preset", "quick", *arguments)
    found = last_json(out)
    assert (found["kind"], found["found_kind"], found["preset"]) == ("role", "customer_service", "quick")
    assert "As you said" in err and "--set kind=role --set preset=quick" in err
    values = {s["name"]: s["value"] for s in found["settings"]}
    assert (values["training.epochs"], values["adapter.rank"]) == (3, 8)


def test_yaml_is_what_train_reads(shell: Shell, tmp_path: Path) -> None:
    _, out, err = shell("advise", DEMO, "--model", "Qwen/Qwen3-4B", "--on", "h200", "--set", "seed=7", "--yaml")
    path = tmp_path / "run.yaml"
    path.write_text(out, "utf-8")
    config = load_config(path)
    assert (config.model.base, config.training.seed, config.data.file) == ("Qwen/Qwen3-4B", 7, str(DEMO))
    assert config.training.epochs == 8 and config.adapter.rank == 16
    assert "  # 77 rows usually want 8 passes" in out and "Next" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--kind", "poetry"), "customer_service"),
        (("--preset", "best"), "thorough"),
        (("--on", "tpu"), "4090"),
        (("--on", "a100", "--hourly", "much"), "much"),
        (("--on", "a100", "--hourly", "-1"), "-1"),
    ],
)
def test_slips_are_said(shell: Shell, arguments: tuple[str, ...], named: str) -> None:
    code, _, err = shell("advise", DEMO, *arguments)
    assert code == 64 and named in err


def test_a_file_that_is_not_there_and_one_that_cannot_train(shell: Shell, tmp_path: Path) -> None:
    assert shell("advise", tmp_path / "none.csv")[0] == 66
    empty = tmp_path / "e.jsonl"
    empty.write_text('{"instruction": "", "response": ""}\n', "utf-8")
    for more in ((), ("--on", "a100")):
        code, _, err = shell("advise", empty, *more)
        assert code == 65 and "e.jsonl" in err
