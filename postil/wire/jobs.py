"""Jobs: what is asked to be trained, how far it is, what it costs."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from postil.wire.datasets import DatasetName
from postil.wire.shape import Answer, Request

Preset = Literal["quick", "recommended", "thorough"]
JobState = Literal[
    "validating_files",
    "queued",
    "starting",
    "running",
    "publishing",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
]


class JobRequest(Request):
    """A wish to train: a data set, a base, and what of the settings is not left to the advice."""

    dataset_id: Annotated[str, StringConstraints(max_length=40)]
    version: Annotated[int, Field(ge=1)] | None = Field(None, description="Of the data set; None takes the newest.")
    base: Annotated[str, StringConstraints(min_length=1, max_length=300)] = "starter"
    preset: Preset = "recommended"
    settings: dict[str, Any] = Field(
        default_factory=dict, max_length=100, description='Settings by dotted name, such as {"training.epochs": 3}.'
    )
    name: DatasetName | None = Field(None, description="Of the job and its adapter; None takes the data set's.")
    kind: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="What the data are for; None takes what was found."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    client_token: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="The same token again gets the job that it made; so a lost answer makes no second one."
    )


class JobTrouble(Answer):
    """Why a job failed, or what keeps it waiting."""

    code: str
    message: str
    hint: str
    problems: list[dict[str, Any]] = Field(default_factory=list)


class Progress(Answer):
    """How far a job is; what is not known yet is None."""

    phase: str | None = None
    percent: float | None = None
    seconds_left_low: float | None = None
    seconds_left_high: float | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    smoothed_loss: float | None = None
    heldout_loss: float | None = None
    tokens_per_second: float | None = None


class Job(Answer):
    """One job."""

    id: str
    name: str
    state: JobState
    wish: str = Field(description='"" or what was asked for and is being done: "pause" or "cancel".')
    has_ended: bool
    attempt: int
    priority: int
    dataset_id: str | None
    dataset_version: int
    base: str
    spec: dict[str, Any]
    progress: Progress
    estimate: dict[str, Any] | None = Field(description="Said before: time, memory, price.")
    actual: dict[str, Any] | None = Field(description="Seen afterwards, with how right the estimate was.")
    error: JobTrouble | None
    cost_micro: int = Field(description="So far, or in the end; millionths of the currency.")
    currency: str
    ahead: int | None = Field(description="Jobs that wait before it; None where it does not wait.")
    adapter_id: str | None = Field(description="The result.")
    created_at: datetime
    queued_at: datetime | None
    not_before: datetime | None = Field(description="A retry waits until then.")
    started_at: datetime | None
    ended_at: datetime | None


class JobShort(Answer):
    """A job in a list."""

    id: str
    name: str
    state: JobState
    wish: str
    has_ended: bool
    dataset_id: str | None
    base: str
    progress: Progress
    cost_micro: int
    currency: str
    adapter_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class JobList(Answer):
    """A page of jobs, the newest first."""

    jobs: list[JobShort]
    next_after: str | None = Field(description="Ask with after= this for the next page; None at the end.")


class EventList(Answer):
    """What a run has said, in order."""

    events: list[dict[str, Any]]
    next_after: int = Field(description="Ask with after= this for what comes later.")


class Trouble(Answer):
    """Something that keeps a job from being submitted."""

    code: str
    message: str
    hint: str


class Setting(Answer):
    """One setting with its reason."""

    name: str
    value: Any
    reason: str
    would_change: str
    chosen: bool = Field(description="The user's own value.")


class Recommendation(Answer):
    """What to train with, and why; words in the reader's language."""

    preset: Preset
    kind: str
    kind_in_words: str
    found_kind: str
    evidence: list[str]
    steps: int
    settings: list[Setting]
    notes: list[str]


class Price(Answer):
    """What it will cost; millionths of the currency."""

    low_micro: int
    expected_micro: int
    high_micro: int
    free_rows: int
    tokens: int
    rate_micro: int
    currency: str


class Preview(Answer):
    """What a job would be, before anything is submitted."""

    dataset_id: str
    version: int
    base: str
    rows: int
    heldout_rows: int
    settings: dict[str, Any] = Field(description="All that it would train with, dotted.")
    recommendation: Recommendation
    estimate: dict[str, Any] | None = Field(description="Time and memory as ranges; None where nothing is known.")
    price: Price
    reserve_micro: int = Field(description="What would be held back.")
    problems: list[Trouble] = Field(description="All that keeps it from being submitted.")
