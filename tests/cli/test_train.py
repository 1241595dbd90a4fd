"""`postil train`: settings reach the recipe, events reach the eye, every end says what comes next."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from postil import events
from postil.cli.run_view import RunView
from postil.cli.screen import Screen
from postil.cli.stopping import stop_on_signals
from postil.config import RunConfig
from postil.data.splits import MIN_ROWS_TO_SPLIT
from postil.data.validation import FEW_ROWS
from postil.errors import DataError, Stopped, UsageError
from postil.evaluation.report import EvaluationReport
from postil.evaluation.verdict import FEWEST_QUESTIONS, WEAK_ROWS
from postil.events import Report, ShouldStop
from postil.language import LANGUAGES, Language, say, use_language
from postil.problems import Place, Problem
from postil.recipes.result import RunResult
from tests.cli.conftest import Shell, last_json

Recipe = Callable[..., RunResult]


def result_in(run_dir: Path) -> RunResult:
    """What a small good run hands back."""
    evaluation = EvaluationReport(3.0, 1.5, (1.2, 1.8), "better", False, 12, 0, 9, 1, ())
    return RunResult(run_dir, run_dir / "adapter", 20, 0.4, 3.0, 1.5, "better", 65.0, evaluation)


def report_a_run(report: Report, run_dir: Path) -> None:
    """The events of one, in order."""
    report(events.PhaseStarted(phase="read"))
    counts = {"records_in": 12, "kept": 11, "fixed": 0, "dropped": 1, "num_errors": 1, "num_warnings": 0}
    report(events.DataRead(file="faq.csv", format="csv", **counts))
    report(events.DataSplit(train=9, heldout=2, heldout_questions=2))
    report(events.PhaseStarted(phase="load"))
    places = [f"faq.csv:{n}" for n in range(23)]
    lengths = {"longest": 70, "max_length_tokens": 64, "changed_by_template": 0}
    report(events.Tokenized(tokens=900, trained_tokens=300, too_long=places, **lengths))
    sizes = {"base_parameters": 5_000_000, "trainable_parameters": 100_000}
    report(events.ModelLoaded(base="starter", device="cpu", dtype="fp32", **sizes))
    report(events.PhaseStarted(phase="train"))
    report(events.TrainingPlanned(steps=20, first_step=0, epochs=8.0, batch_rows=4, learning_rate=1e-3))
    speed = {"tokens": 90, "trained_tokens": 30, "tokens_per_second": 1234.5, "seconds_left": 75.0}
    report(events.Forecast(seconds_low=32.0, seconds_high=79.0))
    report(events.StepDone(step=10, steps=20, loss=2.345, learning_rate=1e-3, grad_norm=1.0, **speed))
    sample = events.Sample(question="Q?", expected="A.", answer="B.")
    report(events.HeldoutMeasured(step=10, loss=2.0, samples=[sample]))
    report(events.CheckpointSaved(step=10, path=str(run_dir / "checkpoints" / "step-10")))
    report(events.Warned(key="recipes.weak", message="few [rows]"))


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, bool]]:
    """Stands in for the road; returns the list of its calls."""
    calls: list[tuple[RunConfig, bool]] = []

    def road(config: RunConfig, report: Report, should_stop: ShouldStop, *, resume: bool, **_: object) -> RunResult:
        calls.append((config, resume))
        run_dir = Path(config.output.dir or "runs/new run")
        report_a_run(report, run_dir)
        return result_in(run_dir)

    monkeypatch.setattr("postil.recipes.lora_sft.train_lora", road)
    return calls


def test_flags_go_over_the_file_and_set_goes_over_both(
    shell: Shell, recipe: list[tuple[RunConfig, bool]], good_file: Path
) -> None:
    Path("run.yaml").write_text("training: {seed: 1, epochs: 3}\nadapter: {rank: 4}\n", "utf-8")
    line = ["train", good_file, "--config", "run.yaml", "--seed", 2, "--set", "rank=8", "--set", "training.log_every=5"]
    code, _, _ = shell(*line, "-o", "runs/a", "--drop-bad", "--offline", "--model", "some/base", "--hub", "modelscope")
    assert code == 0
    config, resume = recipe[0]
    assert not resume
    assert (config.training.seed, config.training.epochs, config.training.log_every) == (2, 3, 5)
    assert (config.adapter.rank, config.data.file, config.output.dir) == (8, str(good_file), "runs/a")
    assert (config.model.base, config.model.hub, config.model.offline, config.data.drop_bad) == (
        "some/base",
        "modelscope",
        True,
        True,
    )


def test_shows_the_ledger_the_share_the_progress_and_the_verdict(
    shell: Shell, recipe: list[tuple[RunConfig, bool]], good_file: Path
) -> None:
    code, out, _ = shell("train", good_file)
    assert code == 0
    assert "12 rows = 11 kept + 0 mended + 1 left out" in out
    assert "100,000 (1.96%)" in out
    assert out.index("Forecast: 32-79 s for the whole run.") < out.index("Step 10 of 20")
    assert "Step 10 of 20 (50%), 1 min 15 s left, loss 2.345, 1,234 tokens/s" in out
    assert "faq.csv:19 (+3)" in out  # at most 20 places, the rest counted
    assert "Note: few [rows]" in out
    assert "Better" in out
    assert "base 3.000, tuned 1.500" in out
    assert "question: Q?" not in out
    assert "question: Q?" in shell("train", good_file, "--samples")[1]


def test_without_a_model_says_that_the_starter_is_a_toy(
    shell: Shell, recipe: list[tuple[RunConfig, bool]], good_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postil.cli.models.available_memory_bytes", lambda: 64_000_000_000)
    _, out, _ = shell("train", good_file)
    assert "toy" in out
    assert "--model Qwen/" in out
    assert "toy" not in shell("train", good_file, "--model", "starter")[1]


def test_ends_with_three_commands_that_a_shell_can_read(
    shell: Shell, recipe: list[tuple[RunConfig, bool]], good_file: Path
) -> None:
    _, out, _ = shell("train", good_file)
    commands = [shlex.split(line) for line in out.splitlines() if line.startswith("  postil ")]
    adapter = str(Path("runs/new run/adapter"))
    assert commands == [
        ["postil", "chat", adapter],
        ["postil", "compare", adapter, "--questions", str(good_file)],
        ["postil", "merge", adapter, "-o", str(Path("runs/new run/merged"))],
    ]


def test_json_gives_every_event_and_ends_with_the_result(
    shell: Shell, recipe: list[tuple[RunConfig, bool]], good_file: Path
) -> None:
    code, out, err = shell("train", good_file, "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines[:2]] == ["phase_started", "data_read"]
    wanted = {"run_dir", "adapter_dir", "steps", "train_loss", "heldout_loss_base", "heldout_loss_tuned", "verdict"}
    assert wanted | {"seconds"} <= lines[-1].keys()
    assert sum("verdict" in line for line in lines) == 1
    assert "Better" in err


def test_quiet_keeps_warnings_and_the_result(
    shell: Shell, recipe: list[tuple[RunConfig, bool]], good_file: Path
) -> None:
    _, out, _ = shell("train", good_file, "--quiet")
    assert "Step 10" not in out
    assert "few [rows]" in out
    assert "Better" in out


@pytest.mark.parametrize("width", [60, 100])
def test_on_a_terminal_a_bar_with_percent_time_left_loss_and_speed(width: int, tmp_path: Path) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None, highlight=False)
    with RunView(Screen(console)) as view:
        report_a_run(view.report, tmp_path / "run")
    assert view.run_dir == tmp_path / "run"
    assert view.has_checkpoint
    shown = file.getvalue()
    assert "50 %" in shown
    assert "1 min 15 s left" in " ".join(shown.split())
    assert "Step 10 of 20" not in shown  # the bar says it


def test_speaks_chinese(shell: Shell, recipe: list[tuple[RunConfig, bool]], good_file: Path) -> None:
    use_language("zh")
    _, out, _ = shell("train", good_file)
    assert "第 10/20 步（50%），还剩 1 分 15 秒" in out
    assert "接下来可以：" in out


def _road_that_raises(error: Exception, run_dir: Path) -> Recipe:
    def road(config: RunConfig, report: Report, should_stop: ShouldStop, *, resume: bool, **_: object) -> RunResult:
        report_a_run(report, run_dir)
        raise error

    return road


def test_a_stop_prints_the_command_that_resumes(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_dir, file = Path("runs/it's mine"), tmp_path / "my file.csv"
    file.write_text("question,answer\n1,2\n", "utf-8")
    road = _road_that_raises(Stopped("cli.stopped", by_signal=2), run_dir)
    monkeypatch.setattr("postil.recipes.lora_sft.train_lora", road)
    code, _, err = shell("train", file)
    assert code == 130
    command = shlex.split(err.splitlines()[-1])
    assert command == ["postil", "train", str(file), "-o", str(run_dir), "--resume"]
    code, out, _ = shell("train", file, "--json")
    assert shlex.split(last_json(out)["resume"]) == command


def test_a_wrong_command_is_not_answered_with_another_one(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, good_file: Path
) -> None:
    road = _road_that_raises(UsageError("cli.train.no_file"), Path("runs/x"))
    monkeypatch.setattr("postil.recipes.lora_sft.train_lora", road)
    code, _, err = shell("train", good_file)
    assert code == 64
    assert "--resume" not in err


def test_without_held_out_rows_no_answers_are_announced() -> None:
    file = io.StringIO()
    view = RunView(Screen(Console(file=file, width=200)))
    view.report(events.DataSplit(train=29, heldout=0, heldout_questions=0))
    view.report(events.PhaseStarted(phase="evaluate"))
    assert "that takes 30 or more" in file.getvalue()
    assert "Answering" not in file.getvalue()
    view.report(events.DataSplit(train=60, heldout=0, heldout_questions=0))  # the settings hold nothing out
    assert file.getvalue().count("that takes") == 1
    view.report(events.DataSplit(train=1, heldout=1, heldout_questions=1))
    view.report(events.PhaseStarted(phase="evaluate"))
    assert "1 conversation to train on; 1 held out to measure the result (1 question)." in file.getvalue()
    assert "Answering" in file.getvalue()


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said_of_the_numbers_of_rows_is_so(language: Language) -> None:
    use_language(language)
    hint = say("problems.too_few_rows.hint")
    assert str(MIN_ROWS_TO_SPLIT) in hint and str(WEAK_ROWS) in hint
    assert str(FEW_ROWS) in say("problems.too_few_rows", rows=7, enough=FEW_ROWS)
    assert str(MIN_ROWS_TO_SPLIT) in say("evaluation.too_few", found=0, needed=FEWEST_QUESTIONS)


def test_bad_rows_are_listed_and_counted_with_65(shell: Shell, bad_file: Path) -> None:
    code, _, err = shell("train", bad_file)
    assert code == 65
    assert err.count("\n  row ") == 20 and err.count(", column 答案\n") == 20
    assert "bad file.csv: 25 rows cannot be trained" in err
    assert "5 more of this kind" in err
    assert "--drop-bad" in err


def test_on_a_terminal_asks_once_whether_to_leave_out_bad_rows(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, good_file: Path
) -> None:
    seen: list[bool] = []
    place = Place("faq.csv", 3)

    def road(config: RunConfig, report: Report, should_stop: ShouldStop, *, resume: bool, **_: object) -> RunResult:
        seen.append(config.data.drop_bad)
        if not config.data.drop_bad:
            raise DataError("cli.train.no_file", problems=[Problem("missing_answer", "error", place)])
        return result_in(Path("runs/x"))

    monkeypatch.setattr("postil.recipes.lora_sft.train_lora", road)
    monkeypatch.setattr("postil.cli.screen.Screen.can_ask", True)
    answers: list[Any] = ["n", "y"]
    asked: list[str] = []

    def answer(self: object, question: str, **_: object) -> str:
        asked.append(question)
        return str(answers.pop(0))

    monkeypatch.setattr("rich.console.Console.input", answer)
    assert shell("train", good_file)[0] == 65
    assert shell("train", good_file)[0] == 0
    assert seen == [False, False, True]
    assert len(asked) == 2
    assert "1 " in asked[0]


def test_the_first_signal_sets_the_flag_and_the_second_stops_at_once() -> None:
    told: list[int] = []
    with pytest.raises(Stopped) as stopped, stop_on_signals(lambda: told.append(1)) as flag:
        flag.can_finish_step = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.asked()
        assert told == [1]
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the second signal must end the block")
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_outside_of_training_the_first_signal_stops_at_once() -> None:
    with pytest.raises(Stopped) as stopped, stop_on_signals(lambda: None):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("nothing would be saved by waiting")
    assert stopped.value.exit_code == 130


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_ctrl_c_in_training_saves_and_the_printed_command_goes_on(good_file: Path, tmp_path: Path) -> None:
    settings = ["training.log_every=1", "training.max_steps=30", "evaluation.max_answers=0", "evaluation.num_samples=0"]
    line = [sys.executable, "-m", "postil", "train", str(good_file), "-o", "my run", "--model", "starter"]
    line += [word for setting in settings for word in ("--set", setting)]
    environment = {**os.environ, "POSTIL_LANG": "en", "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": tmp_path}
    with subprocess.Popen(line, env=environment, **pipes) as process:
        assert process.stdout is not None
        out = next(text for text in process.stdout if text.startswith("Step 2 "))
        process.send_signal(signal.SIGINT)
        out += process.stdout.read()
    assert process.returncode == 130, out
    assert "Traceback" not in out
    command = shlex.split(out.splitlines()[-1])
    assert command == ["postil", "train", str(good_file), "-o", "my run", "--resume"]
    started = time.monotonic()
    again = [sys.executable, "-m", "postil", *command[1:], "--json"]
    done = subprocess.run(again, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    planned = [json.loads(text) for text in done.stdout.splitlines()]
    assert next(e for e in planned if e.get("event") == "training_planned")["first_step"] >= 2
    assert planned[-1]["steps"] == 30
    assert time.monotonic() - started < 200


def test_a_run_that_is_finished_is_not_done_again(shell: Shell, good_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "result.json").write_text('{"steps": 7, "verdict": "better"}', "utf-8")
    code, out, _ = shell("train", good_file, "-o", run, "--resume")
    assert code == 0
    assert "finished already" in out
    assert shlex.join(["postil", "chat", str(run / "adapter")]) in out
    _, out, _ = shell("train", good_file, "-o", run, "--resume", "--json")
    assert last_json(out) == {"steps": 7, "verdict": "better"}


def test_a_missing_file_is_said_before_anything_is_loaded(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "postil.recipes.lora_sft", None)  # importing it would fail
    assert shell("train", "nowhere.xlsx")[0] == 66
