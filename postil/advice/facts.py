"""What advice is given on: the numbers of a data set and of a base, as plain values that travel as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from postil.data.languages import Language
from postil.data.profile import Lengths, Profile
from postil.data.purposes import DataPurpose, Evidence
from postil.data.splits import wanted_heldout_rows
from postil.data.truncation import round_up
from postil.models.catalog import CatalogEntry
from postil.models.memory import ModelShape

# Tokens of a character, where no tokenizer was asked: between the starter's (one token a Chinese character) and those
# of large vocabularies (Qwen: about 0.65 Chinese, 0.25 English), so that a first guess errs to the dear side.
TOKENS_PER_CHAR: dict[Language, float] = {"zh": 0.8, "ja": 0.9, "ko": 0.9, "en": 0.28, "other": 0.5}
# What a chat template adds to a conversation, in tokens.
TEMPLATE_TOKENS = 12


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What advice needs to know of a base model.

    Args:
        device: where it will train: "cpu", "cuda" or "mps".
        shape: None where the architecture names its sizes otherwise; then neither memory nor FLOP are told.
        dtype: of its weights there.
        context_tokens: the longest text that it was made for; None where its config does not say.
    """

    name: str
    family: str
    hidden_size: int
    num_parameters: int
    device: str
    shape: ModelShape | None = None
    dtype: str = "fp32"
    context_tokens: int | None = None

    @classmethod
    def of_entry(cls, entry: CatalogEntry, device: str = "cpu", dtype: str = "fp32") -> "BaseFacts":
        """The facts of a base in the catalog."""
        shape = entry.shape
        return cls(
            entry.id, entry.family, shape.hidden, entry.num_parameters, device, shape, dtype, shape.context_tokens
        )

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one weight."""
        return 4 if self.dtype == "fp32" else 2

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BaseFacts":
        """Reads what `as_dict` wrote."""
        shape = values.get("shape")
        return cls(**{**values, "shape": ModelShape(**shape) if shape else None})


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What advice needs to know of a data set.

    Args:
        rows: rows that will train, held-out ones left out.
        tokens: of the rows that train, one pass.
        supervised_tokens: those of them that are learned.
        longest_tokens: of the longest row.
        usual_longest_tokens: what 99.5 % of the rows fit into, rounded up to a multiple of 64.
        answer_tokens: of a held-out answer, on average.
        duplicates: rows of the whole file that repeat an earlier one word for word.
        distinct_answers: of all rows.
        kind: what the data are for: what was found, or what the user says.
        evidence: why `found_kind` was found.
        is_exact: False where tokens were guessed from characters.
    """

    rows: int
    heldout_rows: int
    heldout_questions: int
    tokens: int
    supervised_tokens: int
    heldout_tokens: int
    longest_tokens: int
    usual_longest_tokens: int
    answer_tokens: float
    duplicates: int
    distinct_answers: int
    kind: DataPurpose
    found_kind: DataPurpose
    evidence: tuple[Evidence, ...] = ()
    is_exact: bool = True

    @property
    def all_rows(self) -> int:
        """Rows of both parts."""
        return self.rows + self.heldout_rows

    @property
    def duplicate_share(self) -> float:
        """Share of all rows that repeat an earlier one, between 0 and 1."""
        return self.duplicates / max(1, self.all_rows)

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape; evidence as keys of the catalogs, so that it can be said in any language."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DataFacts":
        """Reads what `as_dict` wrote."""
        known = {field.name for field in fields(cls)}
        evidence = tuple(Evidence(e["key"], e["values"]) for e in values["evidence"])
        return cls(**{**{k: v for k, v in values.items() if k in known}, "evidence": evidence})

    @classmethod
    def of_profile(cls, profile: Profile, heldout_share: float = 0.1) -> "DataFacts":
        """A first guess without a tokenizer: tokens out of characters, parts out of the rule that holds rows out."""
        per_char = _tokens_per_char(profile.languages)
        heldout = wanted_heldout_rows(profile.conversations, heldout_share)
        rows = profile.conversations - heldout
        chars, answers = profile.conversation_chars, profile.answer_chars
        mean = TEMPLATE_TOKENS + per_char * _mean(chars)
        answer = per_char * _mean(answers)
        longest = round(TEMPLATE_TOKENS + per_char * (chars.longest if chars else 0))
        usual = round(TEMPLATE_TOKENS + per_char * (chars.p99 if chars else 0))
        turns = profile.turns / max(1, profile.conversations)
        return cls(
            rows=rows,
            heldout_rows=heldout,
            heldout_questions=heldout,
            tokens=round(rows * mean),
            supervised_tokens=round(rows * turns * (answer + 1)),
            heldout_tokens=round(heldout * mean),
            longest_tokens=longest,
            usual_longest_tokens=round_up(usual),
            answer_tokens=answer,
            duplicates=profile.duplicates,
            distinct_answers=profile.distinct_answers,
            kind=profile.purpose,
            found_kind=profile.found_purpose,
            evidence=profile.evidence,
            is_exact=False,
        )


def _mean(lengths: Lengths | None) -> float:
    """Out of the bins, each counted with its middle."""
    bins = lengths.bins if lengths else ()
    total = sum(count for _, _, count in bins)
    longest = lengths.longest if lengths else 0
    return sum(count * (low + min(high, longest)) / 2 for low, high, count in bins) / max(1, total)


def _tokens_per_char(languages: Mapping[Language, int]) -> float:
    total = sum(languages.values())
    return sum(TOKENS_PER_CHAR[name] * rows for name, rows in languages.items()) / max(1, total)
