"""How fast and how small the data room reads: ratios to the least that anybody must do, taken in the same run.

    python -m benchmarks.data_room [--rows 100000] [--json FILE]

Everything is made here, seeded, in a temporary folder. Times are this process's own processor time, each pair measured
in turns and taken as the median of three, so that other load on the machine falls on both sides. Ends with 1 where a
bar is missed.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from postil.data.records import read_records
from postil.data.validation import validate_dataset

REPEATS = 3
SHEET_ROWS = 20_000
COLOURS = ("red", "blue", "绿色")


@dataclass(frozen=True)
class Figure:
    """One result; met where `value` is at most `bar`."""

    name: str
    value: float
    bar: float
    unit: str
    remark: str = ""

    @property
    def is_met(self) -> bool:
        return self.value <= self.bar


def question_and_answer(number: int, rng: random.Random) -> tuple[str, str]:
    order, days, label = rng.randrange(10**6), rng.randrange(90), rng.randrange(10**6)
    return (
        f"How do I return item {number} from order {order} if the colour is {rng.choice(COLOURS)}?",
        f"You can return it within {days} days. Open the order page, choose the item, press return, and we send a "
        f"label to {label}. 如需帮助请联系客服。",
    )


def write_jsonl(path: Path, rows: int) -> Path:
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            question, answer = question_and_answer(number, rng)
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return path


def write_workbook(path: Path, rows: int) -> Path:
    from openpyxl import Workbook

    rng = random.Random(0)
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(["question", "answer"])
    for number in range(rows):
        sheet.append(question_and_answer(number, rng))
    book.save(path)
    return path


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def in_turns(*works: Callable[[], object]) -> list[float]:
    """The median time of each, measured one after the other, three times over."""
    times = [[seconds(work) for work in works] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def parse_lines(path: Path) -> None:
    with path.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)


def pass_over_sheet(path: Path) -> None:
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, data_only=True)
    for _ in book.worksheets[0].iter_rows(values_only=True):
        pass
    book.close()


def check(path: Path, near: bool = False) -> None:
    report = validate_dataset(read_records(path), keep=False, near=near)
    assert report.kept and not report.errors


def megabytes_of_check(path: Path, near: bool = False) -> float:
    """The largest resident size of a process of its own that checks the file."""
    command = [sys.executable, "-m", "benchmarks.data_room", "--child", str(path), *(["--near"] if near else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def largest_megabytes() -> float:
    """Of this process. On Linux the kernel's own mark: `ru_maxrss` would begin with that of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def child(path: Path, near: bool) -> None:
    check(path, near)
    print(largest_megabytes())


def measure(folder: Path, rows: int) -> list[Figure]:
    large = write_jsonl(folder / "large.jsonl", rows)
    book = write_workbook(folder / "book.xlsx", SHEET_ROWS)
    parsed, checked, compared = in_turns(
        lambda: parse_lines(large), lambda: check(large), lambda: check(large, near=True)
    )
    passed, read = in_turns(lambda: pass_over_sheet(book), lambda: check(book))
    larger = write_jsonl(folder / "larger.jsonl", 3 * rows)
    near_bar = 30 * rows / 100_000
    return [
        Figure("check of JSONL / json.loads of each line", checked / parsed, 15, "x", f"{rows / checked:,.0f} rows/s"),
        Figure(f"near-duplicates among {rows:,} rows, besides", compared - checked, near_bar, "s"),
        Figure("check of a workbook / bare openpyxl pass", read / passed, 2, "x", f"{SHEET_ROWS / read:,.0f} rows/s"),
        Figure(f"memory for {rows:,} rows", megabytes_of_check(large), 300, "MB"),
        Figure(f"memory for {rows:,} rows with near-duplicates", megabytes_of_check(large, near=True), 300, "MB"),
        Figure(f"memory for {3 * rows:,} rows", megabytes_of_check(larger), 300, "MB"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also writes the figures there")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--near", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.near)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments.rows)
    for figure in figures:
        verdict = "ok  " if figure.is_met else "MISS"
        print(f"{verdict} {figure.name:52} {figure.value:8.2f} {figure.unit:3} bar {figure.bar:g}  {figure.remark}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", "utf-8")
    return 0 if all(figure.is_met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
