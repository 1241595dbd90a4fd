"""A better answer, given while an adapter was tried: it becomes a row of the next version of the data it came from.

The row and the note on the trial are written together, so that nothing in between can add it twice.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from postil.errors import ConflictError, MissingInputError
from postil.platform.adapters.trial_views import TrialView, conversation, own_trial
from postil.platform.adapters.trials import get_trial
from postil.platform.adapters.views import own_row
from postil.platform.datasets.edits import add_conversation
from postil.platform.datasets.views import get_dataset
from postil.platform.service import Service
from postil.platform.store.tables import TrialAnswer

_TRIES = 5


def correct_answer(service: Service, account_id: str, adapter_id: str, trial_id: str, answer: str) -> TrialView:
    """Adds the question with the answer that it should have had to the newest version of the adapter's data.

    Of a conversation its earlier turns come first, with what the adapter has answered, or what that was corrected to.

    Raises:
        MissingInputError: no such trial, the adapter is not one's own, or its data are deleted.
        ConflictError: the answer was corrected before, or others keep changing the data.
        UsageError: the answer is empty, or longer than a cell may be.
    """
    dataset_id = _own_data(service, account_id, adapter_id)
    trial, given = get_trial(service, account_id, adapter_id, trial_id), answer.strip()
    if trial.corrected_version is not None:
        raise ConflictError("platform.trials.corrected", version=trial.corrected_version)

    def note(session: Session, version: int) -> None:
        row = own_trial(session, account_id, adapter_id, trial_id)
        if row.corrected_version is not None:  # by another tab, a moment ago
            raise ConflictError("platform.trials.corrected", version=row.corrected_version)
        row.correction, row.corrected_version = given, version

    _add(service, account_id, dataset_id, _turns(service, account_id, trial, given), note)
    return get_trial(service, account_id, adapter_id, trial_id)


def _own_data(service: Service, account_id: str, adapter_id: str) -> str:
    with service.database.reading() as session:
        dataset_id = own_row(session, account_id, adapter_id).lineage.get("dataset_id")
    if dataset_id is None:
        raise MissingInputError("platform.datasets.missing")
    return get_dataset(service, account_id, str(dataset_id)).id


def _turns(service: Service, account_id: str, trial: TrialView, answer: str) -> list[dict[str, str]]:
    with service.database.reading() as session:
        row = own_trial(session, account_id, trial.adapter_id, trial.id)
        tuned = next(answer.place for answer in trial.answers if answer.side == "tuned")
        messages = []
        for earlier in conversation(session, row):
            given = session.get_one(TrialAnswer, (earlier.id, tuned)).text
            said = answer if earlier.id == row.id else earlier.correction or given
            messages += [{"role": "user", "content": earlier.question}, {"role": "assistant", "content": said}]
    return messages


def _add(
    service: Service,
    account_id: str,
    dataset_id: str,
    messages: list[dict[str, str]],
    note: Callable[[Session, int], None],
) -> None:
    """Makes the version that has the conversation. A row more is in nobody's way: who was quicker is followed."""
    for tries_left in reversed(range(_TRIES)):
        seen = get_dataset(service, account_id, dataset_id).version
        try:
            add_conversation(service, account_id, dataset_id, version=seen, messages=messages, also=note)
            return
        except ConflictError as error:
            if error.key != "platform.datasets.changed_meanwhile" or not tries_left:
                raise
