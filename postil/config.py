"""Every setting of a run: frozen, checked and explained where it is declared.

`RunConfig` is the one specification behind YAML files, `--set key=value`, Python and, later, the web. A setting that is
None is filled in by `recipes/defaults.py` with what the room `advice` recommends for the data and the model; the
resolved values are written beside the run. The sentence under each field is its help text in English; the Chinese one
has the key `config.<path>` in the catalogs.
"""

import codecs
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from postil.errors import MissingInputError, UsageError

Purpose = Literal["question", "answer", "system", "history", "session", "speaker", "content", "time"]
"""What a column can be for; `postil.data.options` has the same."""


Kind = Literal["classification", "multi_turn", "role", "customer_service", "copywriting", "fact_qa"]
"""What a whole data set can be for; `postil.data.purposes` has the same."""
USUAL_RANK, USUAL_ANSWER_TOKENS = 16, 96


Decay = Annotated[float, Field(ge=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Part):
    """What is read and how it becomes conversations."""

    file: str | None = Field(None, description="A file of questions and answers, or a folder made by `postil prepare`.")
    name: str | None = Field(
        None, description="How the user calls the file, where it is stored under another name; reports go by it."
    )
    overlay: str | None = Field(
        None, description="Changes to the file, as `postil fix --save-overlay` writes them; the file stays as it is."
    )
    system: str | None = Field(None, description="A system message for conversations that have none.")
    map: dict[Purpose, str] = Field(
        {},
        description="Which column or field is what, such as question=Ask,answer=Reply, if it is found out wrongly.",
    )
    encoding: str | None = Field(
        None, description="How a text file writes its characters, such as gb18030; None finds it out."
    )
    single_turn: bool = Field(
        False, description="Read every question with its answer alone, not as a part of a longer chat."
    )
    max_length_tokens: int | None = Field(
        None, ge=16, description="Longest conversation in tokens; longer ones are listed, and no answer is ever cut."
    )
    too_long: Literal["drop", "split", "keep_last"] = Field(
        "drop",
        description="What is done with longer conversations: leave them out, split them between turns, or keep the "
        "last question and answer.",
    )
    heldout_share: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of rows kept away from training, whole questions, to measure with: at least 20 rows "
        "or a fifth; 0 learns all.",
    )
    drop_bad: bool = Field(False, description="Leave out rows with errors, counted, instead of stopping.")
    train_on: Literal["all", "last"] = Field(
        "all", description="Learn every assistant turn of a chat, or only the last one."
    )
    kind: Kind | None = Field(
        None, description="What the data are for, which decides the recommended settings; None finds it out."
    )

    @field_validator("map", mode="before")
    @classmethod
    def _map_of_text(cls, value: Any) -> Any:
        return parse_map(value) if isinstance(value, str) else value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        return None if value is None else known_encoding(value)


class ModelConfig(_Part):
    """The base model and how it is held in memory."""

    base: str = Field("starter", description="`starter`, a local folder, or a hub id such as Qwen/Qwen3-0.6B.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub model; None takes the newest.")
    hub: Literal["hf", "modelscope"] = Field("hf", description="The hub that a model id is looked up on.")
    offline: bool = Field(False, description="Use only what is already on this machine.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to compute.")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Precision of the base model; auto is bf16 where the device has it, else fp32."
    )
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none",
        description="Hold the base's linear layers in 8 or 4 bits (bitsandbytes): far less memory, slower, less exact.",
    )


