"""Training data are the original and its overlay: the file stays as it is, the edits train."""

import csv
import json
from pathlib import Path

import pytest

from postil.config import RunConfig
from postil.data.checks.overlay import Edit, Overlay, fingerprint
from postil.data.prepared import read_prepared
from postil.errors import DataError, MissingInputError
from postil.problems import Place
from postil.recipes.lora_sft import train_lora
from postil.recipes.prepare import prepare
from postil.testing.tiny import make_tiny_model
from tests.cli.conftest import Shell, shell

__all__ = ["shell"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("bases") / "tiny", "qwen3")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows([f"What is item {i}?", f"Item {i} costs {i * 3} yuan."] for i in range(40))
    return path


def overlay_for(questions: Path, name: str = "questions.csv") -> Path:
    edits = (
        Edit(Place(name, 3), "set_text", "by_hand", {"path": "answer", "value": "Item 1 is free."}),
        Edit(Place(name, 5), "drop_row", "by_hand"),
    )
    path = questions.with_name("changes.json")
    Overlay(fingerprint(questions), edits).write(path)
    return path


def prepared_rows(config: RunConfig, out: Path) -> tuple[set[str], str]:
    """Every answer that is trained or held out, and the hash of the data."""
    prepare(config, out)
    prepared = read_prepared(out)
    rows = (*prepared.train.conversations, *prepared.heldout.conversations)
    return {c.answer for c in rows}, prepared.description["data_hash"]


def test_edits_train_and_the_hash_covers_them(questions: Path, base: Path, tmp_path: Path) -> None:
    before = questions.read_bytes()
    plain = RunConfig().replace({"data.file": str(questions), "model.base": str(base)})
    edited = plain.replace({"data.overlay": str(overlay_for(questions))})
    rows, data_hash = prepared_rows(plain, tmp_path / "plain")
    edited_rows, edited_hash = prepared_rows(edited, tmp_path / "edited")
    assert rows - edited_rows == {"Item 1 costs 3 yuan.", "Item 3 costs 9 yuan."}
    assert edited_rows - rows == {"Item 1 is free."}
    assert data_hash != edited_hash and questions.read_bytes() == before


def test_the_same_bytes_under_another_name(questions: Path, base: Path, tmp_path: Path) -> None:
    overlay = overlay_for(questions)
    stored = questions.rename(tmp_path / "original")
    settings = {"data.file": str(stored), "data.overlay": str(overlay), "model.base": str(base)}
    for name in (None, "客服.csv"):
        config = RunConfig().replace(settings | {"data.name": name})
        rows, _ = prepared_rows(config, tmp_path / f"out-{name}")
        assert "Item 1 is free." in rows and len(rows) == 39


def test_edits_of_another_file_are_refused(questions: Path, base: Path, tmp_path: Path) -> None:
    overlay = overlay_for(questions)
    with questions.open("a", encoding="utf-8") as file:
        file.write("One more?,Yes.\n")
    config = RunConfig().replace({"data.file": str(questions), "data.overlay": str(overlay), "model.base": str(base)})
    with pytest.raises(DataError) as caught:
        prepare(config, tmp_path / "out")
    assert caught.value.key == "data.overlay_of_other_file"
    with pytest.raises(MissingInputError):
        prepare(config.replace({"data.overlay": str(tmp_path / "none.json")}), tmp_path / "out")
    overlay.write_text('{"format": "something"}')
    with pytest.raises(DataError) as caught:
        prepare(config, tmp_path / "out")
    assert caught.value.key == "data.broken_overlay"


def test_a_run_and_the_shell_take_it(questions: Path, base: Path, tmp_path: Path, shell: Shell) -> None:
    overlay = overlay_for(questions)
    quick = {"training.max_steps": 2, "training.batch_rows": 8, "evaluation.max_answers": 0}
    named = {"data.file": str(questions), "model.base": str(base), "output.dir": str(tmp_path / "run")}
    train_lora(RunConfig().replace({**named, **quick, "data.overlay": str(overlay)}))
    manifest = json.loads((tmp_path / "run" / "adapter" / "postil.json").read_text("utf-8"))
    plain = train_lora(RunConfig().replace({**named, **quick, "output.dir": str(tmp_path / "plain")}))
    other = json.loads((plain.adapter_dir / "postil.json").read_text("utf-8"))
    assert manifest["data_hash"] != other["data_hash"]
    settings = [f"{name}={value}" for name, value in {**quick, "data.overlay": str(overlay)}.items()]
    arguments = [word for setting in settings for word in ("--set", setting)]
    out = ["-o", str(tmp_path / "shell"), "--json"]
    code, _, errors = shell("train", questions, "--model", base, *out, *arguments)
    assert code == 0, errors
    by_shell = json.loads((tmp_path / "shell" / "adapter" / "postil.json").read_text("utf-8"))
    assert by_shell["data_hash"] == manifest["data_hash"]
