"""Facts of invented data sets."""

from typing import Any

from postil.advice.facts import DataFacts
from postil.data.purposes import DataPurpose


def data_of(rows: int, kind: DataPurpose = "customer_service", tokens_per_row: int = 60, **changes: Any) -> DataFacts:
    """`rows` trained rows of which half of the tokens are learned; a tenth as many are held out."""
    heldout = rows // 10
    values: dict[str, Any] = {
        "rows": rows,
        "heldout_rows": heldout,
        "heldout_questions": heldout,
        "tokens": rows * tokens_per_row,
        "supervised_tokens": rows * tokens_per_row // 2,
        "heldout_tokens": heldout * tokens_per_row,
        "longest_tokens": 2 * tokens_per_row,
        "usual_longest_tokens": 128,
        "answer_tokens": tokens_per_row / 2,
        "duplicates": 0,
        "distinct_answers": rows,
        "kind": kind,
        "found_kind": kind,
    }
    return DataFacts(**{**values, **changes})
