"""`postil inspect`: lines, JSON and a page; exit codes as training's."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from postil.cli.inspect import Inspection
from postil.config import RunConfig
from postil.data.inspection import Counts
from postil.recipes.prepare import prepare, tokenize_file
from tests.cli.conftest import Shell, last_json

NASTY = "<script>alert(1)</script> \u202e & \"q\" 'x'"


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": NASTY}, {"role": "assistant", "content": "你好  🙂\nok"}]
    rows = [{"messages": turns * (n + 1)} for n in range(4)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_rows_are_shown_with_what_is_learned(shell: Shell, chats: Path) -> None:
    code, out, _ = shell("inspect", chats)
    assert code == 0
    assert "⟦你好··🙂↵\nok<|im_end|>⟧" in out
    assert "\nrow 1: " in out and "\nrow 3: " in out and "\nrow 4: " not in out
    assert " takes all of them.\n" in out and "99.5" not in out
    assert "kept away" not in out
    assert "teach the model to stop (<|im_end|>" in out
    code, out, _ = shell("inspect", chats, "--row", 4, "--lang", "zh")
    assert code == 0 and "\n第 4 行：" in out and "\n第 1 行：" not in out and "要学" in out


def test_json_holds_the_very_tokens_that_train(shell: Shell, chats: Path) -> None:
    code, out, _ = shell("inspect", chats, "--model", "starter", "--json")
    assert code == 0
    found = last_json(out)
    made = tokenize_file(RunConfig().replace({"data.file": str(chats)}))
    for row, example in zip(found["rows"], made.train.examples, strict=False):
        tokens = row["examples"][0]
        assert [i for t in tokens for i in t["ids"]] == list(example.input_ids)
        trained = sum(len(t["ids"]) for t in tokens if t["state"] == "trained")
        assert trained == example.num_trained_tokens == row["num_trained"]
        assert row["round_trip"] and row["stops"] == 1
    assert found["counts"]["examples"] == 4 and found["exit_code"] == 0


def test_a_length_shows_what_it_would_leave_out(shell: Shell, chats: Path) -> None:
    arguments = ("--set", "max_length_tokens=128", "--set", "too_long=keep_last", "--json")
    code, out, _ = shell("inspect", chats, "--row", 4, *arguments)
    assert code == 0
    found = last_json(out)
    assert found["counts"]["shortened"] >= 1
    assert {t["state"] for t in found["rows"][0]["left_out"]} == {"cut"}


def test_a_row_that_is_left_out_whole_says_so(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    rows = [{"instruction": "q", "response": "a" * (700 if n == 0 else 5)} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    code, out, _ = shell("inspect", path, "--set", "max_length_tokens=64")
    assert code == 0
    assert "\nrow 1: too long, not used at all; its " in out
    assert "0 tokens, 0 learned" not in out and "Left out for its length" not in out
    assert "Left out for their length: 1 conversation.\n" in out
    assert "examples that train: 3. " in out
    assert shell("inspect", path, "--set", "max_length_tokens=64", "--html")[0] == 0
    assert "row 1: too long, not used at all" in (tmp_path / "faq.tokens.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("longest", "suggested", "model_max", "said"),
    [
        (300, 256, 2048, "A length of 256 takes 99.5 % of them."),
        (250, 256, 2048, "A length of 256 takes all of them."),
        (3000, 2048, 2048, "This model reads at most 2048."),
        (3000, 2048, None, "A length of 2048 takes 99.5 % of them."),
    ],
)
def test_what_a_length_is_good_for_is_true(longest: int, suggested: int, model_max: int | None, said: str) -> None:
    counts = Counts(900, 800, 100, 9000, 3000, longest, 4096, suggested, 0, 0, 0, 0, 800)
    found = Inspection("a.csv", "starter", "starter", ("<end>",), counts, (), (), False, model_max)
    assert said in found.summary()
    assert not any("rows shown" in line for line in found.summary())  # none is


def test_the_page_is_whole_escaped_and_never_overwritten(shell: Shell, chats: Path, tmp_path: Path) -> None:
    code, out, _ = shell("inspect", chats, "--html")
    assert code == 0 and "chats.tokens.html" in out
    page = (tmp_path / "chats.tokens.html").read_text("utf-8")
    assert "<script" not in page and "\u202e" not in page
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page and 'lang="en"' in page

    class Words(HTMLParser):
        text = ""
        links = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.links += sum(name in ("src", "href") for name, _ in attrs)

        def handle_data(self, data: str) -> None:
            self.text += data

    words = Words()
    words.feed(page)
    assert "<script>alert(1)</script>·\\u202e·&" in words.text.replace("↵\n", "") and words.links == 0
    assert shell("inspect", chats, "--html")[0] == 73
    assert shell("inspect", chats, "--html", "--force", "--lang", "zh")[0] == 0
    assert 'lang="zh"' in (tmp_path / "chats.tokens.html").read_text("utf-8")
    assert shell("inspect", chats, "-o", "x.html")[0] == 64


def test_rows_that_would_stop_training_are_named_and_the_others_shown(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    rows = [{"instruction": "q1", "response": "a1"}, {"instruction": "q2", "response": "x <|im_end|>"}]
    rows += [{"instruction": "q3", "response": ""}, {"instruction": "q4", "response": "a4"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    code, out, _ = shell("inspect", path, "--json")
    found = last_json(out)
    assert code == found["exit_code"] == 65
    assert {(p["row"], p["code"]) for p in found["problems"]} >= {(2, "control_token"), (3, "missing_answer")}
    assert [row["row"] for row in found["rows"]] == [1, 4]
    refused = next(p for p in found["problems"] if p["code"] == "control_token")
    assert refused["fix"]["action"] == "break_control_tokens"
    code, out, _ = shell("inspect", path, "--set", "drop_bad=true", "--json")
    assert code == 0 and [row["row"] for row in last_json(out)["rows"]] == [1, 4]
    code, _, err = shell("inspect", path, "--row", 2)
    assert code == 65 and "row 2" in err and "<|im_end|>" in err


def test_a_prepared_folder_can_be_looked_at(shell: Shell, chats: Path, tmp_path: Path) -> None:
    prepare(RunConfig().replace({"data.file": str(chats)}), tmp_path / "ready")
    code, out, _ = shell("inspect", tmp_path / "ready", "--row", 2, "--json")
    assert code == 0
    assert last_json(out)["rows"][0]["num_trained"] > 0 and last_json(out)["rows"][0]["round_trip"]
