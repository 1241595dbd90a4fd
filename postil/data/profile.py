"""What a data set is like: how much, how long, in which language, how repetitive, and what it is probably for.

Everything is counted, nothing is learned: the same conversations always give the same profile.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from postil.data.conversations import Conversation, normalize_question
from postil.data.languages import Language, language_of
from postil.data.purposes import DataPurpose, Evidence, find_purpose, system_of

SUGGESTED_LENGTHS = (128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384, 32768)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long some texts are.

    Args:
        unit: "characters" or "tokens".
        bins: (shortest, longest, how many) in powers of two, without empty ends.
    """

    unit: Literal["characters", "tokens"]
    shortest: int
    median: int
    p90: int
    p99: int
    longest: int
    bins: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, lengths: Sequence[int], unit: Literal["characters", "tokens"]) -> "Lengths | None":
        """Counts `lengths`; None where there are none."""
        if not lengths:
            return None
        ordered = sorted(lengths)
        rank = partial(_percentile, ordered)
        return cls(unit, ordered[0], rank(0.5), rank(0.9), rank(0.99), ordered[-1], _bins(ordered))

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        names = ("unit", "shortest", "median", "p90", "p99", "longest")
        bins = [{"from": low, "to": high, "count": count} for low, high, count in self.bins]
        return {**{name: getattr(self, name) for name in names}, "bins": bins}


@dataclass(frozen=True, slots=True)
class Profile:
    """What a data set is like.

    Args:
        turns: questions that have an answer.
        languages: conversations by the script that most of their letters are of; see `language_of`.
        conversation_tokens: whole conversations as the base model's template writes them; None without a model.
        suggested_max_tokens: the smallest usual length that at least 99 in 100 conversations fit into.
        longer_than_suggested: conversations that do not.
        untokenized: conversations that the base's chat format refuses.
        system_prompts: distinct system messages; `shared_system` is the most frequent and `system_share` its share of
            all conversations.
        shared_prefix_chars: how many characters every conversation begins with.
        duplicates: conversations that repeat an earlier one word for word.
        repeated_questions: questions asked before, whatever the answer.
        labels: how often each answer stands, where the purpose is "classification"; most frequent first.
        label_entropy_bits: 0 where one label has all rows, log2(number of labels) where all have the same number.
        found_purpose: what the rules say; `purpose` is this, or what the user says.
        evidence: why.
    """

    conversations: int
    turns: int
    multi_turn: int
    languages: dict[Language, int]
    question_chars: Lengths | None
    answer_chars: Lengths | None
    conversation_chars: Lengths | None
    conversation_tokens: Lengths | None
    suggested_max_tokens: int | None
    longer_than_suggested: int
    untokenized: int
    system_prompts: int
    shared_system: str
    system_share: float
    shared_prefix_chars: int
    duplicates: int
    repeated_questions: int
    distinct_answers: int
    labels: tuple[tuple[str, int], ...]
    label_entropy_bits: float | None
    purpose: DataPurpose
    found_purpose: DataPurpose
    evidence: tuple[Evidence, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that every surface shows."""
        lengths = ("question_chars", "answer_chars", "conversation_chars", "conversation_tokens")
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in (*lengths, "labels", "evidence")}
        measured = {name: found.as_dict() if (found := getattr(self, name)) else None for name in lengths}
        labels = [{"label": label, "count": count} for label, count in self.labels]
        return {**plain, **measured, "labels": labels, "evidence": [str(e) for e in self.evidence]}


def profile_conversations(
    conversations: Sequence[Conversation],
    kind: str = "",
    *,
    purpose: DataPurpose | None = None,
    count_tokens: Callable[[Conversation], int | None] | None = None,
) -> Profile:
    """Counts what there is to count.

    Args:
        kind: what the reader took the records for; "classification" decides the purpose.
        purpose: what the user says it is for.
        count_tokens: length of a conversation in a base model's tokens; None where its chat format refuses it.
    """
    systems = Counter(system_of(c) for c in conversations)
    named_systems = Counter({text: count for text, count in systems.items() if text})
    shared_system, system_rows = next(iter(named_systems.most_common(1)), ("", 0))
    answers = [m.content for c in conversations for m in c.messages if m.role == "assistant" and m.content]
    found, evidence = find_purpose(conversations, kind)
    tokens = [n for c in conversations if (n := count_tokens(c)) is not None] if count_tokens else []
    suggested = _suggest_length(tokens)
    labels = Counter(c.answer.strip() for c in conversations) if (purpose or found) == "classification" else Counter()
    return Profile(
        conversations=len(conversations),
        turns=sum(c.num_turns for c in conversations),
        multi_turn=sum(c.num_turns > 1 for c in conversations),
        languages=dict(Counter(language_of(_text_of(c)) for c in conversations).most_common()),
        question_chars=Lengths.of(
            [len(m.content) for c in conversations for m in c.messages if m.role == "user"], "characters"
        ),
        answer_chars=Lengths.of([len(a) for a in answers], "characters"),
        conversation_chars=Lengths.of([len(_text_of(c)) for c in conversations], "characters"),
        conversation_tokens=Lengths.of(tokens, "tokens"),
        suggested_max_tokens=suggested,
        longer_than_suggested=sum(t > suggested for t in tokens) if suggested else 0,
        untokenized=len(conversations) - len(tokens) if count_tokens else 0,
        system_prompts=len(named_systems),
        shared_system=shared_system,
        system_share=system_rows / max(len(conversations), 1),
        shared_prefix_chars=_shared_prefix_chars([_text_of(c) for c in conversations]),
        duplicates=len(conversations) - len({tuple((m.role, m.content) for m in c.messages) for c in conversations}),
        repeated_questions=len(conversations) - len({normalize_question(c.question) for c in conversations}),
        distinct_answers=len({a.strip() for a in answers}),
        labels=tuple(labels.most_common()),
        label_entropy_bits=_entropy_bits(labels) if labels else None,
        purpose=purpose or found,
        found_purpose=found,
        evidence=evidence,
    )


def _text_of(conversation: Conversation) -> str:
    return "\n".join(m.content for m in conversation.messages)


def _shared_prefix_chars(texts: Sequence[str]) -> int:
    """How many characters all texts begin with: what the first and the last in order have in common."""
    first, last = min(texts, default=""), max(texts, default="")
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return same if len(texts) > 1 else 0


def _entropy_bits(counts: Counter[str]) -> float:
    total = counts.total()
    return sum(-n / total * math.log2(n / total) for n in counts.values())


def _suggest_length(tokens: Sequence[int]) -> int | None:
    if not tokens:
        return None
    wanted = _percentile(sorted(tokens), 0.99)
    return next((length for length in SUGGESTED_LENGTHS if length >= wanted), wanted)


def _percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of the values are not above."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _bins(ordered: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    edges = [0, 1]
    while edges[-1] <= ordered[-1]:
        edges.append(edges[-1] * 2)
    counts = Counter(length.bit_length() for length in ordered)
    bins = [(low, high - 1, counts[i]) for i, (low, high) in enumerate(pairwise(edges))]
    first = next(i for i, (_, _, count) in enumerate(bins) if count)
    return tuple(bins[first:])
