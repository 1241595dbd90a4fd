"""The whole road on a tiny model: what it leaves, how it stops and goes on, and where it refuses."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from postil.config import RunConfig
from postil.errors import DataError, Stopped, UsageError
from postil.events import Advised, AnyEvent, HeldoutMeasured, StepDone, Tokenized, ignore
from postil.recipes.lora_sft import train_lora
from postil.recipes.prepare import prepare
from postil.testing.tiny import make_tiny_model

SETTINGS = {"training.max_steps": 6, "training.batch_rows": 8, "training.save_every": 2, "evaluation.max_new_tokens": 4}


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


def config_for(file: Path, base: Path, out: Path, **changes: object) -> RunConfig:
    named = {"data.file": str(file), "model.base": str(base), "output.dir": str(out)}
    return RunConfig().replace(named | SETTINGS | changes)


def test_a_run_leaves_everything_that_is_promised(questions: Path, base: Path, tmp_path: Path) -> None:
    events: list[AnyEvent] = []
    result = train_lora(config_for(questions, base, tmp_path / "run"), events.append)
    run = result.run_dir
    names = {"run.yaml", "events.jsonl", "checkpoints", "adapter", "report.json", "result.json", "chat_format.json"}
    assert {p.name for p in run.iterdir()} == names | {"estimate.json", "tokens.json", "run.lock"}
    assert {"adapter_config.json", "adapter_model.safetensors", "postil.json", "README.md", "tokenizer.json"} <= {
        p.name for p in result.adapter_dir.iterdir()
    }
    stored = json.loads((run / "result.json").read_text("utf-8"))
    required = {"run_dir", "adapter_dir", "steps", "train_loss", "heldout_loss_base", "heldout_loss_tuned"}
    assert required | {"verdict", "seconds"} <= stored.keys()
    assert stored["steps"] == 6
    assert stored["grade"]["took_seconds"] > 0 and stored["grade"]["text"]
    (advised,) = (e for e in events if isinstance(e, Advised))
    assert "adapter.rank" in advised.settings and "training.batch_rows" not in advised.settings
    answers = json.loads((run / "report.json").read_text("utf-8"))["answers"]
    assert len(answers) == 8 and {"base", "tuned", "loss_base", "loss_tuned"} <= answers[0].keys()
    resolved = yaml.safe_load((run / "run.yaml").read_text("utf-8"))
    assert resolved["training"]["learning_rate"] is not None
    assert (resolved["data"]["kind"], resolved["adapter"]["rank"]) == (advised.kind, advised.settings["adapter.rank"])
    assert any(isinstance(e, StepDone) for e in events)
    measured = [e for e in events if isinstance(e, HeldoutMeasured)]
    assert measured[-1].step == 6 and len(measured[-1].samples) == 3
    assert measured[0].step == 0 and [s.question for s in measured[0].samples] == [
        s.question for s in measured[-1].samples
    ]
    assert measured[0].loss == pytest.approx(result.heldout_loss_base, abs=1e-5)


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(questions: Path, base: Path, tmp_path: Path) -> None:
    whole = train_lora(config_for(questions, base, tmp_path / "whole"))
    config, asked = config_for(questions, base, tmp_path / "parts"), 0

    def stop_after_three() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(Stopped):
        train_lora(config, ignore, stop_after_three)
    assert not (tmp_path / "parts" / "adapter").exists()
    parts = train_lora(config, resume=True)
    one, two = (load_file(r.adapter_dir / "adapter_model.safetensors") for r in (whole, parts))
    assert one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)
    assert whole.heldout_loss_tuned == parts.heldout_loss_tuned


def test_resume_refuses_changed_data(questions: Path, base: Path, tmp_path: Path) -> None:
    config = config_for(questions, base, tmp_path / "run")
    train_lora(config)
    questions.write_text(questions.read_text("utf-8").replace("costs 3 yuan", "costs 4 yuan"), "utf-8")
    with pytest.raises(DataError, match="data"):
        train_lora(config, resume=True)


def test_prepared_data_train_the_same_adapter(questions: Path, base: Path, tmp_path: Path) -> None:
    config = config_for(questions, base, tmp_path / "direct")
    made = prepare(config, tmp_path / "prepared")
    assert (made.train, made.heldout) == (32, 8)
    direct = train_lora(config)
    prepared = train_lora(config_for(tmp_path / "prepared", base, tmp_path / "from-prepared"))
    one, two = (load_file(r.adapter_dir / "adapter_model.safetensors") for r in (direct, prepared))
    assert all((one[name] == two[name]).all() for name in one)


def test_prepared_data_refuse_another_tokenizer(questions: Path, base: Path, tmp_path: Path, shared: Path) -> None:
    prepare(config_for(questions, base, tmp_path), tmp_path / "prepared")
    config = config_for(tmp_path / "prepared", shared / "models" / "stories260k-llama2c", tmp_path / "run")
    with pytest.raises(DataError, match="prepared for"):
        train_lora(config)


def test_prepared_data_open_with_datasets(questions: Path, base: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="an extra")
    prepare(config_for(questions, base, tmp_path), tmp_path / "prepared")
    files = {"train": str(tmp_path / "prepared" / "train.parquet")}
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert len(rows) == 32 and rows[0]["messages"][0]["role"] == "user"


def test_bad_rows_stop_the_run_unless_left_out(questions: Path, base: Path, tmp_path: Path) -> None:
    with questions.open("a", encoding="utf-8") as file:
        file.write("What is missing?,\n")
    with pytest.raises(DataError, match="--drop-bad") as caught:
        train_lora(config_for(questions, base, tmp_path / "one"))
    assert [p.place.row for p in caught.value.problems] == [42]
    assert not (tmp_path / "one").exists()
    assert train_lora(config_for(questions, base, tmp_path / "two", **{"data.drop_bad": True})).steps == 6


def test_rows_that_are_too_long_are_left_out_and_named(questions: Path, base: Path, tmp_path: Path) -> None:
    with questions.open("a", encoding="utf-8") as file:
        file.write(f"What is long?,{'Very long. ' * 60}\n")
    events: list[AnyEvent] = []
    train_lora(config_for(questions, base, tmp_path / "run", **{"data.max_length_tokens": 64}), events.append)
    assert [e.too_long for e in events if isinstance(e, Tokenized)] == [["questions.csv:42"]]


def test_no_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        train_lora(RunConfig())
