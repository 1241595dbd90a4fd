"""`postil train`: from a file of questions and answers to a tested adapter."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from postil.cli.options import AsJson, Device, Force, Hub, Offline, Quiet, check_mapped_columns
from postil.cli.prose import Prose
from postil.cli.run_view import RunView, show_evaluation
from postil.cli.screen import Screen, duration, open_screen, shell_line, show_problems
from postil.cli.stopping import stop_on_signals
from postil.config import RunConfig, load_config, parse_assignments, setting_paths
from postil.errors import DataError, MissingInputError, PostilError, UsageError
from postil.language import current_language, say

if TYPE_CHECKING:
    from postil.recipes.result import RunResult


def show_settings(asked: bool) -> None:
    """Lists every setting with its default and its sentence, then ends."""
    if not asked:
        return
    screen, defaults = open_screen(), RunConfig().model_dump(mode="json")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(no_wrap=True)
    table.add_column()
    for path, sentence in setting_paths().items():
        part, _, name = path.partition(".")
        words = sentence if current_language() == "en" else say(f"config.{path}")
        table.add_row(path, _plain(defaults[part][name]), Prose(words))
    screen.show(table)
    raise typer.Exit


def _plain(value: Any) -> str:
    return "-" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def train(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="cli.train.file")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="cli.train.model")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="cli.train.output")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="cli.train.resume")] = False,
    force: Force = False,
    config: Annotated[Path | None, typer.Option("--config", "-c", metavar="YAML", help="cli.train.config")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="cli.train.set", show_default=False)
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="cli.train.settings", callback=show_settings, is_eager=True)
    ] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="cli.train.drop_bad")] = False,
    samples: Annotated[bool, typer.Option("--samples", help="cli.train.samples")] = False,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="cli.train.seed")] = None,
    device: Device = None,
    hub: Hub = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Trains an adapter and measures it."""
    flags = {
        "data.file": None if file is None else str(file),
        "data.drop_bad": drop_bad or None,
        "model.base": model,
        "model.device": device,
        "model.hub": hub,
        "model.offline": offline or None,
        "training.seed": seed,
        "output.dir": None if output is None else str(output),
        "output.force": force or None,
    }
    chosen = load_config(config) if config else RunConfig()
    chosen = chosen.replace({name: value for name, value in flags.items() if value is not None})
    chosen = chosen.replace(parse_assignments(assignments or []))
    if chosen.data.file is None:
        raise UsageError("cli.train.no_file")
    screen = open_screen(as_json, quiet)
    if "WORLD_SIZE" in os.environ and int(os.environ.get("RANK", "0")) > 0:  # of a torchrun; others set RANK alone
        if not (resume and _is_finished(chosen)):
            _help_first()
        return
    if resume and show_finished(screen, chosen):
        return
    if not Path(chosen.data.file).exists() and not resume:  # said before the seconds that loading takes
        raise MissingInputError("data.no_file", path=chosen.data.file)
    check_mapped_columns(chosen.data)
    if chosen.model.base == "starter" and model is None and not resume:
        _say_that_starter_is_a_toy(screen, chosen)
    result = _train_or_ask(chosen, screen, resume=resume, samples=samples)
    show_result(screen, result, Path(chosen.data.file))
    screen.result(result.as_dict())


def _help_first() -> None:
    """The part of a worker that is not the first, which speaks for all."""
    from postil.recipes.helping import help_train
    from postil.training.workers import joined_workers

    with joined_workers() as workers:
        help_train(workers)


def _is_finished(config: RunConfig) -> bool:
    return bool(config.output.dir) and (Path(config.output.dir or "") / "result.json").is_file()


def show_finished(screen: Screen, config: RunConfig) -> bool:
    """Says so when the run that should go on is complete already."""
    folder = Path(config.output.dir or "")
    if not _is_finished(config):
        return False
    result = json.loads((folder / "result.json").read_text("utf-8"))
    screen.say("cli.train.finished", "bold", path=folder, steps=result["steps"])
    screen.say(f"evaluation.verdict.{result['verdict']}")
    screen.say("cli.result.next", "bold")
    for arguments in next_commands(folder / "adapter", folder, Path(config.data.file or "")):
        screen.command(*arguments)
    screen.result(result)
    return True


