"""Settings for a data set and a base: each with a value, the reason for it, and what would change it.

    facts of the data ──┐
    facts of the base ──┼─> recommend ─> Recommendation: settings, in the order in which they depend on each other
    preset, chosen ─────┘

The rules and their constants stand in `rules.py`. What the user has chosen is never replaced: it comes back as chosen,
and the settings that depend on it are worked out from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from postil.advice import rules
from postil.advice.facts import BaseFacts, DataFacts
from postil.data.purposes import DATA_PURPOSES, DataPurpose, Evidence
from postil.data.splits import MIN_ROWS_TO_SPLIT
from postil.data.truncation import round_up
from postil.language import current_language, say

Preset = Literal["quick", "recommended", "thorough"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
KINDS = DATA_PURPOSES
WEAK_ROWS = 60
"""Under so many rows a verdict is called weak, as in `evaluation/verdict.py`."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence of the catalogs: its key, and what it names."""

    key: str
    values: dict[str, Any]

    def __str__(self) -> str:
        return say(self.key, **self.values)


@dataclass(frozen=True, slots=True)
class Setting:
    """One recommended setting.

    Args:
        name: as in the settings of a run, such as "training.epochs".
        value: as it goes into them.
        reasons: why this value.
        would_change: what would make it another one.
        chosen: the user's own value, which was left as it is.
    """

    name: str
    value: Any
    reasons: tuple[Reason, ...]
    would_change: Reason
    chosen: bool = False

    @property
    def why(self) -> str:
        """The reasons as one text, in the current language."""
        return _joined(map(str, self.reasons))

    @property
    def why_before(self) -> str:
        """The reasons before the last one, which has decided."""
        return _joined(map(str, self.reasons[:-1]))

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape: words in the current language, and the keys to say it in another one."""
        return {
            "name": self.name,
            "value": self.value,
            "reason": self.why,
            "would_change": str(self.would_change),
            "chosen": self.chosen,
            "keys": [{"key": r.key, "values": r.values} for r in (*self.reasons, self.would_change)],
        }


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to train with.

    Args:
        kind: of the data: what was found, or what the user said.
        found_kind: what was found; `evidence` is why.
        notes: what else should be known, such as a verdict that will be weak.
        steps: of the whole run.
    """

    preset: Preset
    kind: DataPurpose
    found_kind: DataPurpose
    evidence: tuple[Evidence, ...]
    settings: tuple[Setting, ...]
    notes: tuple[Reason, ...]
    steps: int

    def value(self, name: str) -> Any:
        """The value of a setting.

        Raises:
            KeyError: it is not among the recommended ones.
        """
        return {s.name: s.value for s in self.settings}[name]

    def changes(self) -> dict[str, Any]:
        """What `RunConfig.replace` takes, the user's own choices left out."""
        return {s.name: s.value for s in self.settings if not s.chosen}

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape, words in the current language."""
        return {
            "preset": self.preset,
            "kind": self.kind,
            "kind_in_words": say(f"advice.kind.{self.kind}"),
            "found_kind": self.found_kind,
            "evidence": [str(e) for e in self.evidence],
            "steps": self.steps,
            "settings": [s.as_dict() for s in self.settings],
            "notes": [str(n) for n in self.notes],
            "evidence_keys": [{"key": e.key, "values": e.values} for e in self.evidence],
            "notes_keys": [{"key": n.key, "values": n.values} for n in self.notes],
        }


def said_again(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What `Recommendation.as_dict` gave, in the language of now; what was kept without its keys stays as it is."""
    told = dict(kept)
    if "kind" in kept:
        told["kind_in_words"] = say(f"advice.kind.{kept['kind']}")
    for name in ("evidence", "notes"):
        if f"{name}_keys" in kept:
            told[name] = _sentences(kept[f"{name}_keys"])
    if "settings" in kept:
        told["settings"] = [_setting_again(setting) for setting in kept["settings"]]
    return told


def _setting_again(kept: Mapping[str, Any]) -> dict[str, Any]:
    if not kept.get("keys"):
        return dict(kept)
    *reasons, would_change = _sentences(kept["keys"])
    return {**kept, "reason": _joined(reasons), "would_change": would_change}


def _sentences(keys: Sequence[Mapping[str, Any]]) -> list[str]:
    return [say(one["key"], **one["values"]) for one in keys]


def _joined(sentences: Iterable[str]) -> str:
    return ("" if current_language() == "zh" else " ").join(sentences)


def with_kind(data: DataFacts, kind: DataPurpose | None) -> DataFacts:
    """The same facts with the kind that the user says; None leaves what was found."""
    return replace(data, kind=kind or data.found_kind)


