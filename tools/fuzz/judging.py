"""Reads one broken file as `postil check` does, and says what should never happen."""

import json
from pathlib import Path
from random import Random

from postil.data.records import read_records
from postil.data.validation import ValidationReport, validate_dataset
from postil.errors import DataError
from postil.language import LANGUAGES, say, use_language
from postil.problems import Problem
from tools.fuzz.mutations import mutate

# Kinds that are read in a child of their own, which takes a second to start.
SLOW_ENDINGS = (".xls", ".ods", ".zip", ".xlsb")
SLOW_SHARE = 0.02


def make_file(number: int, seed: int, files: dict[str, bytes], folder: Path) -> Path:
    """Writes broken file `number` into `folder`; the same arguments always give the same bytes."""
    random = Random(f"{seed}:{number}")
    slow = [name for name in files if name.endswith(SLOW_ENDINGS)]
    quick = [name for name in files if name not in slow]
    name = random.choice(slow if not quick or (slow and random.random() < SLOW_SHARE) else quick)
    data = mutate(name, files[name], list(files.values()), random)
    # Endings that lie: the ending is a hint, never believed.
    ending = random.choice(list(files)).rpartition(".")[2] if random.random() < 0.05 else name.rpartition(".")[2]
    path = folder / f"{number:06}-{name.rpartition('.')[0]}.{ending}"
    path.write_bytes(data)
    return path


def judge(path: Path) -> str | None:
    """Reads the file; what is wrong with the reading, or None. A refusal that names the file is right, too."""
    try:
        report = validate_dataset(read_records(path), keep=False)
    except DataError as error:
        return _judge_refusal(error, path)
    return _judge_report(report)


def _judge_refusal(error: DataError, path: Path) -> str | None:
    for language in LANGUAGES:
        use_language(language)
        sentence = say(error.key, **error.values)
        say(f"{error.key}.hint", **error.values)
        if path.name not in sentence:
            return f"the refusal names no file: {sentence}"
    return None


def _judge_report(report: ValidationReport) -> str | None:
    if report.records_in != report.kept + report.fixed + report.dropped:
        return f"the ledger does not add up: {report.records_in} {report.kept} {report.fixed} {report.dropped}"
    values = report.as_dict()
    json.dumps(values, ensure_ascii=False).encode()
    if not values["conversations"] and not report.errors:
        return "nothing was read, and no error says why"
    # A sheet of other things beside good ones is a warning that counts its rows.
    is_said = report.errors or any("rows" in p.values for p in report.problems if not p.place.row)
    if report.dropped and not is_said:
        return f"{report.dropped} rows were left out, and no error says why"
    return next((wrong for p in report.problems if (wrong := _judge_problem(p))), None)


def _judge_problem(problem: Problem) -> str | None:
    if not problem.place.file or problem.place.row < 0:
        return f"{problem.code} has no place"
    for language in LANGUAGES:
        use_language(language)
        if not problem.message.strip() or not problem.hint.strip():
            return f"{problem.code} has no sentence"
        if problem.fix is not None and not problem.fix.label.strip():
            return f"{problem.code} has a fix without a sentence"
    if len(problem.excerpt) > 400:
        return f"{problem.code} has an excerpt of {len(problem.excerpt)} characters"
    return None