class AdapterConfig(_Part):
    """The adapter's shape, with PEFT's names."""

    rank: int | None = Field(
        None, ge=1, le=1024, description="Width of the two thin matrices; None is chosen from the data."
    )
    alpha: float = Field(32, gt=0, description="Weight of the adapter; it is scaled by alpha / rank.")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of the adapter's inputs that are dropped in training; None is chosen from the data.",
    )
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="Which linear layers get an adapter, by the end of their names."
    )
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases are trained as well.")
    use_rslora: bool = Field(False, description="Scale by alpha / sqrt(rank) instead (rsLoRA).")
    use_dora: bool = Field(False, description="Split weights into magnitude and direction (DoRA).")
    init: Literal["default", "gaussian", "pissa", "olora", "orthogonal"] = Field(
        "default", description="How the adapter starts; pissa takes the base's main directions."
    )

    @property
    def used_rank(self) -> int:
        """The rank, or the usual one where nobody has chosen yet."""
        return USUAL_RANK if self.rank is None else self.rank

    @property
    def used_dropout(self) -> float:
        """The dropout, or none where nobody has chosen yet."""
        return self.dropout or 0.0


class TrainingConfig(_Part):
    """How the adapter is trained."""

    preset: Literal["quick", "recommended", "thorough"] = Field(
        "recommended", description="How thorough the settings are that are chosen from the data."
    )
    epochs: float | None = Field(None, gt=0, description="How often every row is seen; None is chosen from the data.")
    max_steps: int | None = Field(None, ge=1, description="Number of steps, in place of epochs.")
    batch_rows: int | None = Field(None, ge=1, description="Rows whose gradients make one step.")
    accumulation: int = Field(
        1, ge=1, description="A step takes batch_rows times this many rows, as in recipes of other tools."
    )
    learning_rate: float | None = Field(None, gt=0, lt=1, description="Peak learning rate.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the learning rate goes down after warm-up."
    )
    warmup_steps: int | None = Field(None, ge=0, description="Steps until the peak learning rate is reached.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    betas: tuple[Decay, Decay] = Field((0.9, 0.95), description="AdamW's moment decays.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients longer than this are shortened to it.")
    max_tokens_per_pack: int | None = Field(
        None, ge=16, description="Most tokens computed at once; a longer step is split, gradients summed exactly."
    )
    seed: int = Field(0, ge=0, description="Decides order, split and first weights; the same seed, the same adapter.")
    log_every: int = Field(10, ge=1, description="Steps between lines of the log.")
    save_every: int = Field(100, ge=1, description="Steps between checkpoints.")
    keep: int = Field(3, ge=1, description="Checkpoints kept; older ones are deleted.")


class EvaluationConfig(_Part):
    """How the result is measured."""

    evaluate_every: int | None = Field(None, ge=1, description="Steps between held-out measurements; None: four a run.")
    num_samples: int = Field(3, ge=0, le=3, description="Held-out questions answered at each measurement.")
    max_answers: int = Field(50, ge=0, description="Held-out questions answered by base and tuned at the end.")
    max_new_tokens: int | None = Field(
        None, ge=1, description="Longest answer when measuring, in tokens; None: room for the answers of the file."
    )

    @property
    def used_max_new_tokens(self) -> int:
        """The longest answer, or the usual one where nobody has looked at the answers yet."""
        return USUAL_ANSWER_TOKENS if self.max_new_tokens is None else self.max_new_tokens


class OutputConfig(_Part):
    """Where the run is written."""

    dir: str | None = Field(None, description="The run's folder; None makes a new one under runs/.")
    force: bool = Field(False, description="Delete what is in the folder first.")
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = Field(
        (), description="Experiment trackers that also receive the numbers; none by default."
    )


class RunConfig(_Part):
    """One run, whole."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    adapter: AdapterConfig = AdapterConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="after")
    def _either_epochs_or_steps(self) -> "RunConfig":
        if self.training.epochs is not None and self.training.max_steps is not None:
            raise ValueError("training.epochs and training.max_steps exclude each other")
        return self

    def replace(self, changes: Mapping[str, Any]) -> "RunConfig":
        """A checked copy with dotted settings changed, such as {"training.seed": 7}.

        Raises:
            UsageError: a setting does not exist or a value does not fit; all are named at once.
        """
        values = self.model_dump()
        for path, value in changes.items():
            part, _, name = path.partition(".")
            if not isinstance(values.get(part), dict) or not name:
                raise UsageError("config.unknown_setting", name=path, suggestion=_suggest(path))
            values[part][name] = value
        return check_config(values)

    def to_yaml(self) -> str:
        """The settings as YAML, every one of them."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def setting_paths() -> dict[str, str]:
    """Every dotted setting with its English sentence, in order of declaration."""
    return {
        f"{part}.{name}": field.description or ""
        for part, part_field in RunConfig.model_fields.items()
        for name, field in part_field.annotation.model_fields.items()  # type: ignore[union-attr]
    }


def check_config(values: Mapping[str, Any], source: str = "settings") -> RunConfig:
    """Checks plain values.

    Args:
        values: nested as in YAML.
        source: where they come from, for the error.

    Raises:
        UsageError: everything that is wrong, one line each, with the nearest right name for a wrong one.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [_describe(dict(e)) for e in error.errors()]
        raise UsageError("config.invalid", source=source, problems="\n  ".join(lines)) from None


def load_config(path: Path) -> RunConfig:
    """Reads a YAML file.

    Raises:
        MissingInputError: no such file.
        UsageError: not YAML, or not our settings.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise MissingInputError("config.no_file", path=path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError("config.not_yaml", path=path, reason=" ".join(str(error).split())) from None
    if not isinstance(values or {}, dict):
        raise UsageError("config.not_yaml", path=path, reason="a list or a single value, not settings")
    return check_config(values or {}, str(path))


def parse_map(text: str) -> dict[Purpose, str]:
    """Reads "question=Ask,answer=Reply" into {"question": "Ask", "answer": "Reply"}; a column's name may hold commas.

    Raises:
        ValueError: a part is not a purpose with a column.
    """
    purposes: tuple[Purpose, ...] = get_args(Purpose)
    found: dict[Purpose, str] = {}
    for part in re.split(rf"[,，](?=\s*(?:{'|'.join(purposes)})\s*=)", text):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        purpose = next((p for p in purposes if p == name.lower()), None)
        if purpose is None or not equals or not column:
            raise ValueError(f"{part.strip()!r} is not one of {', '.join(purposes)} with = and a column")
        found[purpose] = column
    return found


def known_encoding(name: str) -> str:
    """Python's name of a text encoding, such as "gb18030" for "GB18030" or "utf-8" for "UTF8".

    Raises:
        ValueError: there is none.
    """
    try:
        "".encode(name)  # codecs that are not of text, such as hex, are refused here
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise ValueError(f"{name!r} is no encoding; try gb18030, big5, utf-8 or utf-16") from None


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Reads `--set` arguments such as "training.epochs=3" into {"training.epochs": 3}; values are YAML.

    A name without its part is taken when it is unique: "epochs=3" works too.

    Raises:
        UsageError: no "=", or an unknown or ambiguous name.
    """
    changes = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError("config.not_an_assignment", text=assignment)
        try:
            changes[_full_path(name.strip())] = _scalar(text)
        except yaml.YAMLError:
            raise UsageError("config.not_an_assignment", text=assignment) from None
    return changes


def _scalar(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):  # YAML 1.1 reads 3e-4 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _full_path(name: str) -> str:
    paths = setting_paths()
    matches = [p for p in paths if p == name or p.partition(".")[2] == name]
    if len(matches) != 1:
        raise UsageError("config.unknown_setting", name=name, suggestion=_suggest(name))
    return matches[0]


def _suggest(name: str) -> str:
    paths = list(setting_paths())
    near = difflib.get_close_matches(name, paths, n=1, cutoff=0.4)
    last = name.rpartition(".")[2]
    by_name = difflib.get_close_matches(last, [p.partition(".")[2] for p in paths], n=1, cutoff=0.6)
    return next((p for p in paths if by_name and p.partition(".")[2] == by_name[0]), near[0] if near else paths[0])


def _describe(error: dict[str, Any]) -> str:
    path = ".".join(str(x) for x in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: no such setting; did you mean {_suggest(path)}?"
    return f"{path}: {error['msg']}" + (f" (found {error['input']!r})" if path else "")
