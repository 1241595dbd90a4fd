"""`postil profile`: figures, bars, the purpose and its override."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell, last_json


def test_profile_shows_figures_bars_and_the_purpose(shell: Shell, good_file: Path) -> None:
    code, out, _ = shell("profile", good_file)
    assert code == 0
    assert "12 conversations with 12 questions" in out
    assert "English letters 100%" in out
    assert "16-18" in out and "###" in out
    assert "questions of fact (fact_qa)" in out


def test_profile_counts_tokens_with_a_model_and_takes_the_users_word(shell: Shell, good_file: Path) -> None:
    code, out, _ = shell("profile", good_file, "--model", "starter", "--purpose", "role", "--json")
    assert code == 0
    found = last_json(out)
    assert found["conversations"] == 12
    assert found["conversation_tokens"]["unit"] == "tokens"
    assert found["suggested_max_tokens"] >= found["conversation_tokens"]["p99"]
    assert (found["purpose"], found["found_purpose"]) == ("role", "fact_qa")


def test_profile_says_what_it_left_out_and_speaks_chinese(shell: Shell, bad_file: Path) -> None:
    code, out, _ = shell("profile", bad_file, "--lang", "zh")
    assert code == 0
    assert "2 段对话" in out
    assert "25 行用不了" in out


def test_wrong_purposes_and_empty_files_are_said(shell: Shell, good_file: Path, tmp_path: Path) -> None:
    code, _, err = shell("profile", good_file, "--purpose", "poetry")
    assert code == 64
    assert "customer_service" in err
    nothing = tmp_path / "n.jsonl"
    nothing.write_text('{"q": "only a question"}\n', "utf-8")
    code, _, err = shell("profile", nothing)
    assert code == 65
    assert "n.jsonl" in err


@pytest.mark.parametrize("width", ["60", "100"])
def test_profile_of_labels_shows_how_they_are_spread(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    table = tmp_path / "labels.csv"
    rows = [f"this is text number {n} about cards,label{n % 12}" for n in range(240)]
    table.write_text("text,label\n" + "\n".join(rows) + "\n", "utf-8")
    code, out, _ = shell("profile", table)
    assert code == 0
    assert "classification" in out
    assert "3.58 of at most 3.58 bits" in " ".join(out.split())
    assert "2 more labels" in out
