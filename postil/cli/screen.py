"""What the shell prints, and where.

People read lines on standard output. With `--json` standard output carries one JSON object per line, the last one
being the result, and the lines for people go to standard error. Long lines wrap on a terminal only: a file or a pipe
gets them whole, and a command to copy is never broken.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from postil.cli.prose import Prose
from postil.events import AnyEvent, encode_event
from postil.language import current_language, has_sentence, say
from postil.problems import Fix, Place, Problem

PROGRAM = "postil"
MOST_PER_CODE = 20
MOST_ROWS_LISTED = 8
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNPRINTABLE = re.compile(_STEERING.pattern + r"|[\t\n]")


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a verb prints.

    Args:
        console: for people.
        as_json: machine-readable lines on standard output.
        quiet: only results, warnings and errors for people.
    """

    console: Console
    as_json: bool = False
    quiet: bool = False

    @property
    def is_terminal(self) -> bool:
        """True when a person watches."""
        return self.console.is_terminal

    @property
    def can_ask(self) -> bool:
        """True when a question would reach a person who can answer."""
        return self.is_terminal and sys.stdin.isatty() and not self.as_json

    def say(self, key: str, style: str = "", /, **values: Any) -> None:
        """Prints the sentence of `key`."""
        self.line(say(key, **values), style)

    def note(self, key: str, style: str = "", /, **values: Any) -> None:
        """Prints the sentence of `key` unless `--quiet`."""
        if not self.quiet:
            self.say(key, style, **values)

    def line(self, text: str, style: str = "") -> None:
        """Prints text as it is, whatever brackets stand in it."""
        shown = harmless(text)
        if self.is_terminal:
            self.console.print(Prose(shown, style))
        else:
            self.console.print(Text(shown, style=style), soft_wrap=True)

    def indented(self, text: str, cells: int = 6) -> None:
        """Prints text as it is, every line of it that many cells to the right."""
        if self.is_terminal:
            self.console.print(Padding(Prose(harmless(text)), (0, 0, 0, cells)))
        else:
            self.line(" " * cells + text)

    def command(self, *arguments: object) -> None:
        """Prints a command to copy: quoted, indented, never wrapped."""
        self.command_line(shell_line(arguments))

    def command_line(self, line: str) -> None:
        """Prints a command that is quoted already."""
        self.console.print(Text(f"  {line}", style="cyan"), soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Prints a table or the like."""
        self.console.print(renderable)

    def event(self, event: AnyEvent) -> None:
        """With `--json`: prints the event."""
        if self.as_json:
            _write_line(encode_event(event).decode())

    def result(self, values: Mapping[str, Any]) -> None:
        """With `--json`: prints the one object that ends the output."""
        if self.as_json:
            _write_line(json.dumps(values, ensure_ascii=False, default=str) + "\n")


def open_screen(as_json: bool = False, quiet: bool = False, *, to_stderr: bool = False) -> Screen:
    """A screen on the streams of this process; with `as_json` people are spoken to on standard error."""
    console = Console(stderr=as_json or to_stderr, highlight=False, markup=False, emoji=False)
    return Screen(console, as_json, quiet)


def harmless(text: str) -> str:
    """Text that only shows: what would steer a terminal, or turn the order of its signs, is spelled out (`\\x1b`)."""
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text.replace("\r\n", "\n"))


def shell_line(arguments: Iterable[object]) -> str:
    """A command line that the user's shell reads as these arguments; `postil` is named as it is found from here."""
    words = [_spelled(argument) for argument in arguments]
    if words[:1] == [PROGRAM]:
        words[0] = own_program()
    return harmless(subprocess.list2cmdline(words)) if os.name == "nt" else " ".join(map(_shell_word, words))


def own_program() -> str:
    """How the running `postil` is called from the current folder: by its name where a shell finds it, else by its path.

    Where no program of that name runs, as in a notebook, it is the name.
    """
    running, found = Path(sys.argv[0]), shutil.which(PROGRAM)
    if running.stem != PROGRAM or not running.is_file() or (found and running.samefile(found)):
        return PROGRAM
    path = Path(os.path.abspath(running))
    if not path.is_relative_to(Path.cwd()):
        return str(path)
    near = str(path.relative_to(Path.cwd()))
    return near if os.sep in near else os.path.join(os.curdir, near)  # without a folder it would be a name again


def _spelled(argument: object) -> str:
    """A file whose name begins like an option is named with its folder."""
    is_like_option = isinstance(argument, Path) and str(argument).startswith("-")
    return f"{os.curdir}{os.sep}{argument}" if is_like_option else str(argument)


def _shell_word(word: str) -> str:
    """One word for a POSIX shell; a name that would steer the terminal in the way bash and zsh spell its bytes."""
    if not _UNPRINTABLE.search(word):
        return shlex.quote(word)
    quoted = word.replace("\\", "\\\\").replace("'", "\\'")
    spelled = _UNPRINTABLE.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in os.fsencode(found[0])), quoted)
    return f"$'{spelled}'"


