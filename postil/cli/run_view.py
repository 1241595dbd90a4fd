"""A run as people watch it: what was read, what is trained, how far it is, how it ended.

`RunView.report` takes the run's events. On a terminal a bar moves; elsewhere every event is one line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn

from postil import events
from postil.advice.progress import progress_of
from postil.advice.wording import duration_range
from postil.cli.screen import Screen, duration, shell_line
from postil.data.splits import MIN_ROWS_TO_SPLIT
from postil.language import say

MOST_PLACES = 20


@dataclass
class RunView:
    """Shows events; use it as a context manager so that the bar is taken down whatever happens.

    Args:
        samples: also print held-out questions with the adapter's answers while it learns.
        run_dir: where the run writes, once it is known.
        has_checkpoint: True when the run can be resumed.
    """

    screen: Screen
    samples: bool = False
    run_dir: Path | None = None
    has_checkpoint: bool = False
    is_training: bool = False
    _heard: list[events.AnyEvent] = field(default_factory=list, repr=False)
    _num_heldout: int = field(default=0, repr=False)
    _bar: Progress | None = field(default=None, repr=False)

    def __enter__(self) -> "RunView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take_bar_down()

    def report(self, event: events.AnyEvent) -> None:
        """Takes one event; kinds it does not know pass by."""
        self.screen.event(event)
        self._heard.append(event)
        show = getattr(self, f"_show_{type(event).__name__}", None)
        if show is not None:
            show(event)

    def _show_PhaseStarted(self, event: events.PhaseStarted) -> None:
        self.is_training = event.phase == "train"
        if event.phase in ("load", "evaluate", "save"):
            self._take_bar_down()
            if event.phase != "evaluate" or self._num_heldout:  # else nobody is asked
                self.screen.note(f"cli.phase.{event.phase}", "dim")

    def _show_DataRead(self, event: events.DataRead) -> None:
        values = {name: getattr(event, name) for name in ("file", "format", "records_in", "kept", "fixed", "dropped")}
        self.screen.note("cli.run.read", **values)

    def _show_DataSplit(self, event: events.DataSplit) -> None:
        self._num_heldout = event.heldout
        key = "cli.run.split" if event.heldout else "cli.run.no_heldout"
        if event.train < MIN_ROWS_TO_SPLIT and not event.heldout:
            key = "cli.run.too_few_to_hold_out"
        counts = {"train": event.train, "heldout": event.heldout, "questions": event.heldout_questions}
        self.screen.note(key, needed=MIN_ROWS_TO_SPLIT, **counts)

    def _show_Tokenized(self, event: events.Tokenized) -> None:
        share = event.trained_tokens / max(1, event.tokens)
        counts = {"tokens": event.tokens, "trained": event.trained_tokens, "longest": event.longest}
        self.screen.note("cli.run.tokens", share=share, **counts)
        if event.too_long:
            places, rest = event.too_long[:MOST_PLACES], len(event.too_long) - MOST_PLACES
            listed = ", ".join(places) + (f" (+{rest})" if rest > 0 else "")
            values = {"count": len(event.too_long), "limit": event.max_length_tokens, "places": listed}
            self.screen.say("cli.run.too_long", "yellow", **values)

    def _show_ModelLoaded(self, event: events.ModelLoaded) -> None:
        share = event.trainable_parameters / max(1, event.base_parameters + event.trainable_parameters)
        values = {"base": event.base, "device": event.device, "dtype": event.dtype, "share": share}
        parameters = {"total": event.base_parameters, "trainable": event.trainable_parameters}
        self.screen.note("cli.run.model", **values, **parameters)

    def _show_Advised(self, event: events.Advised) -> None:
        settings = event.settings
        if "training.epochs" not in settings:  # the user has set what matters most
            return
        words = ["postil", "advise", event.file, "--model", event.base]
        words += ["--kind", event.kind] if event.kind != event.found_kind else []
        values = {"epochs": settings["training.epochs"], "kind": say(f"advice.kind.{event.kind}")}
        values["rank"] = settings.get("adapter.rank", "-")
        self.screen.note("cli.run.advised", command=shell_line(words), **values)

    def _show_TrainingPlanned(self, event: events.TrainingPlanned) -> None:
        self.is_training = True
        if event.first_step:
            self.screen.note("cli.run.goes_on", first=event.first_step + 1)
        values = {"steps": event.steps, "rows": event.batch_rows, "epochs": event.epochs, "rate": event.learning_rate}
        self.screen.note("cli.run.plan", **values)
        if self.screen.is_terminal and not self.screen.quiet:
            self._bar = _progress(self.screen)
            self._bar.add_task(say("cli.run.bar"), total=event.steps, completed=event.first_step, state="")
            self._bar.start()

    def _show_StepDone(self, event: events.StepDone) -> None:
        values = {
            "step": event.step,
            "steps": event.steps,
            "share": event.step / max(1, event.steps),
            "loss": event.loss,
            "speed": event.tokens_per_second,
            "left": duration(self._seconds_left(event)),
        }
        if self._bar is None:
            self.screen.note("cli.run.step", **values)
        else:
            self._bar.update(self._bar.task_ids[0], completed=event.step, state=say("cli.run.bar_state", **values))

    def _show_Pace(self, event: events.Pace) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=event.step)

    def _show_Forecast(self, event: events.Forecast) -> None:
        self.screen.note("cli.run.forecast", time=duration_range(event.seconds_low, event.seconds_high))

    def _seconds_left(self, event: events.StepDone) -> float:
        """Until the whole run is over, measuring, saving and comparing included."""
        left = progress_of(self._heard, event.at).seconds_left
        return event.seconds_left if left is None else left.middle

    def _show_HeldoutMeasured(self, event: events.HeldoutMeasured) -> None:
        self.screen.note("cli.run.heldout" if event.step else "cli.run.heldout_base", step=event.step, loss=event.loss)
        for sample in event.samples if self.samples else ():
            values = {"question": sample.question, "expected": sample.expected, "answer": sample.answer}
            self.screen.say("cli.run.sample", "dim", **values)

    def _show_CheckpointSaved(self, event: events.CheckpointSaved) -> None:
        self.has_checkpoint = True
        self.run_dir = self.run_dir or Path(event.path).parents[1]

    def _show_Warned(self, event: events.Warned) -> None:
        if event.key != "recipes.too_long":  # the Tokenized event has listed the places already
            self.screen.say("cli.warning", "yellow", text=event.message)

    def _show_RunFinished(self, event: events.RunFinished) -> None:
        self._take_bar_down()

    def _take_bar_down(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _progress(screen: Screen) -> Progress:
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(bar_width=24)]
    columns += [TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.fields[state]}", markup=False)]
    return Progress(*columns, console=screen.console)


def show_evaluation(screen: Screen, summary: Sequence[str]) -> None:
    """The end of a run in plain words: the verdict first."""
    for number, line in enumerate(summary):
        screen.line(line, "" if number else "bold")