def recommend(
    data: DataFacts, base: BaseFacts, preset: Preset = "recommended", chosen: Mapping[str, Any] | None = None
) -> Recommendation:
    """Recommends every setting that a good value of depends on data or base.

    Args:
        data: at least one row.
        chosen: settings that the user has given a value, by name, such as {"training.epochs": 3.0}; None is open.
    """
    own = {name: value for name, value in (chosen or {}).items() if value is not None}
    epochs = _epochs(data, base, preset, own)
    batch = _batch_rows(data, base, epochs, own)
    rows_per_step = batch.value * own.get("training.accumulation", 1)
    steps = own.get("training.max_steps") or rules.num_steps(data.rows, rows_per_step, epochs.value)
    rank = _rank(data, base, own)
    settings = (
        *([] if "training.max_steps" in own else [epochs]),
        batch,
        rank,
        _alpha(own),
        _targets(own),
        _dropout(data, base, epochs.value, own),
        _learning_rate(base, rank.value, rows_per_step, steps, own),
        _warmup(steps, own),
        _max_length(data, base, own),
        _heldout(data, own),
    )
    return Recommendation(preset, data.kind, data.found_kind, data.evidence, settings, _notes(data), steps)


def _settle(name: str, value: Any, reasons: list[Reason], change: str, own: Mapping[str, Any]) -> Setting:
    """The setting, or the user's own value for it."""
    would_change = Reason(f"advice.change.{change}", {})
    if name in own:
        return Setting(name, own[name], (Reason("advice.chosen", {}),), would_change, chosen=True)
    return Setting(name, value, tuple(reasons), would_change)


