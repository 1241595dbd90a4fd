"""What a job's run has said, for its owner: the lines of its event log, without paths of this machine."""

from dataclasses import dataclass
from typing import Any

import msgspec

from postil.events import AnyEvent, Warned
from postil.language import has_sentence, say
from postil.platform.jobs.jobs import run_folder
from postil.platform.jobs.views import get_job
from postil.platform.service import Service
from postil.recipes.launch import read_events

_OURS = ("path", "run_dir", "file")


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events.

    Args:
        events: in order, each with its kind under "event" and its time under "at".
        next_after: what to ask with for those that come later.
    """

    events: tuple[dict[str, Any], ...]
    next_after: int


def read_job_events(service: Service, account_id: str, job_id: str, after: int = 0) -> EventPage:
    """Events that the job's run has written since.

    Args:
        after: as the last call returned it; 0 begins at the beginning.

    Raises:
        MissingInputError: the account has no such job.
    """
    job = get_job(service, account_id, job_id)
    events, offset = read_events(run_folder(service, job.id), max(after, 0))
    return EventPage(tuple(_plain(event) for event in events), offset)


def _plain(event: AnyEvent) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(event)
    if isinstance(event, Warned) and has_sentence(event.key):
        found["message"] = say(event.key, **event.values)
    return {name: value for name, value in found.items() if name not in _OURS}
