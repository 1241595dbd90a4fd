"""Data sets: uploads, reports, edits, versions."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from postil.wire.shape import Answer, Request

DatasetName = Annotated[str, StringConstraints(min_length=1, max_length=500)]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Column = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Options(Answer):
    """How a file is read, as its owner has said; None, {} and false leave it to be found out."""

    encoding: str | None = None
    columns: dict[str, str] = Field(default_factory=dict, description="Purpose -> header or field.")
    single_turn: bool = Field(False, description="Every question stands alone.")
    kind: str | None = Field(None, description="What the data are for.")


class Evidence(Answer):
    """Why a kind was found."""

    key: str
    sentence: str

    @model_validator(mode="before")
    @classmethod
    def _say(cls, found: Any) -> Any:
        return found if isinstance(found, dict) else {"key": found.key, "sentence": str(found)}


class Trouble(Answer):
    """Why something ended as it did."""

    key: str
    message: str
    hint: str = ""


class Dataset(Answer):
    """An uploaded file and what is known of it."""

    id: str
    name: str
    file_name: str
    state: str = Field(description='"uploading", "validating", "ready", "needs_attention" or "unreadable".')
    num_bytes: int
    sha256: str
    error: Trouble | None = Field(description="Why it is unreadable.")
    version: int = Field(description="The newest; 0 before the upload is complete.")
    num_edits: int
    rows: int = Field(description="Rows that can train; 0 before the check.")
    options: Options
    kind: str | None = Field(description="What the data are for: as the owner says, else as was found.")
    evidence: list[Evidence]
    summary: dict[str, Any] | None = Field(description="Counts, columns, profile and examples; None before the check.")
    created_at: datetime
    updated_at: datetime


class DatasetShort(Answer):
    """A data set in a list: without its summary."""

    id: str
    name: str
    file_name: str
    state: str
    num_bytes: int
    version: int
    rows: int
    kind: str | None
    created_at: datetime
    updated_at: datetime


class DatasetList(Answer):
    """A page of data sets, the newest first."""

    datasets: list[DatasetShort]
    next_after: str | None = Field(description="Ask with after= this for the next page; None at the end.")


class Version(Answer):
    """One state of the edits; numbered, and never changed."""

    number: int
    what: str = Field(description='"upload", "fixes", "cell", "leave_out", "add", "options" or "undo".')
    undoes: int | None
    num_edits: int
    rows: int
    options: Options
    is_checked: bool
    jobs: list[str]
    created_at: datetime


class VersionList(Answer):
    """Versions, the newest first."""

    versions: list[Version]


class DatasetRename(Request):
    """Another name; the file keeps its own."""

    name: DatasetName


class UploadStart(Request):
    """A file that comes in pieces."""

    file_name: FileName
    name: DatasetName | None = Field(None, description="Of the data set; None takes the file's.")


class UploadState(Answer):
    """How much has come; the next piece begins there."""

    id: str
    received_bytes: int


class UploadEnd(Request):
    """That all pieces are there, and what they should add up to."""

    num_bytes: Annotated[int, Field(ge=0)] | None = None
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-fA-F]{64}$")] | None = None


class RowPlace(Request):
    """A row of the file, as problems and rows name it."""

    file: Annotated[str, StringConstraints(max_length=4096)] = Field("", description="Empty: the data set's own file.")
    sheet: Annotated[str, StringConstraints(max_length=1000)] | None = None
    row: Annotated[int, Field(ge=1, le=10**9)]


class Change(Request):
    """A change names the version that was seen; where somebody was quicker, it is refused with 409."""

    version: Annotated[int, Field(ge=1, le=10**9, description="The newest version, as it was seen.")]


class FixRequest(Change):
    """What a machine is to mend."""

    problems: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=10_000)] = Field(
        default_factory=list, description="Numbers of single problems in the report."
    )
    codes: Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(max_length=200)] = Field(
        default_factory=list, description="Codes of problems: all like these."
    )
    automatic: bool = Field(False, description="All for which nobody needs to be asked.")


class CellEdit(Change):
    """Another text for one cell, or at a JSON path."""

    place: RowPlace
    column: Column
    text: Annotated[str, StringConstraints(max_length=1_000_000)]


class LeaveOut(Change):
    """Rows that are not to train."""

    places: Annotated[list[RowPlace], Field(min_length=1, max_length=10_000)]


class OptionsChange(Change):
    """How the file is to be read from now on, in place of what was said before."""

    encoding: Annotated[str, StringConstraints(max_length=100)] | None = None
    columns: Annotated[dict[Column, Column], Field(max_length=50)] = Field(default_factory=dict)
    single_turn: bool = False
    kind: Annotated[str, StringConstraints(max_length=100)] | None = None


class Undo(Change):
    """Goes back to an earlier version; None is the one before."""

    to: Annotated[int, Field(ge=1, le=10**9)] | None = None


class CodeCount(Answer):
    """How often a kind of problem was found."""

    code: str
    severity: str
    count: int
    fixable: int = Field(description="How many of them a machine can mend.")
    automatic: int = Field(description="How many of them unasked.")


class Problem(Answer):
    """One problem, in the reader's language."""

    number: int = Field(description="Stays the same within the version.")
    code: str
    severity: str
    file: str
    sheet: str | None
    row: int
    column: str | None
    json_path: str | None
    excerpt: str
    message: str
    hint: str
    fix: dict[str, Any] | None


class Report(Answer):
    """A page of the report of a version."""

    version: int
    counts: list[CodeCount]
    total: int = Field(description="Problems of the code that was asked for, or of all.")
    offset: int
    problems: list[Problem]


class Place(Answer):
    """Where something stands."""

    file: str
    row: int
    sheet: str | None


class Cell(Answer):
    """One text of a row, and how an edit names it."""

    place: Place
    column: str
    text: str


class Row(Answer):
    """A row with its edits."""

    place: Place
    cells: list[Cell]
    messages: list[dict[str, Any]] = Field(description="As chat bubbles; empty where the row cannot train.")
    is_edited: bool
    is_left_out: bool


class RowList(Answer):
    """Rows in file order."""

    rows: list[Row]


class RowsWanted(Request):
    """Rows by their places."""

    places: Annotated[list[RowPlace], Field(min_length=1, max_length=500)]
    version: Annotated[int, Field(ge=1, le=10**9)] | None = None
