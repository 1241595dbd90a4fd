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
    read_options,
    spell_options,
)
from postil.cli.screen import Screen, open_screen, show_problems
from postil.data.corrected.changes import Change, changed_records, list_all_changes
from postil.data.corrected.settling import Settled, settle
from postil.data.corrected.writing import Written, check_target, write_corrected
from postil.data.options import ReadOptions
from postil.errors import CannotWriteError, DataError, UsageError
from postil.language import has_sentence, say

NUM_SHOWN = 3
_EXCERPT_CHARS = 60


def fix(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.fix.file")],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="cli.fix.output")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="CODE", help="cli.fix.only")] = None,
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

    Raises:
        UsageError: no output is named, it is the original itself, or a code is unknown.
        CannotWriteError: the output exists, or cannot be written.
        DataError: the file cannot be read, or a change cannot be written in its format.
    """
    screen = open_screen(as_json)
    options = read_options(columns, encoding, single_turn)
    only, excluded = _codes(only), _codes(excluded)
    if output is None and not dry_run:
        raise UsageError("cli.fix.no_output", file=str(file))
    _check_overlay_path(save_overlay, file, output, force)
    settled = settle(file, options, only=only, excluded=excluded)
    written: Written | None = None
    if output is not None and dry_run:
        check_target(settled.records, output, force=force)
    elif output is not None and settled.after.num_conversations:
        written = write_corrected(settled.records, settled.overlay, output, force=force)
    changes = written.changes if written else _changes(settled)
    if save_overlay is not None and written is not None:
        settled.overlay.write(save_overlay)
    _show(screen, settled, changes, written)
    exit_code = 0 if settled.after.num_conversations and not settled.after.errors else DataError.exit_code
    _show_next(screen, file, written, options, exit_code)
    screen.result(_as_dict(settled, changes, written, save_overlay, exit_code))
    return exit_code


def _codes(texts: Sequence[str] | None) -> list[str]:
    """Problem codes, each given by itself or several with commas between."""
    codes = [code.strip() for text in texts or () for code in text.split(",")]
    for code in codes:
        if not code.isidentifier() or not has_sentence(f"problems.{code}"):
            raise UsageError("cli.fix.no_such_code", code=code)
    return codes


def _check_overlay_path(path: Path | None, file: Path, output: Path | None, force: bool) -> None:
    if path is None:
        return
    if path.resolve() in (file.resolve(), output and output.resolve()):
        raise UsageError("data.would_overwrite", path=str(path))
    if path.exists() and not force:
        raise CannotWriteError("data.output_exists", path=str(path))


def _changes(settled: Settled) -> tuple[Change, ...]:
    return list_all_changes(tuple(changed_records(settled.records, settled.overlay)))


def _show(screen: Screen, settled: Settled, changes: Sequence[Change], written: Written | None) -> None:
    report = settled.after
    counts = {name: getattr(report, name) for name in ("records_in", "kept", "fixed", "dropped")}
    screen.say("cli.run.read", "", file=report.file, format=report.format, **counts)
    for code, count in Counter(change.code for change in changes).most_common():
        same = [change for change in changes if change.code == code]
        screen.say("cli.fix.code", "bold", code=code, count=count, label=say(f"problems.fix.{same[0].action}"))
        for change in same[:NUM_SHOWN]:
            _show_change(screen, change)
        if count > NUM_SHOWN:
            screen.say("cli.problems.more", "dim", count=count - NUM_SHOWN)
    if not changes:
        screen.say("cli.fix.nothing")
    if report.errors:
        screen.say("cli.fix.by_hand", "bold", count=len(report.errors))
        show_problems(screen, report.errors)
    if report.warnings:
        codes = ", ".join(dict.fromkeys(problem.code for problem in report.warnings))
        screen.say("cli.fix.warnings_left", count=len(report.warnings), codes=codes)
    if on_request := ", ".join(dict.fromkeys(p.code for p in report.problems if p.fix and not p.fix.automatic)):
        screen.say("cli.fix.on_request", codes=on_request)
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


def _show_change(screen: Screen, change: Change) -> None:
    column = f" {change.column}" if change.column else ""
    before, after = _around_difference(change.before, change.after)
    screen.line(f"  {change.place}{column}")
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
