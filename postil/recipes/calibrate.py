"""A few real steps of this base, with these rows, on this device: how fast it goes and what it takes at the peak.

    python -m postil.recipes.calibrate SPEC.json

SPEC.json holds {"config": {...}, "seconds": 4, "threads": 2}: the settings of a run as nested values and, if wanted,
how long to measure and on how many threads. Standard output gets one JSON object, written at once: what
`Calibration.as_dict` says, or {"error": {...}} with the error's exit code. Nothing is saved, no weight is kept.

    measured                         for
    read + load + tokenize           the start of a run; every row's tokens, for the bill
    one step with the longest rows   warm-up, and memory at its peak
    up to eight steps as drawn       tokens a second of training
    held-out rows, a few answers     the measurements and the comparison at the end
"""

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.rates import Rates
from postil.advice.recommend import Recommendation
from postil.config import RunConfig, check_config
from postil.errors import DataError, PostilError, TryAgainError, UsageError
from postil.events import PhaseStarted, Report, ignore
from postil.recipes.defaults import recommend_for, resolve_config
from postil.recipes.facts import base_facts, data_facts
from postil.recipes.fitting import fit_pack
from postil.recipes.prepare import TokenizedFile, open_tokenized, tokenize_file
from postil.recipes.row_tokens import tokens_of_rows

MEASURING_SECONDS = 4.0
LONGEST_SECONDS = 600.0
"""Of the whole child, loading included; a base that takes longer is not calibrated."""
LONGEST_LAUNCH_SECONDS = 10.0
"""A process that has lived longer did something else before."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, and what it was measured with.

    Args:
        config: resolved.
        tokens_per_row: of every row that trains, in file order.
    """

    data: DataFacts
    base: BaseFacts
    rates: Rates
    recommendation: Recommendation
    config: RunConfig
    tokens_per_row: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape; `data`, `base` and `rates` are read back by their own `from_dict`."""
        return {
            "data": self.data.as_dict(),
            "base": self.base.as_dict(),
            "rates": self.rates.as_dict(),
            "recommendation": self.recommendation.as_dict(),
            "config": self.config.model_dump(mode="json"),
            "tokens_per_row": list(self.tokens_per_row),
        }


def calibrate(config: RunConfig, seconds: float = MEASURING_SECONDS, report: Report = ignore) -> Calibration:
    """Reads, loads, and takes a few steps whose weights are thrown away.

    Args:
        config: of the run; what is open is filled in as in a run.
        seconds: for the steps; held-out rows and answers take a little more.

    Raises:
        DataError, PostilError: as `train_lora` before its first step.
    """
    from postil.models.adapter import add_adapter
    from postil.models.loading import load_base
    from postil.recipes.step_rates import measure_rates
    from postil.training.allocator import keep_freed_memory
    from postil.training.kernels import keep_few_kernels

    launched, started = _seconds_since_launch(), time.perf_counter()
    made = _tokenize(config, report)
    report(PhaseStarted(phase="load"))
    base = replace(load_base(config.model), chat_format=made.chat_format)
    data, facts = data_facts(config.data, made.split, made.train, made.heldout, made.records_kind), base_facts(base)
    recommendation = recommend_for(config, data, facts)
    config = fit_pack(resolve_config(config, data, facts), base, max(len(e.input_ids) for e in made.train.examples))
    keep_freed_memory()
    keep_few_kernels(config.training.batch_rows * config.training.accumulation)  # type: ignore[operator]
    model = add_adapter(base.model, config.adapter, config.training.seed)
    ready = time.perf_counter() - started
    report(PhaseStarted(phase="train"))
    rates = measure_rates(model, base, made, config, seconds)
    return Calibration(
        data=data,
        base=facts,
        rates=replace(rates, startup_seconds=ready, launch_seconds=launched),
        recommendation=recommendation,
        config=config,
        tokens_per_row=tuple(tokens_of_rows(made.train.examples)),
    )


def _tokenize(config: RunConfig, report: Report) -> TokenizedFile:
    from postil.data.prepared import is_prepared
    from postil.models.loading import find_base
    from postil.models.tokenizer import load_tokenizer

    if config.data.file is None:
        raise UsageError("recipes.no_file")
    source = Path(config.data.file)
    if is_prepared(source):
        path, _ = find_base(config.model)
        return open_tokenized(source, load_tokenizer(path), config.model.base)
    return tokenize_file(config, report)


def _seconds_since_launch() -> float:
    """How long this process has lived: Python and the imports, which a run's process pays as well."""
    import psutil  # type: ignore[import-untyped]

    import postil.recipes.lora_sft  # noqa: F401  (what a run imports)

    lived: float = time.time() - psutil.Process().create_time()
    return min(max(0.0, lived), LONGEST_LAUNCH_SECONDS)


def read_spec(path: Path) -> tuple[RunConfig, float, int | None]:
    """Settings, seconds and threads of a SPEC.json.

    Raises:
        UsageError: it is not there, no JSON, or holds something else.
    """
    try:
        spec = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("recipes.bad_spec", path=path, reason=" ".join(str(error).split())) from None
    unknown = set(spec) - {"config", "seconds", "threads"} if isinstance(spec, dict) else {"-"}
    if unknown or not isinstance(spec.get("config"), dict):
        raise UsageError("recipes.bad_spec", path=path, reason=", ".join(sorted(unknown)) or "config")
    seconds, threads = spec.get("seconds", MEASURING_SECONDS), spec.get("threads")
    if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_SECONDS:
        raise UsageError("recipes.bad_spec", path=path, reason="seconds")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise UsageError("recipes.bad_spec", path=path, reason="threads")
    return check_config(spec["config"], str(path)), float(seconds), threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrates what a file says; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if len(given) != 1:
            raise UsageError("recipes.bad_spec", path=" ".join(given) or "-", reason="SPEC.json")
        config, seconds, threads = read_spec(Path(given[0]))
        _set_limits(threads)
        found: Mapping[str, Any] = calibrate(config, seconds).as_dict()
        code = 0
    except PostilError as error:
        found, code = {"error": _describe(error)}, error.exit_code
    line = json.dumps(found, ensure_ascii=False, default=str) + "\n"
    sys.stdout.write(line)
    sys.stdout.flush()
    return code


def _describe(error: PostilError) -> dict[str, Any]:
    problems = [p.message for p in error.problems[:20]] if isinstance(error, DataError) else []
    values = {name: str(value) for name, value in error.values.items()}
    told = {"key": error.key, "values": values, "message": error.message, "hint": error.hint}
    return {**told, "exit_code": error.exit_code, "problems": problems}


def _set_limits(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)


def _give_up(number: int, frame: object) -> None:
    raise TryAgainError("recipes.calibration_too_slow", minutes=round(LONGEST_SECONDS / 60))


if __name__ == "__main__":
    sys.exit(main())
