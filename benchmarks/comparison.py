"""What the rounds of benchmarks/step.py come to: which count, ratios, losses, useful-MFU, bars, and the table."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.arms.recording import Figures, Task
from benchmarks.flops import Work
from benchmarks.workload import Shape

BARS = {"B1": {"plain": 4.0, "trl": 5.0, "best tuned": 2.5}, "B2": {"plain": 2.0, "best tuned": 1.15}}
UNCHECKPOINTED = ("plain", "plain_dynamic", "trl_tuned", "llamafactory_packed")
"""Arms that keep every layer's activations, as Postil does."""
TUNED = ("plain_dynamic", "trl_tuned", "llamafactory", "llamafactory_packed")
FALL = 0.8  # of the best calibration; a round below is not counted
MFU_BAR = 0.6
AGREES = {"fp32": 1e-5, "bf16": 2e-3}


@dataclass
class Setting:
    """What is measured, once made."""

    shape: Shape
    work: list[Work]
    task: Task
    folder: Path


@dataclass
class Round:
    """Each arm once.

    Args:
        calibrations: FLOP per second before each arm.
    """

    figures: dict[str, Figures] = field(default_factory=dict)
    calibrations: dict[str, float] = field(default_factory=dict)


def kept_rounds(rounds: list[Round]) -> list[Round]:
    """Those in which the machine was about as fast as ever in this run, before every arm."""
    best = max(rate for this in rounds for rate in this.calibrations.values())
    return [this for this in rounds if min(this.calibrations.values()) >= FALL * best]


def largest_difference(found: list[float], expected: list[float], dtype: str) -> float:
    """Of the losses of the steps, relative: the largest in fp32; in bf16 the median."""
    differences = [abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True)]
    return max(differences) if dtype == "fp32" else statistics.median(differences)


def summary(setting: Setting, rounds: list[Round], arms: list[str], not_run: dict[str, str]) -> dict[str, Any]:
    """Everything that is told: ratios to Postil, losses, memory, useful-MFU."""
    kept = kept_rounds(rounds) or rounds
    reference = "postil" if "postil" not in not_run else next(a for a in arms if a not in not_run)
    rows: dict[str, Any] = {}
    for arm in [a for a in arms if a not in not_run]:
        seconds = [[statistics.median(r.figures[arm].seconds[1:]) for r in kept] for arm in (arm, reference)]
        ratios = [a / b for a, b in zip(*seconds, strict=True)]
        last = rounds[-1].figures[arm]
        apart = largest_difference(last.losses, rounds[-1].figures[reference].losses, setting.task.dtype)
        rows[arm] = {
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(r, 3) for r in ratios],
            "step_seconds": [[round(s, 3) for s in r.figures[arm].seconds] for r in rounds],
            "losses": last.losses,
            "gradient_norms": last.norms,
            "loss_difference": apart,
            "losses_agree": apart <= AGREES[setting.task.dtype],
            "peak_gb": round(max(r.figures[arm].peak_bytes for r in rounds) / 1e9, 3),
            "tokens_per_step": round(statistics.mean(last.tokens[1:])),
            "useful_mfu": round(statistics.median(useful_mfu(setting, r, arm) for r in kept), 3),
            "remarks": last.remarks,
            "versions": last.versions,
        }
    return {
        "ratios": {arm: row["ratio"] for arm, row in rows.items() if arm != reference},
        "losses_agree": all(row["losses_agree"] for row in rows.values()),
        "reference": reference,
        "arms": rows,
        "not_run": not_run,
        "calibrations_gflops": [{a: round(c / 1e9, 1) for a, c in r.calibrations.items()} for r in rounds],
        "rounds": len(rounds),
        "rounds_not_counted": len(rounds) - len(kept_rounds(rounds)),
        "undisturbed": bool(kept_rounds(rounds)),
    }


def useful_mfu(setting: Setting, this: Round, arm: str) -> float:
    """The least work / (time x rate of matrix products), over the steps that count."""
    flops = sum(work.flops for work in setting.work)
    return flops / sum(this.figures[arm].seconds[1:]) / this.calibrations[arm]


def bars(benchmark: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Which bars the figures reach; a bar without its arm is left out."""
    counted = {a: r for a, r in result["ratios"].items() if result["arms"][a]["losses_agree"]}
    tuned = [counted[arm] for arm in TUNED if arm in counted]
    found = counted | ({"best tuned": min(tuned)} if tuned else {})
    lines = [(f"{name} / postil", found[name], bar) for name, bar in BARS[benchmark].items() if name in found]
    if benchmark == "B1" and "postil" in result["arms"]:
        lines.append(("useful-MFU", result["arms"]["postil"]["useful_mfu"], MFU_BAR))
        peaks = {arm: row["peak_gb"] for arm, row in result["arms"].items()}
        if least := [peaks[arm] for arm in UNCHECKPOINTED if arm in peaks]:
            lines.append(("least peak memory / postil", round(min(least) / peaks["postil"], 3), 1.0))
        if {"trl", "postil_recomputed"} <= peaks.keys():
            lines.append(("trl / postil_recomputed, peak", round(peaks["trl"] / peaks["postil_recomputed"], 3), 1.0))
    return [{"name": name, "value": value, "bar": bar, "met": value >= bar} for name, value, bar in lines]


def print_table(result: dict[str, Any]) -> None:
    reference = result["reference"]
    print(f"\n{'arm':20} {'x ' + reference:>9} {'tokens':>7} {'MFU':>6} {'peak GB':>8} {'losses':>9}  median step, s")
    for name, row in result["arms"].items():
        agrees = f"{row['loss_difference']:.0e}" + ("" if row["losses_agree"] else " !")
        steps = statistics.median(s for seconds in row["step_seconds"] for s in seconds[1:])
        cells = f"{row['ratio']:9.2f} {row['tokens_per_step']:7} {row['useful_mfu']:6.1%} {row['peak_gb']:8.2f}"
        print(f"{name:20} {cells} {agrees:>9}  {steps:.2f}")
    for name, reason in result["not_run"].items():
        print(f"{name:20} not run: {reason}")
    for line in result["bars"]:
        print(f"{'ok  ' if line['met'] else 'MISS'} {line['name']:24} {line['value']:6.2f}  bar {line['bar']}")
    if not result["losses_agree"]:
        print("Losses marked ! do not agree: their ratios count for nothing.")
    if result["rounds_not_counted"]:
        print(
            f"{result['rounds_not_counted']} of {result['rounds']} rounds not counted: the machine was slower in them."
        )
    if not result["undisturbed"]:
        print("No round was undisturbed: these ratios count for nothing.")
