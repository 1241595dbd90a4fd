"""The folder of a run: made, refused, replaced, taken up again."""

import os
from pathlib import Path

import pytest

from postil.config import RunConfig
from postil.errors import CannotWriteError, MissingInputError, UsageError
from postil.events import PhaseStarted, decode_event, ignore
from postil.models.manifest import write_text_atomically
from postil.recipes.run_folder import open_run, recorded


def config_for(path: Path, **changes: object) -> RunConfig:
    return RunConfig().replace({"data.file": "q.csv", "output.dir": str(path), **changes})


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", "utf-8")
    with pytest.raises(CannotWriteError, match="--force"):
        open_run(config_for(tmp_path), resume=False)
    with pytest.raises(CannotWriteError, match="not the folder of a run"):
        open_run(config_for(tmp_path, **{"output.force": True}), resume=False)
    assert (tmp_path / "note.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize("written", ["run.yaml", "spec.json"])
def test_what_was_being_written_when_a_run_was_killed_is_no_run(tmp_path: Path, written: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            write_text_atomically(folder / written, "data:")
    (left,) = folder.iterdir()
    assert left.name != written
    opened, _ = open_run(config_for(folder), resume=False)
    assert opened.settings.exists()
    left.with_name(".mine.tmp").touch()  # nobody's unfinished write
    opened.settings.unlink()
    with pytest.raises(CannotWriteError, match="--force"):
        open_run(config_for(folder), resume=False)


def test_force_replaces_an_earlier_run(tmp_path: Path) -> None:
    folder, _ = open_run(config_for(tmp_path / "run"), resume=False)
    (folder.path / "old").touch()
    open_run(config_for(tmp_path / "run", **{"output.force": True}), resume=False)
    assert not (folder.path / "old").exists()


def test_resume_takes_the_stored_settings_and_refuses_others(tmp_path: Path) -> None:
    open_run(config_for(tmp_path / "run", **{"training.epochs": 3.0}), resume=False)
    _, config = open_run(config_for(tmp_path / "run"), resume=True)
    assert config.training.epochs == 3.0
    with pytest.raises(UsageError, match=r"training\.epochs"):
        open_run(config_for(tmp_path / "run", **{"training.epochs": 4.0}), resume=True)


def test_resume_reads_a_file_where_it_lies_now(tmp_path: Path) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("question,answer\n", "utf-8")
    run = tmp_path / "run"
    open_run(config_for(run, **{"data.file": str(old)}), resume=False)
    new.write_text("other,rows\n", "utf-8")
    with pytest.raises(UsageError, match=r"data\.file"):
        open_run(config_for(run, **{"data.file": str(new)}), resume=True)
    new.write_bytes(old.read_bytes())  # a copy, as when a backup is tried beside the original
    assert open_run(config_for(run, **{"data.file": str(new)}), resume=True)[1].data.file == str(new)
    old.unlink()
    new.write_text("other,rows\n", "utf-8")  # its rows are compared when it is read
    assert open_run(config_for(run, **{"data.file": str(new)}), resume=True)[1].data.file == str(new)


def test_resume_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="holds no run"):
        open_run(config_for(tmp_path), resume=True)
    with pytest.raises(UsageError, match="-o"):
        open_run(RunConfig(), resume=True)


def test_a_path_that_cannot_be_made_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWriteError) as caught:
        open_run(config_for(tmp_path / "file" / "run"), resume=False)
    assert caught.value.exit_code == 73


def test_events_are_logged_and_passed_on(tmp_path: Path) -> None:
    folder, _ = open_run(config_for(tmp_path / "run"), resume=False)
    seen: list[object] = []
    with recorded(folder, seen.append) as report:
        report(PhaseStarted(phase="read"))
    with recorded(folder, ignore) as report:
        report(PhaseStarted(phase="load"))
    lines = folder.events.read_bytes().splitlines()
    assert [decode_event(line).phase for line in lines] == ["read", "load"]  # type: ignore[union-attr]
    assert len(seen) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_plain_error(tmp_path: Path) -> None:
    folder, _ = open_run(config_for(tmp_path / "run"), resume=False)
    folder.events.symlink_to("/dev/full")
    with pytest.raises(CannotWriteError, match="no space is left"), recorded(folder, ignore) as report:
        report(PhaseStarted(phase="read"))
