"""What the shell's tests share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postil.cli.app import main

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """Runs a command line in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("POSTIL_DEBUG", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(a) for a in arguments])
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def good_file(tmp_path: Path) -> Path:
    """Twelve questions with answers."""
    path = tmp_path / "faq.jsonl"
    rows = [{"instruction": f"Where is shelf {n}?", "response": f"Shelf {n} is in row {n % 4}."} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    """Two good rows, 25 without an answer."""
    path = tmp_path / "bad file.csv"
    lines = ["问题,答案", "几点开门？,上午九点。", *(f"第 {n} 个问题？," for n in range(25)), "怎么退货？,七天内可退。"]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def last_json(text: str) -> Any:
    """The object that ends machine-readable output; every line before it must be JSON, too."""
    return [json.loads(line) for line in text.splitlines()][-1]
