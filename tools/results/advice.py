"""Measures what the advice is worth and writes docs/results/advice.md.

    OMP_NUM_THREADS=1 python -m tools.results.advice --data DIR [--only o03 o10 o17 ...]

Every figure is from the runs that this script made; they are kept under runs/results/advice, and one that is complete
there is not made again. The fixed arm has the settings that a run had before there was advice, given one by one.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from postil.advice.cards import CARDS, rates_of_card
from postil.advice.estimate import estimate_run
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.pricing import MICRO, spell_micro
from postil.advice.progress import progress_of
from postil.advice.rates import Rates
from postil.advice.recommend import recommend
from postil.advice.rules import EPOCHS_BY_ROWS, TARGET_STEPS
from postil.advice.wording import amount_range, duration_range
from postil.config import RunConfig, check_config
from postil.data.examples import tokenize_conversations
from postil.data.profile import profile_conversations
from postil.data.records import read_records
from postil.data.splits import split_conversations
from postil.data.validation import validate_dataset
from postil.evaluation.verdict import bootstrap_interval, mean_by_question
from postil.events import decode_event
from postil.language import say
from postil.models.catalog import find_entry
from postil.models.generation import Sampling, generate_answers
from postil.models.scoring import heldout_losses
from postil.models.tuned import load_tuned
from postil.recipes.lora_sft import train_lora

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "advice.md"
RUNS = ROOT / "runs" / "results" / "advice"
COPY = ROOT / "examples" / "product_copy.csv"

KINDS = {
    "customer_service": ("o10", "o11", "o12"),
    "fact_qa": ("o19", "o20", "o21", "o22", "o25", "o26", "o31"),
    "classification": ("o23", "o24"),
    "multi_turn": ("o07", "o13"),
    "role": ("o03", "o16", "o18"),
    "copywriting": ("product_copy",),
}
ASKED, ANSWER_TOKENS = 40, 96
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75)


def find_file(data: Path, name: str) -> Path:
    """A file of the folder by the beginning of its name, or the example of copywriting."""
    return COPY if name == COPY.stem else next(p for p in sorted(data.iterdir()) if p.name.startswith(f"{name}_"))


def fixed_settings(num_rows: int) -> dict[str, Any]:
    """What the starter was trained with before there was advice, whatever the data were for."""
    epochs = next(e for rows, e in EPOCHS_BY_ROWS if num_rows < rows)
    epochs = max(epochs, 14) if num_rows < 200 else epochs
    epochs = max(epochs, math.ceil(100 / math.ceil(num_rows / 8)))
    nearest = 1 << round(math.log2(max(1.0, num_rows * epochs / TARGET_STEPS)))
    batch = max(8, min(32, nearest))
    steps = epochs * math.ceil(num_rows / batch)
    return {
        "training.epochs": float(epochs),
        "training.batch_rows": batch,
        "training.learning_rate": 1e-3,
        "training.warmup_steps": min(20, round(0.05 * steps)),
        "adapter.rank": 16,
        "adapter.dropout": 0.0,
    }


@dataclass(frozen=True)
class Arm:
    """One trained adapter: its settings, its held-out losses, what it learned by heart."""

    settings: dict[str, Any]
    result: dict[str, Any]
    losses: np.ndarray
    exact: int
    asked: int


def train_arm(name: str, arm: str, path: Path, settings: Mapping[str, Any]) -> Arm:
    """Trains, unless the folder holds a complete run, and measures what the page shows."""
    out = RUNS / f"{name}-{arm}"
    if not (out / "result.json").exists():
        config = RunConfig().replace(
            {"data.file": str(path), "data.drop_bad": True, "output.dir": str(out), "output.force": True, **settings}
        )
        train_lora(config, lambda event: print(name, arm, str(event)[:120], flush=True))
    kept = out / "measured.json"
    if not kept.exists():
        kept.write_text(json.dumps(measure(out, path)), "utf-8")
    measured = json.loads(kept.read_text("utf-8"))
    config = check_config(json.loads(json.dumps(_settings_of(out))))
    named = ("training.epochs", "training.batch_rows", "training.learning_rate", "adapter.rank", "adapter.dropout")
    values = {n: getattr(getattr(config, n.partition(".")[0]), n.partition(".")[2]) for n in named}
    result = json.loads((out / "result.json").read_text("utf-8"))
    return Arm(values, result, np.array(measured["losses"]), measured["exact"], measured["asked"])


def _settings_of(out: Path) -> Any:
    import yaml

    return yaml.safe_load((out / "run.yaml").read_text("utf-8"))


def measure(out: Path, path: Path) -> dict[str, Any]:
    """Loss of every held-out question, and how many trained questions are answered word for word."""
    tuned = load_tuned(out / "adapter")
    validation = validate_dataset(read_records(path))
    split = split_conversations(validation.conversations, 0.1, 0)
    heldout = tokenize_conversations(split.heldout, tuned.chat_format)
    questions = [c.question for c in heldout.conversations]
    losses = mean_by_question(questions, heldout_losses(tuned.model, heldout.examples))
    asked = list({c.question: c for c in split.train}.values())[:ASKED]
    answers = generate_answers(
        tuned.model, tuned.chat_format, [c.prompt for c in asked], Sampling(max_new_tokens=ANSWER_TOKENS)
    )
    exact = sum(a.text == tuned.chat_format.expected_text(c) for a, c in zip(answers, asked, strict=True))
    return {"losses": losses.tolist(), "exact": exact, "asked": len(asked)}


def calibrated(name: str, path: Path) -> dict[str, Any]:
    """What a child that calibrates says of the recommended run before it starts."""
    kept = RUNS / f"{name}-calibrated.json"
    if not kept.exists():
        RUNS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            spec = Path(folder) / "spec.json"
            spec.write_text(json.dumps({"config": {"data": {"file": str(path), "drop_bad": True}}}), "utf-8")
            done = subprocess.run(
                [sys.executable, "-m", "postil.recipes.calibrate", str(spec)],
                capture_output=True,
                text=True,
                check=True,
                cwd=ROOT,
            )
        kept.write_text(done.stdout, "utf-8")
    found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


def kinds_table(data: Path) -> list[str]:
    """Every named file: what it is for, and what the rules say."""
    lines = ["| file | is for | found | |", "|---|---|---|---|"]
    right = total = 0
    for kind, names in KINDS.items():
        for name in names:
            validation = validate_dataset(read_records(find_file(data, name)))
            found = profile_conversations(validation.conversations, validation.kind).purpose
            total, right = total + 1, right + (found == kind)
            lines.append(f"| {name} | {say(f'advice.kind.{kind}')} | {found} | {'' if found == kind else 'wrong'} |")
    return [f"{right} of {total} right (bar: 9 of 10).", "", *lines]


def arms_table(arms: Mapping[str, tuple[str, Arm, Arm]]) -> list[str]:
    """Recommended against fixed settings, data set by data set."""
    head = "| data | kind | passes | rank | base | fixed | recommended | fixed less recommended, 95 % | by heart |"
    lines = [head, "|---|---|--:|--:|--:|--:|--:|---|--:|"]
    for name, (kind, fixed, advised) in arms.items():
        low, high = bootstrap_interval(fixed.losses - advised.losses)
        same = fixed.settings == advised.settings
        verdict = "the same settings" if same else f"{low:+.3f} to {high:+.3f}: {_judge(low, high)}"
        base = advised.result["heldout_loss_base"]
        lines.append(
            f"| {name} | {kind} | {_both(fixed, advised, 'training.epochs')} | {_both(fixed, advised, 'adapter.rank')} "
            f"| {base:.3f} | {fixed.losses.mean():.3f} | {advised.losses.mean():.3f} | {verdict} "
            f"| {fixed.exact} -> {advised.exact} of {advised.asked} |"
        )
    return lines


def _both(fixed: Arm, advised: Arm, name: str) -> str:
    one, other = fixed.settings[name], advised.settings[name]
    return f"{one:g}" if one == other else f"{one:g} -> {other:g}"


def _judge(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "within"


def estimates_table(names: Sequence[str]) -> list[str]:
    """What was said before the start, what the run said after five steps, and what it took."""
    lines = ["| run | calibrated, before | after five steps | took |", "|---|--:|--:|--:|"]
    for name in names:
        found = json.loads((RUNS / f"{name}-calibrated.json").read_text("utf-8"))
        data, base = DataFacts.from_dict(found["data"]), BaseFacts.from_dict(found["base"])
        rates = Rates.from_dict({**found["rates"], "launch_seconds": 0.0})  # a run's clock starts after the imports
        before = estimate_run(data, base, check_config(found["config"]), rates)
        result = json.loads((RUNS / f"{name}-recommended" / "result.json").read_text("utf-8"))
        graded = result["grade"] or {}
        said = graded.get("said_seconds")
        lines.append(
            f"| {name} | {duration_range(before.seconds.low, before.seconds.high)} "
            f"| {duration_range(said['low'], said['high']) if said else '-'} "
            f"| {duration_range(result['seconds'], result['seconds'])} |"
        )
    return lines


def time_left_table(names: Sequence[str]) -> list[str]:
    """Errors of the time left, replayed from the logs of the runs."""
    lines = [f"| run | {' | '.join(f'{s:.0%}' for s in SHARES)} |", f"|---|{'--:|' * len(SHARES)}"]
    for name in names:
        for arm in ("fixed", "recommended"):
            log = RUNS / f"{name}-{arm}" / "events.jsonl"
            if log.exists():
                events = [decode_event(line) for line in log.read_bytes().splitlines()]
                lines.append(f"| {name} {arm} | {' | '.join(_errors(events))} |")
    return lines


def _errors(events: Sequence[Any]) -> list[str]:
    begin, end = events[0].at, events[-1].at
    errors = []
    for share in SHARES:
        now = begin + share * (end - begin)
        left = progress_of([e for e in events if e.at <= now], now).seconds_left
        true = (end - now).total_seconds()
        errors.append("-" if left is None else f"{(left.middle - true) / true:+.0%}")
    return errors


def source_lines() -> list[str]:
    """The source's figure: about 10 yuan for 1000 rows on a 14B model."""
    entry = find_entry("Qwen/Qwen2.5-14B-Instruct")
    assert entry is not None
    base = BaseFacts.of_entry(entry, "cuda", "bf16")
    lines = ["| rows of | passes | card | time | at 10 yuan an hour |", "|---|--:|---|--:|--:|"]
    for tokens, epochs in ((300, None), (256, 8.0)):
        data = _thousand_rows(tokens)
        advice = recommend(data, base, chosen={"training.epochs": epochs})
        every = {"evaluation.evaluate_every": advice.steps // 4, "training.epochs": advice.value("training.epochs")}
        config = RunConfig().replace({**advice.changes(), **every})
        for card in ("a100", "4090"):
            rates = rates_of_card(CARDS[card], base, data, config.adapter.used_rank)
            found = estimate_run(data, base, config, rates, hourly_micro=10 * MICRO)
            assert found.cost_micro is not None
            cost = amount_range(found.cost_micro.low, found.cost_micro.high)
            time = duration_range(found.seconds.low, found.seconds.high)
            passes = f"{advice.value('training.epochs'):g}"
            lines.append(f"| {tokens} tokens | {passes} | {CARDS[card].name} | {time} | {cost} |")
    return lines


def _thousand_rows(tokens: int) -> DataFacts:
    return DataFacts(
        rows=1000,
        heldout_rows=100,
        heldout_questions=100,
        tokens=1000 * tokens,
        supervised_tokens=500 * tokens,
        heldout_tokens=100 * tokens,
        longest_tokens=2 * tokens,
        usual_longest_tokens=2 * tokens,
        answer_tokens=tokens / 2,
        duplicates=0,
        distinct_answers=1000,
        kind="customer_service",
        found_kind="customer_service",
    )


INTRODUCTION = """\
Written by `python -m tools.results.advice --data DIR`; every figure is from the runs that it made, with the starter.
{threads} {thread_word}, {machine}, {versions}. Nothing else computed on the machine; losses and answers are
the same on every run of one machine. Memory is on the page of the demo: these runs share one process and its peak."""

ARMS = """\
"Fixed" are the settings that a run had before: passes, batch and rate by the number of rows alone, rank 16, no
dropout. Losses are means over held-out questions in nats per trained token; the interval is a paired bootstrap over the
questions. "By heart": trained questions, of the first {asked}, that are answered word for word. Fewer passes predict
unseen answers better and give trained ones back less exactly: both are shown."""

LEFT = """\
Replayed from the logs of these runs with the clock given in, nothing but the log known: error of the time left at a
share of the run. "-": nothing had been trained yet. The bar is within 20 % after 5 % of the job, also held by
`tests/advice/test_progress.py` over logs of steady jobs. 5 % of a run of 20 seconds is one second, of which loading the
base is a part."""

SOURCE = """\
The source says: 1000 rows on a 14B model cost about 10 yuan. Worked out from the count of operations, not measured;
{price} yuan is what a service with the usual prices charges for 1000 rows of 333 tokens past the free ones, seen once.
The second pair is the source's own recipe, eight passes over rows of 256 tokens; it also pads and recomputes."""


def page(data: Path, arms: Mapping[str, tuple[str, Arm, Arm]]) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    threads = torch.get_num_threads()
    introduction = INTRODUCTION.format(
        threads=threads,
        thread_word="thread" if threads == 1 else "threads",
        machine=platform.machine(),
        versions=versions,
    )
    names = list(arms)
    parts = [
        ("Which kind of data", kinds_table(data)),
        ("Recommended against fixed settings", [ARMS.format(asked=ASKED), "", *arms_table(arms)]),
        ("Estimates against what runs took", estimates_table(names)),
        ("Time left while a run trains", [LEFT, "", *time_left_table(names)]),
        ("The source's figure", [SOURCE.format(price=spell_micro(9_990_000)), "", *source_lines()]),
    ]
    sections = [f"## {title}\n\n" + "\n".join(lines) for title, lines in parts]
    return "\n\n".join(["# Advice: what it is worth", introduction, *sections]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real files")
    parser.add_argument("--only", nargs="*", default=["o03", "o16", "o17", "o10", "o07"])
    args = parser.parse_args()
    arms: dict[str, tuple[str, Arm, Arm]] = {}
    for name in args.only:
        path = find_file(args.data, name)
        found = calibrated(name, path)
        advised = train_arm(name, "recommended", path, {})
        settings = fixed_settings(int(found["data"]["rows"]))
        is_same = all(value == settings[setting] for setting, value in advised.settings.items())
        fixed = advised if is_same else train_arm(name, "fixed", path, settings)
        arms[name] = (found["data"]["kind"], fixed, advised)
    PAGE.write_text(page(args.data, arms), "utf-8")


if __name__ == "__main__":
    main()
