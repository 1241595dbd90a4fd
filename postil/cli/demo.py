"""`postil demo`: the whole road in a minute, on an example inside the package."""

import json
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from rich.rule import Rule

from postil.cli.compare import show_answers
from postil.cli.options import AsJson
from postil.cli.screen import open_screen, shell_line
from postil.cli.train import run_road, show_result
from postil.config import RunConfig
from postil.language import Language, current_language, say

EXAMPLE = Path(__file__).parents[1] / "demo"


class AskedQuestion(TypedDict):
    """A question of `ask.json`; `trained` is False where the wording is not in the data."""

    question: str
    language: Language
    trained: bool


def demo(as_json: AsJson = False) -> None:
    """Trains on the example, then asks five questions."""
    screen = open_screen(as_json)
    screen.say("cli.demo.begin", "bold")
    data, run_dir = EXAMPLE / "shop.csv", Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    config = RunConfig().replace({"data.file": str(data), "output.dir": str(run_dir)})
    result = run_road(config, screen)
    from postil.answering import compare

    asked: list[AskedQuestion] = json.loads((EXAMPLE / "ask.json").read_text("utf-8"))
    asked.sort(key=lambda ask: ask["language"] != current_language())  # those that the reader can read come first
    comparison = compare(result.adapter_dir, [ask["question"] for ask in asked])
    answers = []
    for ask, row in zip(asked, comparison.rows, strict=True):
        mark = "" if ask["trained"] else say("cli.demo.not_trained")
        show_answers(screen, row.question, row.base, row.tuned, mark=mark, always_beside=True)
        answers.append({**ask, "base": row.base, "tuned": row.tuned})
    screen.show(Rule(style="dim"))
    screen.say("cli.demo.explain", "dim")
    show_result(screen, result, data)
    screen.say("cli.demo.next", command=shell_line(["postil", "web"]))
    screen.result({**result.as_dict(), "demo": answers})
