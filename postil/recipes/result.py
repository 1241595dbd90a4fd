"""What a run hands back, and how its adapter's folder is written."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.advice.estimate import Grade
from postil.config import RunConfig
from postil.errors import CannotWriteError
from postil.evaluation.report import EvaluationReport
from postil.models.adapter import save_adapter_weights
from postil.models.loading import Base
from postil.models.manifest import AdapterManifest, write_card, write_manifest
from postil.operating_system import os_reason
from postil.recipes.run_folder import RunFolder
from postil.training.loop import TrainResult

if TYPE_CHECKING:
    from peft import PeftModel

# Settings that decide no weight: a run may go on on another day with these changed. Of packs only the order in which
# sums are rounded depends.
_NOT_HASHED = {"output", "evaluation"}
_NOT_HASHED_TRAINING = {"log_every", "save_every", "keep", "preset", "max_tokens_per_pack"}


def config_hash(config: RunConfig) -> str:
    """sha256 of the settings that decide the weights."""
    values = config.model_dump(mode="json", exclude=_NOT_HASHED | {"data"})
    if values["model"]["quantization"] == "none":  # runs that began before there was this setting go on
        del values["model"]["quantization"]
    values["training"] = {k: v for k, v in values["training"].items() if k not in _NOT_HASHED_TRAINING}
    values["data"] = config.data.model_dump(mode="json", exclude={"file", "name", "overlay", "drop_bad", "kind"})
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Args:
        train_loss: mean nats per trained token over the last epoch's steps.
        heldout_loss_base: None where nothing was held out.
        verdict: "better", "same", "worse" or "cannot_tell".
        seconds: wall time of the whole run, reading and measuring included.
        grade: the estimate against what the run took; None where none was made, or for a run that was taken up again.
    """

    run_dir: Path
    adapter_dir: Path
    steps: int
    train_loss: float
    heldout_loss_base: float | None
    heldout_loss_tuned: float | None
    verdict: str
    seconds: float
    evaluation: EvaluationReport
    grade: Grade | None = None

    @classmethod
    def of(
        cls,
        folder: RunFolder,
        trained: TrainResult,
        evaluation: EvaluationReport,
        seconds: float,
        grade: Grade | None = None,
    ) -> "RunResult":
        """Puts a run's parts together."""
        return cls(
            run_dir=folder.path,
            adapter_dir=folder.adapter,
            steps=trained.steps,
            train_loss=trained.train_loss,
            heldout_loss_base=evaluation.heldout_loss_base,
            heldout_loss_tuned=evaluation.heldout_loss_tuned,
            verdict=evaluation.verdict,
            seconds=seconds,
            evaluation=evaluation,
            grade=grade,
        )

    def metrics(self) -> dict[str, Any]:
        """The numbers that the adapter's manifest carries."""
        return {
            "steps": self.steps,
            "train_loss": self.train_loss,
            "heldout_loss_base": self.heldout_loss_base,
            "heldout_loss_tuned": self.heldout_loss_tuned,
            "heldout_questions": self.evaluation.num_questions,
            "interval": self.evaluation.interval,
            "answers": len(self.evaluation.answers),
            "base_right": self.evaluation.base_right,
            "tuned_right": self.evaluation.tuned_right,
            "answers_learned": self.evaluation.num_answers_learned,
            "tuned_not_stopped": self.evaluation.tuned_not_stopped,
            "heldout_rows": self.evaluation.num_rows,
            "heldout_worse": self.evaluation.num_worse,
            "verdict": self.verdict,
        }

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape of `result.json` and of the shell's last line; answers are in `report.json`."""
        return {
            "run_dir": str(self.run_dir),
            "adapter_dir": str(self.adapter_dir),
            **self.metrics(),
            "seconds": round(self.seconds, 2),
            "grade": None if self.grade is None else self.grade.as_dict(),
        }

    def _repr_html_(self) -> str:
        return self.evaluation._repr_html_()


def publish_adapter(
    folder: RunFolder, model: "PeftModel", base: Base, config: RunConfig, data_hash: str, metrics: dict[str, Any]
) -> None:
    """Writes the adapter's folder beside its place and moves it there: plain PEFT, tokenizer, manifest, card.

    Raises:
        CannotWriteError: the folder is read-only or the disk is full; an adapter written before stays as it was.
    """
    beside = folder.path / f".adapter.{os.getpid()}"
    manifest = AdapterManifest(
        base=_base_name(config.model.base),
        revision=base.revision,
        hub=config.model.hub,
        base_fingerprint=base.fingerprint,
        system=config.data.system,
        chat_format=base.chat_format.manifest(),
        stop_ids=tuple(sorted(base.chat_format.stop_ids)),
        data_hash=data_hash,
        config_hash=config_hash(config),
        metrics=metrics,
    )
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        save_adapter_weights(model, beside, base=manifest.base, revision=base.revision)
        base.tokenizer.save(beside)
        write_manifest(manifest, beside)
        write_card(manifest, beside, title=folder.path.name, settings=_card_settings(config))
        shutil.rmtree(folder.adapter, ignore_errors=True)
        os.replace(beside, folder.adapter)
    except OSError as error:
        raise CannotWriteError("recipes.cannot_write", path=folder.adapter, reason=os_reason(error)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _base_name(name: str) -> str:
    """A hub id as it is; a local folder by its absolute path, so that the adapter answers from anywhere."""
    local = Path(name).expanduser()
    return str(local.resolve()) if name != "starter" and local.is_dir() else name


def _card_settings(config: RunConfig) -> dict[str, Any]:
    training, adapter, targets = config.training, config.adapter, config.adapter.target_modules
    return {
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "dropout": adapter.dropout,
        "target modules": targets if isinstance(targets, str) else ", ".join(targets),
        **({"steps": training.max_steps} if training.max_steps else {"epochs": training.epochs}),
        "rows per step": (training.batch_rows or 1) * training.accumulation,
        "learning rate": training.learning_rate,
        "seed": training.seed,
    }
