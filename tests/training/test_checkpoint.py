"""Checkpoints are whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from postil.errors import CannotWriteError, DataError
from postil.events import AnyEvent, Warned, ignore
from postil.training.checkpoint import (
    Checkpoint,
    best_step,
    check_same_run,
    checkpoint_steps,
    find_checkpoint,
    keep_checkpoints,
    save_checkpoint,
)


def save(run_dir: Path, step: int, content: str = "weights") -> Checkpoint:
    def write(folder: Path) -> None:
        (folder / "adapter.safetensors").write_text(content)
        (folder / "state.json").write_text("{}")

    return save_checkpoint(run_dir, step, write, data_hash="d", config_hash="c")


def test_the_newest_is_found(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path, ignore) is None
    save(tmp_path, 2)
    saved = save(tmp_path, 10)
    assert find_checkpoint(tmp_path, ignore) == saved == Checkpoint(tmp_path / "checkpoints/step-10", 10, "d", "c")


def damage_content(folder: Path) -> None:
    (folder / "adapter.safetensors").write_text("Weights")


def remove_file(folder: Path) -> None:
    (folder / "state.json").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / "MANIFEST.json").unlink()


def cut_manifest(folder: Path) -> None:
    (folder / "MANIFEST.json").write_text('{"files": [')


@pytest.mark.parametrize(
    ("damage", "culprit"),
    [
        (damage_content, "adapter.safetensors"),
        (remove_file, "state.json"),
        (remove_manifest, "MANIFEST.json"),
        (cut_manifest, "MANIFEST.json"),
    ],
)
def test_a_damaged_one_is_reported_and_the_one_before_taken(tmp_path: Path, damage, culprit: str) -> None:  # type: ignore[no-untyped-def]
    before = save(tmp_path, 1)
    damage(save(tmp_path, 2).path)
    events: list[AnyEvent] = []
    assert find_checkpoint(tmp_path, events.append) == before
    (event,) = events
    assert isinstance(event, Warned) and event.key == "training.damaged" and event.values["reason"] == culprit
    assert culprit in event.message


def test_other_data_or_settings_are_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, 1)
    check_same_run(checkpoint, data_hash="d", config_hash="c")
    for hashes, key in (({"data_hash": "x"}, "training.other_data"), ({"config_hash": "x"}, "training.other_config")):
        with pytest.raises(DataError) as refused:
            check_same_run(checkpoint, **({"data_hash": "d", "config_hash": "c"} | hashes))
        assert refused.value.key == key and str(checkpoint.path) in str(refused.value)


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CannotWriteError, match="no space is left"):
            save(tmp_path, 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-1"]
    save(tmp_path, 2)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in the way")
    with pytest.raises(CannotWriteError, match="step-3"):
        save(tmp_path, 3)


def test_saving_a_step_again_replaces_it_and_sweeps_leftovers(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / ".writing-step-9").mkdir()
    checkpoint = save(tmp_path, 1, "newer")
    assert (checkpoint.path / "adapter.safetensors").read_text() == "newer"
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-1"]


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    assert checkpoint_steps(tmp_path) == [5, 4, 3, 2, 1]
    best = best_step({2: 0.5, 4: 0.7, 7: 0.1}, checkpoint_steps(tmp_path))
    assert best == 2 and best_step({}, [1]) is None
    keep_checkpoints(tmp_path, 2, best, newest_step=5)
    assert checkpoint_steps(tmp_path) == [5, 4, 2]


def test_a_damaged_one_of_a_later_step_does_not_push_the_new_one_out(tmp_path: Path) -> None:
    for step in (90, 100):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "step-100" / "adapter.safetensors").write_text("torn")
    save(tmp_path, 92)  # the run went on from 90, and was stopped
    keep_checkpoints(tmp_path, 1, None, newest_step=92)
    assert checkpoint_steps(tmp_path) == [92]
