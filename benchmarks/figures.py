"""How the smaller benchmarks tell what they found: a table, a JSON file, and 1 where a bar is missed."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One result.

    Args:
        bar: None where the figure is only told.
        at_least: the bar is a floor; else a ceiling.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    at_least: bool = False
    remark: str = ""

    @property
    def is_met(self) -> bool:
        """True without a bar."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def tell(figures: Sequence[Figure], json_file: Path | None) -> int:
    """Prints the table and writes the file; the exit code."""
    for figure in figures:
        verdict = "    " if figure.bar is None else "ok  " if figure.is_met else "MISS"
        bar = "" if figure.bar is None else f"bar {'>=' if figure.at_least else '<='} {figure.bar:g}"
        print(f"{verdict} {figure.name:44} {figure.value:10.3f} {figure.unit:6} {bar:12} {figure.remark}".rstrip())
    if json_file:
        json_file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", "utf-8")
    return 0 if all(figure.is_met for figure in figures) else 1


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """With the option that all share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also writes the figures there")
    return parser
