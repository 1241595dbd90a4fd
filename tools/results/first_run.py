"""Trains the starter on the demo and on real rows and writes docs/results/first-run.md with what came out.

    python -m tools.results.first_run --data DIR [--only demo o12 o17 o34]

Every figure on the page is from the run that this script made. Runs are kept under runs/results/, and one that is
complete there is not made again: delete the folder to measure anew.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from postil.config import RunConfig
from postil.data.conversations import Conversation
from postil.data.records import read_records
from postil.data.splits import split_conversations
from postil.data.validation import validate_dataset
from postil.models.adapter import adapter_disabled
from postil.models.generation import Sampling, generate_answers
from postil.models.tuned import load_tuned
from postil.recipes.lora_sft import train_lora

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "first-run.md"
RUNS = ROOT / "runs" / "results"


@dataclass(frozen=True)
class Dataset:
    """A file to train on, and what the page calls it."""

    name: str
    title: str
    path: Path
    remark: str = ""


O12 = (
    "Its answers are put together from interchangeable sentences: 133 questions have 800 answers. The adapter finds "
    "the sentences, in a combination of its own: the loss is small, and hardly an answer is word for word the file's."
)


def datasets(data: Path) -> list[Dataset]:
    """The demo, and three real files that lie outside the repository."""
    return [
        Dataset("demo", "The demo: 96 rows of an invented shop, Chinese and English", ROOT / "postil/demo/shop.csv"),
        Dataset("o12", "800 Chinese customer-service chats", data / "o12_customer_service_messages.jsonl", O12),
        Dataset(
            "o17", "A workbook of 246 Chinese questions about work and worry", data / "o17_workplace_anxiety_qa.xlsx"
        ),
        Dataset("o34", "Ten English rows in a pirate's voice", data / "o34_pirate_messages.jsonl"),
    ]


def exact_answers(adapter: Path, trained: Sequence[Conversation]) -> dict[str, int]:
    """How many trained conversations base and adapter answer word for word, by greedy decoding."""
    tuned = load_tuned(adapter)
    prompts = [c.prompt for c in trained]
    sampling = Sampling(max_new_tokens=160)
    right = [a.text for a in generate_answers(tuned.model, tuned.chat_format, prompts, sampling)]
    with adapter_disabled(tuned.model):
        base = [a.text for a in generate_answers(tuned.model, tuned.chat_format, prompts, sampling)]
    return {
        "trained": len(trained),
        "tuned": sum(a == c.answer for a, c in zip(right, trained, strict=True)),
        "base": sum(a == c.answer for a, c in zip(base, trained, strict=True)),
    }


def measure(dataset: Dataset) -> dict[str, Any]:
    """Trains with the defaults, unless the folder holds a complete run, and reads what the run wrote."""
    out = RUNS / dataset.name
    if not (out / "result.json").exists():
        settings = {"data.file": str(dataset.path), "output.dir": str(out), "output.force": True}
        train_lora(RunConfig().replace(settings), lambda event: print(str(event)[:150], flush=True))
    validation = validate_dataset(read_records(dataset.path))
    split = split_conversations(validation.conversations, RunConfig().data.heldout_share, RunConfig().training.seed)
    exact = out / "exact.json"
    if not exact.exists():
        distinct = list({c.question: c for c in split.train}.values())[:100]
        exact.write_text(json.dumps(exact_answers(out / "adapter", distinct)), "utf-8")
    return {
        "result": json.loads((out / "result.json").read_text("utf-8")),
        "report": json.loads((out / "report.json").read_text("utf-8")),
        "exact": json.loads(exact.read_text("utf-8")),
        "train": len(split.train),
        "heldout": len(split.heldout),
    }


def section(dataset: Dataset, found: dict[str, Any]) -> str:
    """One data set on the page."""
    result, exact = found["result"], found["exact"]
    lines = [f"## {dataset.title} (`{dataset.name}`)", ""]
    verdict = result["verdict"].replace("_", " ")
    lines.append(
        f"{found['train']} rows trained, {found['heldout']} held out ({result['heldout_questions']} questions), "
        f"{result['steps']} steps, {result['seconds']:.0f} s in all. Verdict: **{verdict}**."
    )
    if result["heldout_loss_base"] is not None:
        low, high = result["interval"] or (float("nan"), float("nan"))
        lines.append(
            f"Held-out loss {result['heldout_loss_base']:.3f} (base) to {result['heldout_loss_tuned']:.3f} (tuned); "
            f"the difference lies between {low:.3f} and {high:.3f} (95 %). Of {result['answers']} held-out questions: "
            f"base right {result['base_right']}, tuned right {result['tuned_right']}, "
            f"did not stop {result['tuned_not_stopped']}."
        )
    lines.append(
        f"Trained questions answered word for word: base {exact['base']}, tuned {exact['tuned']} of {exact['trained']}."
    )
    lines += [dataset.remark] if dataset.remark else []
    answers = sorted(found["report"]["answers"], key=lambda a: -a["tuned_f1"])
    for title, some in (("Best", answers[:3]), ("Worst", answers[-3:] if len(answers) > 3 else [])):
        if some:
            lines += ["", f"{title} held-out answers:", "", "| question | expected | base | tuned | F1 |"]
            lines += ["|---|---|---|---|--:|", *map(_row, some)]
    return "\n".join(lines)


def _row(answer: dict[str, Any]) -> str:
    cells = [_cell(answer[name]) for name in ("question", "expected", "base", "tuned")]
    return f"| {' | '.join(cells)} | {answer['tuned_f1']:.2f} |"


def _cell(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= 90 else flat[:90] + " ..."


INTRODUCTION = """\
Written by `python -m tools.results.first_run --data DIR`; every figure is from the runs that it made. {threads}
threads, {machine}, {versions}. Seconds are those of a shared machine and say little; losses and answers are the same
on every run of one machine. The starter is a toy of 5.4M parameters: it learns rows by heart and a house's way of
speaking, it does not reason, and answers to questions that it was not trained on are mostly wrong in fact. The worst
are shown for that reason."""


def page(sections: Sequence[str]) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    introduction = INTRODUCTION.format(threads=torch.get_num_threads(), machine=platform.machine(), versions=versions)
    return "\n\n".join(["# First runs: what the starter learns with the defaults", introduction, *sections]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real files")
    parser.add_argument("--only", nargs="*", default=["demo", "o12", "o17", "o34"])
    args = parser.parse_args()
    chosen = [d for d in datasets(args.data) if d.name in args.only]
    PAGE.write_text(page([section(d, measure(d)) for d in chosen]), "utf-8")


if __name__ == "__main__":
    main()