def _epochs(data: DataFacts, base: BaseFacts, preset: Preset, own: Mapping[str, Any]) -> Setting:
    measured = rules.measured_for(base.name)
    by_rows = rules.epochs_by_rows(data.rows)
    reasons = [Reason("advice.epochs.by_rows", {"rows": data.rows, "epochs": by_rows})]
    factor = rules.epoch_factor(data.kind, measured)
    exact = by_rows * factor
    if factor != 1.0:
        reasons.append(Reason(f"advice.epochs.{data.kind}", {"factor": factor}))
    if data.kind == "fact_qa":
        exact = min(exact, max(rules.MAX_EPOCHS_OF_FACTS, by_rows))
    if data.duplicate_share > rules.MANY_DUPLICATES:
        exact *= rules.DUPLICATES_FACTOR
        reasons.append(Reason("advice.epochs.duplicates", {"share": data.duplicate_share}))
    epochs = max(1, _half_up(exact))
    least_epochs, least_steps = rules.floors(data.kind, data.rows, measured)
    if epochs < least_epochs:
        epochs = least_epochs
        reasons.append(Reason("advice.epochs.measured", {"base": base.name, "epochs": epochs}))
    steps_per_epoch = rules.num_steps(data.rows, own.get("training.batch_rows") or measured.min_batch_rows, 1)
    if epochs * steps_per_epoch < least_steps:
        epochs = -(-least_steps // steps_per_epoch)
        reasons.append(Reason("advice.epochs.few_steps", {"steps": least_steps, "epochs": epochs}))
    if preset != "recommended":
        epochs = max(1, _half_up(epochs * rules.PRESET_FACTOR[preset]))
        reasons.append(Reason(f"advice.epochs.{preset}", {"epochs": epochs}))
    return _settle("training.epochs", float(epochs), reasons, "epochs", own)


def _half_up(value: float) -> int:
    return int(value + 0.5)


def _batch_rows(data: DataFacts, base: BaseFacts, epochs: Setting, own: Mapping[str, Any]) -> Setting:
    rows = rules.choose_batch_rows(data.rows, epochs.value, rules.measured_for(base.name))
    if "training.max_steps" in own:  # the number of steps does not hang on the batch, so the smallest learns best
        rows = max(rules.MIN_BATCH_ROWS, rules.measured_for(base.name).min_batch_rows)
    reasons = [Reason("advice.batch.steps", {"rows": rows, "target": rules.TARGET_STEPS})]
    if rows == rules.MAX_BATCH_ROWS:
        reasons.append(Reason("advice.batch.most", {"most": rules.MAX_BATCH_ROWS}))
    return _settle("training.batch_rows", rows, reasons, "batch", own)


def _rank(data: DataFacts, base: BaseFacts, own: Mapping[str, Any]) -> Setting:
    needed = rules.USUAL_RANK
    if base.shape is not None:
        needed = rules.needed_rank(data.supervised_tokens, rules.parameters_per_rank(base.shape))
    rank = min(rules.MAX_RANK, max(rules.USUAL_RANK, needed))
    reasons = [Reason("advice.rank.tokens", {"tokens": data.supervised_tokens, "rank": rank})]
    if data.kind in rules.SMALL_RANK_KINDS and data.rows < rules.SMALL_RANK_BELOW_ROWS:
        rank = rules.SMALL_RANK
        reasons = [Reason(f"advice.rank.small_{data.kind}", {"rank": rank, "rows": data.rows})]
    if data.supervised_tokens > rules.LARGE_RANK_FROM_TOKENS and rank < rules.LARGE_RANK:
        rank = rules.LARGE_RANK
        reasons = [Reason("advice.rank.large", {"tokens": data.supervised_tokens, "rank": rank})]
    measured = rules.measured_for(base.name).rank
    if measured is not None and rank < measured:
        rank = measured
        reasons = [Reason("advice.rank.measured", {"base": base.name, "rank": rank})]
    if rank > rules.largest_rank(base.shape):
        rank = rules.largest_rank(base.shape)
        reasons.append(Reason("advice.rank.side", {"rank": rank}))
    return _settle("adapter.rank", rank, reasons, "rank", own)


def _alpha(own: Mapping[str, Any]) -> Setting:
    return _settle("adapter.alpha", rules.ALPHA, [Reason("advice.alpha", {})], "alpha", own)


def _targets(own: Mapping[str, Any]) -> Setting:
    return _settle("adapter.target_modules", "all-linear", [Reason("advice.targets", {})], "targets", own)


def _dropout(data: DataFacts, base: BaseFacts, epochs: float, own: Mapping[str, Any]) -> Setting:
    measured = rules.measured_for(base.name).dropout
    few, often = data.all_rows < rules.DROPOUT_BELOW_ROWS, epochs >= rules.DROPOUT_FROM_EPOCHS
    dropout = rules.DROPOUT if few and often else 0.0
    key = "advice.dropout.few" if dropout else "advice.dropout.none"
    if measured is not None and measured != dropout:
        dropout, key = measured, "advice.dropout.measured"
    values = {"dropout": dropout, "rows": data.all_rows, "epochs": round(epochs), "base": base.name}
    return _settle("adapter.dropout", dropout, [Reason(key, values)], "dropout", own)


def _learning_rate(base: BaseFacts, rank: int, batch_rows: int, steps: int, own: Mapping[str, Any]) -> Setting:
    measured = rules.measured_for(base.name).learning_rate
    if measured is not None:
        reasons = [Reason("advice.rate.measured", {"base": base.name, "rate": measured})]
        return _settle("training.learning_rate", measured, reasons, "rate_measured", own)
    rate = rules.choose_learning_rate(
        base.family, base.hidden_size, base.num_parameters, rank=rank, batch_rows=batch_rows, steps=steps
    )
    known = base.family in rules.LR_EXPONENT
    values = {"rate": rate, "hidden": base.hidden_size, "family": base.family, "rows": batch_rows}
    reasons = [Reason("advice.rate.by_width" if known else "advice.rate.unknown_family", values)]
    if steps < rules.MIN_STEPS:
        reasons.append(Reason("advice.rate.few_steps", {"steps": steps}))
    return _settle("training.learning_rate", rate, reasons, "rate", own)


def _warmup(steps: int, own: Mapping[str, Any]) -> Setting:
    warmup = rules.choose_warmup_steps(steps)
    return _settle("training.warmup_steps", warmup, [Reason("advice.warmup", {"steps": steps})], "warmup", own)


def _max_length(data: DataFacts, base: BaseFacts, own: Mapping[str, Any]) -> Setting:
    """The longest row's own length: rows are packed without padding, so a long one costs its own tokens only."""
    wanted = round_up(data.longest_tokens)
    limit = min(wanted, base.context_tokens or wanted)
    values = {"longest": data.longest_tokens, "usual": data.usual_longest_tokens, "limit": limit}
    reasons = [Reason("advice.length.whole" if limit >= data.longest_tokens else "advice.length.context", values)]
    if data.usual_longest_tokens < limit:
        reasons.append(Reason("advice.length.usual", values))
    return _settle("data.max_length_tokens", limit, reasons, "length", own)


def _heldout(data: DataFacts, own: Mapping[str, Any]) -> Setting:
    values = {"rows": data.heldout_rows, "all": data.all_rows, "questions": data.heldout_questions}
    key = "advice.heldout.rows" if data.heldout_rows else "advice.heldout.none"
    reasons = [Reason(key, {**values, "needed": MIN_ROWS_TO_SPLIT})]
    return _settle("data.heldout_share", 0.1, reasons, "heldout", own)


def _notes(data: DataFacts) -> tuple[Reason, ...]:
    notes = []
    if data.all_rows < MIN_ROWS_TO_SPLIT:
        notes.append(Reason("advice.note.no_verdict", {"rows": data.all_rows, "needed": MIN_ROWS_TO_SPLIT}))
    elif data.all_rows < WEAK_ROWS:
        notes.append(Reason("advice.note.weak_verdict", {"rows": data.all_rows, "needed": WEAK_ROWS}))
    if not data.is_exact:
        notes.append(Reason("advice.note.guessed", {}))
    return tuple(notes)