def _say_that_starter_is_a_toy(screen: Screen, config: RunConfig) -> None:
    from postil.cli.models import best_base_here

    screen.note("cli.train.toy", "yellow")
    best = best_base_here(config.model.device)
    if best.id != config.model.base:
        screen.note("cli.train.better_base", "yellow", base=best.id, option=shell_line(["--model", best.id]))


def _train_or_ask(config: RunConfig, screen: Screen, *, resume: bool, samples: bool) -> "RunResult":
    """Runs; when rows are bad and a person watches, asks once whether to leave them out."""
    try:
        return run_road(config, screen, resume=resume, samples=samples)
    except DataError as error:
        if config.data.drop_bad or not error.problems or not screen.can_ask or "WORLD_SIZE" in os.environ:
            raise
        show_problems(screen, error.problems, known_file=Path(config.data.file or "").name)
        bad = len({str(p.place) for p in error.problems if p.severity == "error"})
        if not _asks_for(screen, say("cli.train.ask_drop", count=bad)):
            raise DataError(error.key, **error.values) from None  # the problems are on the screen already
    return run_road(config.replace({"data.drop_bad": True}), screen, resume=resume, samples=samples)


def _asks_for(screen: Screen, question: str) -> bool:
    try:
        answer = screen.console.input(f"{question} [y/N] ", markup=False)
    except EOFError:
        return False
    return answer.strip().casefold() in {"y", "yes", "是", "好"}


def run_road(config: RunConfig, screen: Screen, *, resume: bool = False, samples: bool = False) -> "RunResult":
    """Runs the recipe under signals and shows its events; what ends it early carries the way to go on."""
    with RunView(screen, samples, Path(config.output.dir) if config.output.dir else None) as view:
        try:
            with stop_on_signals(lambda: screen.say("cli.train.stopping", "yellow")) as flag:
                screen.note("cli.phase.start", "dim")
                from postil.recipes.lora_sft import train_lora
                from postil.training.workers import joined_workers

                def report(event: Any) -> None:
                    view.report(event)
                    flag.can_finish_step = view.is_training

                with joined_workers() as workers:
                    return train_lora(config, report, flag.asked, resume=resume, workers=workers)
        except BaseException as error:
            if command := _command_to_go_on(view, config, error):
                error.add_note(command)  # printed with the error, as the last line
            raise


def _command_to_go_on(view: RunView, config: RunConfig, error: BaseException) -> str | None:
    """The command that resumes the run; None when there is no checkpoint or the command itself was wrong."""
    if not view.has_checkpoint or (isinstance(error, PostilError) and error.exit_code in (64, 66)):
        return None
    return shell_line(["postil", "train", config.data.file, "-o", view.run_dir, "--resume"])


def show_result(screen: Screen, result: "RunResult", data: Path) -> None:
    """How good the adapter is, where it is, and the next three commands."""
    show_evaluation(screen, result.evaluation.summary)
    screen.say("cli.result.saved", path=result.adapter_dir, took=duration(result.seconds), steps=result.steps)
    if result.grade is not None:
        screen.note("cli.result.grade", "dim", text=result.grade.text)
    screen.say("cli.result.next", "bold")
    for arguments in next_commands(result.adapter_dir, result.run_dir, data):
        screen.command(*arguments)


def next_commands(adapter_dir: Path, run_dir: Path, data: Path) -> list[list[str]]:
    """What one does with an adapter: talk to it, compare it, melt it in.

    Args:
        data: what it was trained on; a file's questions can be asked again, a prepared folder's cannot.
    """
    adapter, questions = str(adapter_dir), str(data) if data.is_file() else say("cli.result.questions_file")
    return [
        ["postil", "chat", adapter],
        ["postil", "compare", adapter, "--questions", questions],
        ["postil", "merge", adapter, "-o", str(run_dir / "merged")],
    ]
