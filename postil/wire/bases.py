"""Bases: what may be trained here."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from postil.wire.datasets import Trouble
from postil.wire.shape import Answer, Request

BaseName = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Hub = Literal["hf", "modelscope"]


class Base(Answer):
    """A base as a card shows it."""

    name: str = Field(description="As a job names it.")
    title: str
    description: str
    source: str = Field(description='"package", "hf", "modelscope" or "folder".')
    revision: str | None
    state: str = Field(description='"ready", "absent", "waiting", "downloading" or "failed".')
    is_allowed: bool
    is_recommended: bool
    is_gated: bool
    licence: str
    family: str
    num_parameters: int
    context_tokens: int
    num_bytes: int = Field(description="Of a download; 0 before the hub was asked.")
    done_bytes: int
    percent: int
    error: Trouble | None
    fits: str = Field(description='What this machine\'s memory suffices for: "train", "answer", "no" or "unknown".')
    fits_in_words: str
    bytes_to_train: int
    bytes_to_answer: int
    memory_bytes: int


class BaseList(Answer):
    """Bases: recommended ones first, then by size."""

    bases: list[Base]


class DownloadRequest(Request):
    """Which base is to be fetched."""

    name: BaseName
    hub: Hub | None = Field(None, description="None takes the one that it was allowed for.")


class HubBase(Request):
    """A hub's model that may be trained here from now on."""

    name: BaseName = Field(description='"organisation/name".')
    hub: Hub = "hf"
    revision: Annotated[str, StringConstraints(max_length=100)] | None = None


class FolderBase(Request):
    """A base in a folder of the service's machine."""

    folder: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(description="Its absolute path.")
    name: BaseName | None = Field(None, description="By which jobs name it; None takes the folder's.")


class BaseRef(Request):
    """A base by its name."""

    name: BaseName
