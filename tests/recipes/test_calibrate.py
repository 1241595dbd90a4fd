"""A few real steps of the starter, in a process of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from postil.advice.estimate import estimate_run
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.rates import Rates
from postil.config import check_config
from postil.errors import UsageError
from postil.recipes.calibrate import main, read_spec

DEMO = Path(__file__).parents[2] / "postil" / "demo" / "shop.csv"


def spec(folder: Path, **values: Any) -> Path:
    path = folder / "spec.json"
    path.write_text(json.dumps(values), "utf-8")
    return path


def test_a_child_answers_in_one_line_that_an_estimate_can_be_made_of(tmp_path: Path) -> None:
    path = spec(tmp_path, config={"data": {"file": str(DEMO)}}, seconds=0.5, threads=1)
    command = [sys.executable, "-m", "postil.recipes.calibrate", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    data, base, rates = (
        kind.from_dict(found[name])
        for kind, name in ((DataFacts, "data"), (BaseFacts, "base"), (Rates, "rates"))  # type: ignore[attr-defined]
    )
    assert (data.rows, data.heldout_rows, data.kind) == (77, 19, "customer_service")
    assert len(found["tokens_per_row"]) == data.rows and sum(found["tokens_per_row"]) == data.tokens
    assert rates.is_measured and rates.peak_memory_bytes is not None and rates.peak_memory_bytes > 200e6
    assert 0 < rates.step_tokens_per_second.low <= rates.step_tokens_per_second.high
    estimate = estimate_run(data, base, check_config(found["config"]), rates)
    assert estimate.steps == found["recommendation"]["steps"] == 140
    assert 2 < estimate.seconds.low < estimate.seconds.high < 1000


def test_what_is_wrong_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"instruction": "q", "response": "a"}\n{"instruction": "", "response": ""}\n', "utf-8")
    assert main([str(spec(tmp_path, config={"data": {"file": str(bad)}}))]) == 65
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 65 and error["problems"] and error["hint"]
    assert main([str(tmp_path / "none.json")]) == 64
    assert json.loads(capsys.readouterr().out)["error"]["key"] == "recipes.bad_spec"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"config": []},
        {"config": {}, "second": 3},
        {"config": {}, "seconds": 0},
        {"config": {}, "threads": 0},
        {"config": {"data": {"fil": "x"}}},
    ],
)
def test_a_spec_with_a_slip_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        read_spec(spec(tmp_path, **values))
