"""Checkpoints when the disk fails at any moment, or has damaged any file: the old one or the new one, never half."""

import errno
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from postil.config import AdapterConfig
from postil.errors import CannotWriteError
from postil.events import AnyEvent, Warned, ignore
from postil.models.adapter import add_adapter, trainable_parameters
from postil.training.checkpoint import checkpoint_steps, find_checkpoint, save_checkpoint
from postil.training.loop import train_adapter
from tests.invariants.rows import load_tiny, make_rows, settings

CALLS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("fsync", "rename", "mkdir", "rmdir", "unlink")),
    *((pathlib.Path, name) for name in ("open", "write_bytes", "write_text", "mkdir")),
)


def write(folder: Path) -> None:
    for name in ("adapter", "optimizer"):
        (folder / f"{name}.safetensors").write_bytes(name.encode() * 100)
    (folder / "state.json").write_text('{"step": 1}', "utf-8")


def save(run_dir: Path, step: int) -> None:
    save_checkpoint(run_dir, step, write, data_hash="d", config_hash="c")


@contextmanager
def failing(nth: int, number: int) -> Iterator[Callable[[], bool]]:
    """The n-th call that touches the disk fails; every one after it works. Gives whether it came that far."""
    count, failed = 0, False

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count, failed
            count += 1
            if count == nth:
                failed = True
                raise OSError(number, os.strerror(number))
            return call(*args, **kwargs)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CALLS:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield lambda: failed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("again", [False, True])
def test_every_call_may_fail_once(tmp_path: Path, number: int, again: bool) -> None:
    """F3: also when a step is saved a second time, in place of an older checkpoint."""
    nth = 0
    while True:
        nth += 1
        run_dir = tmp_path / str(nth)
        save(run_dir, 1)
        if again:
            save(run_dir, 2)
        with failing(nth, number) as has_failed, suppress(CannotWriteError):
            save(run_dir, 2)
        found = find_checkpoint(run_dir, pytest.fail)  # type: ignore[arg-type]  # a damaged one would be reported
        assert found is not None and found.step in (1, 2) and (found.step == 2 or not again)
        if not has_failed():
            break
        save(run_dir, 3)
        newest = find_checkpoint(run_dir, ignore)
        assert newest is not None and newest.step == 3
        names = [path.name for path in (run_dir / "checkpoints").iterdir()]
        assert all(name.startswith("step-") for name in names), names
    assert nth > 10  # the calls are really counted


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x20
    path.write_bytes(data)


def test_no_byte_of_the_manifest_can_change_unseen(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    manifest = tmp_path / "checkpoints" / "step-2" / "MANIFEST.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 0x01
        manifest.write_bytes(data)
        found = find_checkpoint(tmp_path, ignore)
        same_meaning = whole[position : position + 1].isspace()
        assert found is not None and (found.step == 1 or same_meaning), (position, bytes(data))


def train(directory: Path, base: Path, resume: bool, events: list[AnyEvent]) -> dict[str, torch.Tensor]:
    model = add_adapter(load_tiny(base, "qwen3", vocab_size=10240), AdapterConfig(rank=4, dropout=0.2), seed=1)
    train_adapter(
        model,
        make_rows(12),
        config=settings(),
        run_dir=directory,
        data_hash="data",
        config_hash="config",
        report=events.append,
        should_stop=lambda: False,
        evaluate=None,
        evaluate_every=1,
        resume=resume,
        save_seconds=0.0,
    )
    return {name: p.detach().clone() for name, p in trainable_parameters(model).items()}


def test_any_damage_to_any_file_falls_back_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    """F4: each file cut short, changed in one byte, and deleted, in turn."""
    base, whole = tmp_path / "base", tmp_path / "whole"
    expected = train(whole, base, False, [])
    steps = checkpoint_steps(whole)
    assert len(steps) >= 2
    newest = f"checkpoints/step-{steps[0]}"
    names = sorted(path.name for path in (whole / newest).iterdir())
    assert len(names) == 4
    for damage in (truncate, flip, Path.unlink):
        for name in names:
            run_dir = tmp_path / f"{damage.__name__}-{name}"
            shutil.copytree(whole, run_dir)
            damage(run_dir / newest / name)
            events: list[AnyEvent] = []
            weights = train(run_dir, base, True, events)
            assert all(torch.equal(weights[key], expected[key]) for key in expected), (damage, name)
            told = [event for event in events if isinstance(event, Warned) and event.key == "training.damaged"]
            assert len(told) == 1, (damage, name)
