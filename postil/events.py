"""What a run says while it works: one frozen value per kind of event, one JSON line each in `events.jsonl`.

A consumer must ignore events it does not know, so that kinds can be added.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

PhaseName = Literal["read", "load", "tokenize", "train", "evaluate", "save"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Root of all events.

    Args:
        at: when, in UTC.
        monotonic_seconds: when by this machine's clock that nobody can set, in the run's log; 0 where it is not known.
    """

    at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    monotonic_seconds: float = 0.0


class PhaseStarted(Event, frozen=True, kw_only=True, tag="phase_started"):
    """The run enters a part of the road."""

    phase: PhaseName


class DataRead(Event, frozen=True, kw_only=True, tag="data_read"):
    """The file has been read and checked: records_in = kept + fixed + dropped."""

    file: str
    format: str
    records_in: int
    kept: int
    fixed: int
    dropped: int
    num_errors: int
    num_warnings: int


class DataSplit(Event, frozen=True, kw_only=True, tag="data_split"):
    """Conversations of each part, and the questions among the held-out ones."""

    train: int
    heldout: int
    heldout_questions: int


class Tokenized(Event, frozen=True, kw_only=True, tag="tokenized"):
    """Tokens of one epoch; `too_long` lists the places left out because they exceed the longest length.

    Of those that exceed it, `split` rows became several conversations, and `shortened` rows lost some of their turns.
    """

    tokens: int
    trained_tokens: int
    longest: int
    max_length_tokens: int
    too_long: list[str]
    changed_by_template: int
    split: int = 0
    shortened: int = 0
    dropped: int = 0
    suggested_length_tokens: int = 0


class ModelLoaded(Event, frozen=True, kw_only=True, tag="model_loaded"):
    """Base and adapter are in memory."""

    base: str
    device: str
    dtype: str
    base_parameters: int
    trainable_parameters: int


class Advised(Event, frozen=True, kw_only=True, tag="advised"):
    """Settings that were chosen for the user, by name; what they set themselves is not among them."""

    kind: str
    found_kind: str
    preset: str
    file: str
    base: str
    settings: dict[str, Any]


class TrainingPlanned(Event, frozen=True, kw_only=True, tag="training_planned"):
    """What will be done; `first_step` is above 0 when a run goes on.

    Held-out rows are measured every `evaluate_every` steps (0: never), a checkpoint is written every `save_every`.
    """

    steps: int
    first_step: int
    epochs: float
    batch_rows: int
    learning_rate: float
    evaluate_every: int = 0
    save_every: int = 0


class StepDone(Event, frozen=True, kw_only=True, tag="step"):
    """One optimizer step: loss in nats per trained token.

    `seconds` is the time of all steps since the last StepDone or Pace alone, by a clock that nobody can set.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    trained_tokens: int
    tokens_per_second: float
    seconds_left: float
    seconds: float = 0.0


class Pace(Event, frozen=True, kw_only=True, tag="pace"):
    """How far the steps are, between two StepDone: after the first few, then every second.

    `seconds` is the time of all steps since the last StepDone or Pace.
    """

    step: int
    steps: int
    seconds: float


class Forecast(Event, frozen=True, kw_only=True, tag="forecast"):
    """How long the whole run will take, from its start to its result; said once, and graded at the end."""

    seconds_low: float
    seconds_high: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A held-out question, what the file answers, and what the adapter answers now."""

    question: str
    expected: str
    answer: str


class HeldoutMeasured(Event, frozen=True, kw_only=True, tag="heldout"):
    """Mean held-out loss of the adapter after `step` steps (0: the base alone).

    Measuring took `seconds`, of which the samples' answers took `answer_seconds`.
    """

    step: int
    loss: float
    samples: list[Sample]
    seconds: float = 0.0
    answer_seconds: float = 0.0


class CheckpointSaved(Event, frozen=True, kw_only=True, tag="checkpoint"):
    """A checkpoint is complete on disk; writing it took `seconds`.

    `peak_memory_bytes` is the most that this attempt's process has held so far, on the device of the base.
    """

    step: int
    path: str
    seconds: float = 0.0
    peak_memory_bytes: int | None = None


class Warned(Event, frozen=True, kw_only=True, tag="warning"):
    """Something the user should know; `key` and `values` are a sentence of the catalogs, `message` is it in words."""

    key: str
    message: str
    values: dict[str, Any] = {}


class RunFinished(Event, frozen=True, kw_only=True, tag="finished"):
    """The run is over and everything is on disk; `peak_memory_bytes` as in CheckpointSaved."""

    run_dir: str
    verdict: str
    peak_memory_bytes: int | None = None


AnyEvent = (
    PhaseStarted
    | DataRead
    | DataSplit
    | Tokenized
    | ModelLoaded
    | Advised
    | TrainingPlanned
    | StepDone
    | Pace
    | Forecast
    | HeldoutMeasured
    | CheckpointSaved
    | Warned
    | RunFinished
)
Report = Callable[[AnyEvent], None]
ShouldStop = Callable[[], bool]


def encode_event(event: AnyEvent) -> bytes:
    """One JSON line, newline included."""
    return msgspec.json.encode(event) + b"\n"


def decode_event(line: bytes | str) -> AnyEvent:
    """Reads one line of `events.jsonl`."""
    event: AnyEvent = msgspec.json.decode(line, type=AnyEvent)
    return event


def ignore(event: AnyEvent) -> None:
    """A report that nobody reads."""


def never() -> bool:
    """A run that nobody stops."""
    return False
