"""The numbers of a data set and of a loaded base that advice is given on."""

from collections.abc import Sequence

from postil.advice.facts import BaseFacts, DataFacts
from postil.config import DataConfig
from postil.data.conversations import Conversation
from postil.data.examples import Tokenized
from postil.data.purposes import find_purpose
from postil.data.splits import Split
from postil.models.loading import Base
from postil.models.memory import shape_from_config


def base_facts(base: Base) -> BaseFacts:
    """What advice needs to know of a loaded base."""
    return BaseFacts(
        base.name,
        base.family,
        base.hidden_size,
        base.num_parameters,
        base.device,
        shape_from_config(base.model.config.to_dict()),
        base.dtype,
        base.max_length_tokens,
    )


def data_facts(
    config: DataConfig, split: Split, train: Tokenized, heldout: Tokenized, records_kind: str = ""
) -> DataFacts:
    """What advice needs to know of tokenized rows.

    Args:
        records_kind: what the reader took the records for; "" where nobody read them (a prepared folder).
    """
    conversations = (*split.train, *split.heldout)
    found, evidence = find_purpose(conversations, records_kind)
    answers = [e.num_trained_tokens for e in heldout.examples] or [e.num_trained_tokens for e in train.examples]
    turns = sum(c.num_turns for c in (heldout.conversations or train.conversations))
    return DataFacts(
        rows=len(train.examples),
        heldout_rows=len(heldout.examples),
        heldout_questions=split.num_heldout_questions,
        tokens=sum(len(e.input_ids) for e in train.examples),
        supervised_tokens=sum(e.num_trained_tokens for e in train.examples),
        heldout_tokens=sum(len(e.input_ids) for e in heldout.examples),
        longest_tokens=max(len(e.input_ids) for e in (*train.examples, *heldout.examples)),
        usual_longest_tokens=train.suggested_length_tokens,
        answer_tokens=sum(answers) / max(1, turns),
        duplicates=_num_duplicates(conversations),
        distinct_answers=len({c.answer.strip() for c in conversations}),
        kind=config.kind or found,
        found_kind=found,
        evidence=evidence,
    )


def _num_duplicates(conversations: Sequence[Conversation]) -> int:
    return len(conversations) - len({tuple((m.role, m.content) for m in c.messages) for c in conversations})
