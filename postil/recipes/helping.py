"""Training by several processes (`torchrun`): what the first hands out, and all that the others do."""

import signal
from collections.abc import Sequence
from pathlib import Path

from postil.config import RunConfig
from postil.data.examples import Example
from postil.errors import DataError, Stopped
from postil.events import ignore, never
from postil.models.adapter import add_adapter
from postil.models.loading import Base, load_base
from postil.training.loop import train_adapter
from postil.training.workers import Workers


def hand_out_settings(workers: Workers, config: RunConfig) -> None:
    """Tells the others which base to load, as soon as that is known."""
    workers.share_text(config.model_dump_json())


def hand_out_rows(workers: Workers, config: RunConfig, base: Base, rows: Sequence[Example]) -> None:
    """Tells the others what is trained, how, and over which base.

    Args:
        config: resolved.
    """
    workers.share_text(_about(base))
    workers.share_text(config.model_dump_json())
    workers.share_rows(rows)


def _about(base: Base) -> str:
    """What must be the same everywhere."""
    return f"{base.fingerprint[:16]}, {base.dtype} on {base.device}"


def help_train(workers: Workers) -> None:
    """What a worker does that is not the first: its part of every step. It reads no file but the base, and writes none.

    Raises:
        PostilError: the base cannot be loaded here, or is another one.
        TryAgainError: the first worker is gone.
    """
    base = load_base(RunConfig.model_validate_json(workers.share_text()).model)
    if (first := workers.share_text()) != (own := _about(base)):
        raise DataError("recipes.other_base_there", own=own, first=first)
    config = RunConfig.model_validate_json(workers.share_text())
    rows = workers.share_rows()
    model = add_adapter(base.model, config.adapter, config.training.seed)
    for number in (signal.SIGINT, signal.SIGTERM):  # from here on the first decides when all stop
        signal.signal(number, signal.SIG_IGN)
    try:
        train_adapter(
            model,
            rows,
            config=config.training,
            run_dir=Path(),
            data_hash="",
            config_hash="",
            report=ignore,
            should_stop=never,
            evaluate=None,
            evaluate_every=1,
            resume=False,
            workers=workers,
        )
    except Stopped:  # as the first one was asked to
        return
