"""Sends a run's numbers to experiment trackers through accelerate, when the user asked for some."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from postil.config import RunConfig
from postil.errors import UnavailableError
from postil.events import AnyEvent, HeldoutMeasured, Report, StepDone
from postil.recipes.run_folder import RunFolder


@contextmanager
def tracked(config: RunConfig, folder: RunFolder, report: Report) -> Iterator[Report]:
    """A report that also logs losses and rates to every tracker in `output.trackers`.

    Raises:
        UnavailableError: a tracker's package is not installed, or it cannot start.
    """
    if not config.output.trackers:
        yield report
        return
    with ExitStack() as stack:
        trackers = [_start(name, config, folder) for name in config.output.trackers]
        for tracker in trackers:
            stack.callback(tracker.finish)

        def track(event: AnyEvent) -> None:
            if numbers := _numbers(event):
                for tracker in trackers:
                    tracker.log(numbers, step=event.step)  # type: ignore[union-attr]
            report(event)

        yield track


def _start(name: str, config: RunConfig, folder: RunFolder) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState(cpu=config.model.device == "cpu")  # accelerate's trackers ask it which process is the main one
    kind = LOGGER_TYPE_TO_CLASS[name]
    where = {"logging_dir": str(folder.path / "trackers")} if kind.requires_logging_directory else {}
    try:
        tracker = kind(folder.path.name, **where)
        tracker.start()
        tracker.store_init_configuration(_flat(config))
    except Exception as error:  # every tracker fails in its own way: not installed, not logged in, not reachable
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnavailableError("recipes.tracker_unavailable", name=name, reason=reason) from error
    return tracker


def _flat(config: RunConfig) -> dict[str, Any]:
    return {
        f"{part}.{name}": value if isinstance(value, int | float | str | bool) else str(value)
        for part, values in config.model_dump(mode="json").items()
        for name, value in values.items()
    }


def _numbers(event: AnyEvent) -> dict[str, float]:
    if isinstance(event, StepDone):
        return {
            "train/loss": event.loss,
            "train/learning_rate": event.learning_rate,
            "train/grad_norm": event.grad_norm,
            "train/tokens_per_second": event.tokens_per_second,
        }
    return {"heldout/loss": event.loss} if isinstance(event, HeldoutMeasured) else {}
