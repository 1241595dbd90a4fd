"""`postil fix`: a corrected copy of a file, with every change listed; the original is only read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from postil.cli.options import (
    AsJson,
    EncodingOption,
    LanguageOption,
    MapOption,
    SingleTurnOption,
    check_columns,
    read_options,
    spell_options,
)
from postil.cli.screen import Screen, kind_title, open_screen, show_problems
from postil.data.corrected.changes import Change, changed_records, list_all_changes
from postil.data.corrected.settling import Settled, settle
from postil.data.corrected.writing import Written, check_target, write_corrected
from postil.data.options import ReadOptions
from postil.data.records import read_records
from postil.data.reports import ValidationReport
from postil.data.validation import validate_dataset
from postil.errors import CannotWriteError, DataError, UsageError
from postil.language import has_sentence, say
from postil.problems import Problem

NUM_SHOWN = 3
_EXCERPT_CHARS = 60


def fix(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.fix.file")],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="cli.fix.output")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="CODE", help="cli.fix.only")] = None,
    also: Annotated[list[str] | None, typer.Option("--also", metavar="CODE", help="cli.fix.also")] = None,
    excluded: Annotated[list[str] | None, typer.Option("--except", metavar="CODE", help="cli.fix.except")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="cli.fix.dry_run")] = False,
    save_overlay: Annotated[Path | None, typer.Option("--save-overlay", metavar="FILE", help="cli.fix.overlay")] = None,
    columns: MapOption = None,
    encoding: EncodingOption = None,
    single_turn: SingleTurnOption = False,
    force: Annotated[bool, typer.Option("--force", help="cli.fix.force")] = False,
    as_json: AsJson = False,
    language: LanguageOption = None,
) -> int:
    """Writes a corrected copy; ends with 65 when rows are left that cannot train.

    Where `only` names known problems that the file does not have, nothing is written, and that is no failure.

    Raises:
        UsageError: no output is named, it is the original itself, a code is unknown, or a column is not there.
        CannotWriteError: the output exists, or cannot be written.
        DataError: the file cannot be read, or a change cannot be written in its format.
    """
    screen = open_screen(as_json)
    options = read_options(columns, encoding, single_turn)
    only, also, excluded = _codes(only), _codes(also), _codes(excluded)
    if output is None and not dry_run:
        raise UsageError("cli.fix.no_output", file=str(file))
    _refuse_unknown_codes([*only, *also, *excluded], file, options)
    _check_overlay_path(save_overlay, file, output, force)
    settled = settle(file, options, only=only, excluded=excluded, also=also)
    check_columns(settled.records)
    is_unmatched = bool(only) and not settled.overlay.edits
    written: Written | None = None
    if output is not None and dry_run:
        check_target(settled.records, output, force=force)
    elif output is not None and settled.after.num_conversations and not is_unmatched:
        written = write_corrected(settled.records, settled.overlay, output, force=force)
    changes = written.changes if written else _changes(settled)
    if save_overlay is not None and written is not None:
        settled.overlay.write(save_overlay)
    _show_changes(screen, settled, changes)
    if not changes and not is_unmatched:
        screen.say("cli.fix.nothing")
    _show_rest(screen, settled.after)
    _show_outcome(screen, settled, written, only if is_unmatched else ())
    exit_code = 0 if settled.after.num_conversations and not settled.after.errors else DataError.exit_code
    _show_next(screen, file, written, options, exit_code)
    screen.result(_as_dict(settled, changes, written, save_overlay, exit_code))
    return exit_code


def _codes(texts: Sequence[str] | None) -> list[str]:
    """Problem codes, each given by itself or several with commas between."""
    return [code.strip() for text in texts or () for code in text.split(",")]


def _refuse_unknown_codes(codes: Sequence[str], file: Path, options: ReadOptions) -> None:
    unknown = next((c for c in codes if not c.isidentifier() or not has_sentence(f"problems.{c}")), None)
    if unknown is not None:
        records = read_records(file, options)
        report = validate_dataset(records, single_turn=options.single_turn, keep=False, near=True)
        raise UsageError("cli.fix.no_such_code", code=unknown, codes=_fixable_codes(report.problems))


def _fixable_codes(problems: Sequence[Problem]) -> str:
    """What a machine could fix, unasked or not."""
    return ", ".join(dict.fromkeys(problem.code for problem in problems if problem.fix)) or say("cli.fix.none")


def _check_overlay_path(path: Path | None, file: Path, output: Path | None, force: bool) -> None:
    if path is None:
        return
    if path.resolve() in (file.resolve(), output and output.resolve()):
        raise UsageError("data.would_overwrite", path=str(path))
    if path.exists() and not force:
        raise CannotWriteError("data.output_exists", path=str(path))


def _changes(settled: Settled) -> tuple[Change, ...]:
    return list_all_changes(tuple(changed_records(settled.records, settled.overlay)))


def _show_changes(screen: Screen, settled: Settled, changes: Sequence[Change]) -> None:
    """The ledger, and a few changes of each kind."""
    report = settled.after
    counts = {name: getattr(report, name) for name in ("records_in", "kept", "fixed", "dropped")}
    screen.say("cli.run.read", "", file=report.file, format=report.format, **counts)
    for code, count in Counter(change.code for change in changes).most_common():
        same = [change for change in changes if change.code == code]
        values = {"title": kind_title(code), "code": code, "count": count}
        screen.say("cli.fix.code", "bold", label=say(f"problems.fix.{same[0].action}"), **values)
        for change in same[:NUM_SHOWN]:
            _show_change(screen, change, report.file)
        if count > NUM_SHOWN:
            screen.say("cli.problems.more", "dim", count=count - NUM_SHOWN)


def _show_rest(screen: Screen, report: ValidationReport) -> None:
    """What is left for the user: to mend by hand, or to ask for."""
    if report.errors:
        screen.say("cli.fix.by_hand", "bold", count=len(report.errors))
        show_problems(screen, report.errors, known_file=report.file)
    if report.warnings:
        screen.say("cli.fix.warnings_left", "bold", count=len(report.warnings))
        for code, count in Counter(problem.code for problem in report.warnings).items():
            same = [problem for problem in report.warnings if problem.code == code]
            told = same[0].message if len({problem.message for problem in same}) == 1 else same[0].hint
            screen.say("cli.fix.warning_left", title=kind_title(code), code=code, count=count, text=told)
    if on_request := ", ".join(dict.fromkeys(p.code for p in report.problems if p.fix and not p.fix.automatic)):
        screen.say("cli.fix.on_request", codes=on_request)


def _show_outcome(screen: Screen, settled: Settled, written: Written | None, unmatched: Sequence[str]) -> None:
    """What was written, or why nothing was."""
    report = settled.after
    if unmatched:
        values = {"codes": ", ".join(unmatched), "fixable": _fixable_codes(settled.before.problems)}
        screen.say("cli.fix.no_match", "bold", **values)
        return
    if not report.num_conversations:
        screen.say("cli.fix.nothing_left", "bold red")
        return
    if written is None:
        screen.say("cli.fix.dry", "bold")
        return
    screen.say("cli.fix.written", "bold", path=written.path, conversations=report.num_conversations)
    if written.format != settled.records.format:
        key = "cli.fix.as_folder" if written.format == "folder" else "cli.fix.as_xlsx"
        screen.say(key, format=settled.records.format)
    if written.encoding.removesuffix("-sig") != settled.records.encoding.removesuffix("-sig"):
        screen.say("cli.fix.other_encoding", encoding=settled.records.encoding)
    if written.format == "docx":
        screen.say("cli.fix.plain_document")
    if written.look == "too_large":
        screen.say("cli.fix.too_large_for_look")
    elif written.look == "not_kept":
        screen.say("cli.fix.look_not_kept")
    if written.left_out:
        parts = say("cli.fix.comma").join(say(f"cli.fix.part.{part}") for part in written.left_out)
        screen.say("cli.fix.left_out", parts=parts)


def _show_change(screen: Screen, change: Change, known_file: str) -> None:
    before, after = _around_difference(change.before, change.after)
    screen.line(f"  {change.place.in_words(change.column, known_file)}")
    screen.line(f"    - {before}", "red")
    if after is not None:
        screen.line(f"    + {after}", "green")


def _around_difference(before: str, after: str | None) -> tuple[str, str | None]:
    """Both texts on one line each, from a little before the first character that differs."""
    if after is None:
        return _on_one_line(before, 0), None
    same = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(same - _EXCERPT_CHARS // 3, 0)
    return _on_one_line(before, start), _on_one_line(after, start)


def _on_one_line(text: str, start: int) -> str:
    shown = text[start : start + _EXCERPT_CHARS].replace("\r\n", "⏎").replace("\n", "⏎")
    return ("…" if start else "") + shown + ("…" if len(text) > start + _EXCERPT_CHARS else "")


def _show_next(screen: Screen, file: Path, written: Written | None, options: ReadOptions, exit_code: int) -> None:
    if written is None:
        return
    screen.say("cli.fix.next_train" if exit_code == 0 else "cli.fix.next_check")
    if options.encoding:
        options = replace(options, encoding=written.encoding)
    if exit_code == 0:
        screen.command("postil", "train", written.path, *spell_options(options, as_settings=True))
    else:
        screen.command("postil", "check", written.path, *spell_options(options))


def _as_dict(
    settled: Settled, changes: Sequence[Change], written: Written | None, overlay: Path | None, exit_code: int
) -> dict[str, Any]:
    report = settled.after
    by_code = Counter((change.code, change.action) for change in changes)
    return {
        "file": report.file,
        "format": report.format,
        "output": None if written is None else str(written.path),
        "output_format": None if written is None else written.format,
        "output_encoding": None if written is None else written.encoding,
        "output_look": None if written is None else written.look,
        "left_out": [] if written is None else list(written.left_out),
        "sha256": settled.overlay.sha256,
        "records_in": report.records_in,
        "kept": report.kept,
        "fixed": report.fixed,
        "dropped": report.dropped,
        "conversations": report.num_conversations,
        "num_edits": len(settled.overlay.edits),
        "fixes": [{"code": code, "action": action, "count": n} for (code, action), n in by_code.most_common()],
        "changes": [change.as_dict() for change in changes],
        "overlay": None if overlay is None or written is None else str(overlay),
        "num_errors": len(report.errors),
        "num_warnings": len(report.warnings),
        "problems": [problem.as_dict() for problem in report.problems],
        "exit_code": exit_code,
    }