def show_problems(
    screen: Screen, problems: Sequence[Problem], *, known_file: str = "", with_fixes: bool = False
) -> None:
    """Lists problems by kind, errors first, at most 20 of each; the rest are counted. Nothing goes unsaid.

    Args:
        known_file: the one file that was named; it is not said again on every line.
        with_fixes: also says what `postil fix` does about each kind.
    """
    totals = Counter((p.severity, p.code) for p in problems)
    for (severity, code), total in sorted(totals.items()):  # "error" sorts before "warning"
        same = [p for p in problems if (p.severity, p.code) == (severity, code)]
        # What all of them say stands once, above.
        is_shared = len({p.message for p in same}) == 1
        blank = "" if current_language() == "zh" else " "
        advice = f"{same[0].message}{blank}{same[0].hint}" if is_shared else same[0].hint
        style = "red" if severity == "error" else "yellow"
        title = kind_title(code)
        screen.say(f"cli.problems.{severity}", style, title=title, count=total, code=code, hint=advice)
        for problem in same[:MOST_PER_CODE]:
            if line := _problem_line(problem, is_shared, known_file):
                screen.line(line)
        if total > MOST_PER_CODE:
            screen.say("cli.problems.more", "dim", count=total - MOST_PER_CODE)
        if with_fixes:
            _show_fixes(screen, code, [p.fix for p in same if p.fix])


def kind_title(code: str) -> str:
    """What problems of a kind are called, as on the pages: "Answer missing"; the code where there is no name."""
    key = f"data_page.kind.{code}"
    return say(key) if has_sentence(key) else code


def _problem_line(problem: Problem, is_shared: bool, known_file: str) -> str:
    """Place, message unless it stands above already, and what was found unless the message says it; "" for nothing."""
    message = "" if is_shared else problem.message
    excerpt = " ".join(problem.excerpt.split())
    place = problem.place.in_words(problem.column, known_file)
    if not problem.place.row and problem.fix:  # about the whole file, but a machine knows the rows
        place = " ".join(part for part in (place, _listed_rows(problem.fix.places, known_file)) if part)
    parts = [place, message, f"| {excerpt}" if excerpt and excerpt not in message else ""]
    return "".join(f"  {part}" for part in parts if part)


def _listed_rows(places: Sequence[Place], known_file: str) -> str:
    """A few rows by their numbers where one file or sheet has them all, else each place; then how many more."""
    first, rest = places[:MOST_ROWS_LISTED], len(places) - MOST_ROWS_LISTED
    if len(places) > 1 and len({(place.file, place.sheet) for place in places}) == 1:
        where = replace(first[0], row=0).in_words(known_file=known_file)
        rows = say("cli.problems.rows", rows=say("cli.problems.comma").join(str(place.row) for place in first))
        listed = say("problems.place.comma").join(part for part in (where, rows) if part)
    else:
        listed = say("cli.problems.between").join(place.in_words(known_file=known_file) for place in first)
    return say("cli.problems.and_more", listed=listed, count=rest) if rest > 0 else listed


def _show_fixes(screen: Screen, code: str, fixes: Sequence[Fix]) -> None:
    """What a machine can do about problems of one kind: what each change is, and how many rows it mends."""
    rows: dict[tuple[str, bool], set[Place]] = {}
    for fix in fixes:
        rows.setdefault((fix.label, fix.automatic), set()).update(fix.places)
    for (label, automatic), places in rows.items():
        key = "cli.problems.fix" if automatic else "cli.problems.fix_asked"
        screen.say(key, "dim", count=len(places), label=label, code=code)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "3 min 5 s", "2 h 10 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return say("cli.time.seconds", seconds=whole)
    if whole < 3600:
        return say("cli.time.minutes", minutes=whole // 60, seconds=whole % 60)
    return say("cli.time.hours", hours=whole // 3600, minutes=whole % 3600 // 60)


def byte_size(num_bytes: float) -> str:
    """Bytes in words: "11 MB", "1.2 GB" (powers of ten, as disks and hubs count)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            value = num_bytes / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{num_bytes / 1e3:.0f} kB"


def _write_line(line: str) -> None:
    """A line of JSON; what would steer a terminal, or could be taken for a line's end, is spelled as JSON does."""
    sys.stdout.flush()
    sys.stdout.buffer.write(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", line).encode())
    sys.stdout.buffer.flush()
