"""`postil inspect`: the tokens that training will see, each trained, only read, or left out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from postil.cli.inspect_page import inspection_page, num_left_out, row_heading
from postil.cli.options import AsJson, Force, Hub, LanguageOption, Offline, check_mapped_columns
from postil.cli.screen import Screen, harmless, open_screen, show_problems
from postil.config import RunConfig, load_config, parse_assignments
from postil.data.inspection import Counts, ShownRow, ShownToken, count_rows, show_row
from postil.errors import CannotWriteError, DataError, UsageError
from postil.language import say
from postil.operating_system import os_reason
from postil.problems import Problem

if TYPE_CHECKING:
    from postil.recipes.prepare import TokenizedFile

NUM_SHOWN = 3
_STYLES = {"trained": "bold blue", "ignored": "dim", "cut": "strike yellow"}
_SIGNS = {"trained": ("⟦", "⟧"), "ignored": ("", ""), "cut": ("⟪", "⟫")}
"""Without colours, runs of tokens stand between these."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is shown on every surface.

    Args:
        template: the name of the chat template.
        stop_marks: the texts on which answering stops.
        problems: of rows that cannot train; the other rows are shown all the same.
        goes_on: the settings leave such rows out.
        model_max_tokens: what the model can read, where it says so.
    """

    file: str
    model: str
    template: str
    stop_marks: tuple[str, ...]
    counts: Counts
    rows: tuple[ShownRow, ...]
    problems: tuple[Problem, ...]
    goes_on: bool
    model_max_tokens: int | None = None

    @property
    def exit_code(self) -> int:
        """65 where training would stop."""
        is_good = all(row.round_trip for row in self.rows) and (self.goes_on or not self.problems)
        return 0 if is_good else DataError.exit_code

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return {
            "file": self.file,
            "model": self.model,
            "template": self.template,
            "stop_marks": list(self.stop_marks),
            "counts": asdict(self.counts),
            "rows": [row.as_dict() for row in self.rows],
            "problems": [problem.as_dict() for problem in self.problems],
            "exit_code": self.exit_code,
        }

    def summary(self) -> list[str]:
        """Counts and verdicts in words."""
        counts = asdict(self.counts)
        lines = [say("cli.inspect.counts" if self.counts.heldout else "cli.inspect.counts_all", **counts)]
        lines += [say("cli.inspect.lengths", **counts), self._fitting()]
        for name in ("too_long", "split", "shortened", "changed"):
            if counts[name]:
                lines.append(say(f"cli.inspect.{name}", count=counts[name]))
        if not self.counts.examples:
            return lines
        marks = ", ".join(self.stop_marks)
        key = "cli.inspect.stops_all" if self.counts.stops == self.counts.examples else "cli.inspect.stops_some"
        lines.append(say(key, marks=marks, stops=self.counts.stops, examples=self.counts.examples))
        if any(row.examples for row in self.rows):
            is_same = all(row.round_trip for row in self.rows)
            lines.append(say("cli.inspect.round_trip" if is_same else "cli.inspect.round_trip_differs"))
        return lines

    def _fitting(self) -> str:
        """Which length would do: for all, for nearly all, or none that this model can read."""
        suggested = self.counts.suggested_length_tokens
        if self.counts.longest <= suggested:
            return say("cli.inspect.all_fit", tokens=suggested)
        reads_no_more = self.model_max_tokens is not None and suggested >= self.model_max_tokens
        return say("cli.inspect.model_reads" if reads_no_more else "cli.inspect.most_fit", tokens=suggested)


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.train.file")],
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="cli.train.model")] = None,
    row: Annotated[list[int] | None, typer.Option("--row", metavar="N", min=1, help="cli.inspect.row")] = None,
    html: Annotated[bool, typer.Option("--html", help="cli.inspect.html")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="cli.inspect.output")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", metavar="YAML", help="cli.train.config")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="cli.train.set", show_default=False)
    ] = None,
    hub: Hub = None,
    offline: Offline = False,
    force: Force = False,
    as_json: AsJson = False,
    language: LanguageOption = None,
) -> int:
    """Shows rows as tokens; ends with 65 when training would stop.

    Raises:
        DataError: nothing in the file could train, or it has no such row.
        CannotWriteError: the page exists already, or cannot be written.
        UsageError: an output without `--html`, or the file does not have a column that the settings name.
    """
    flags = {"data.file": str(file), "model.base": model, "model.hub": hub, "model.offline": offline or None}
    chosen = load_config(config) if config else RunConfig()
    chosen = chosen.replace({name: value for name, value in flags.items() if value is not None})
    chosen = chosen.replace(parse_assignments(assignments or []))
    page = _page_path(file, html, output, force)
    check_mapped_columns(chosen.data)
    screen = open_screen(as_json)
    found = inspect_file(chosen, row or [])
    if page is not None:
        _write_page(page, found)
    _show(screen, found, page)
    screen.result(found.as_dict() | ({"html": str(page)} if page else {}))
    return found.exit_code


def _page_path(file: Path, html: bool, output: Path | None, force: bool) -> Path | None:
    if not html:
        if output is not None:
            raise UsageError("cli.inspect.output_without_html", path=output)
        return None
    page = output or Path(f"{file.stem}.tokens.html")
    if page.exists() and not force:
        raise CannotWriteError("answering.exists", path=page)
    return page


def inspect_file(config: RunConfig, numbers: list[int]) -> Inspection:
    """Tokenizes a file as training would, and picks rows of it.

    Args:
        numbers: of the rows in the user's file; the first three where there are none.

    Raises:
        DataError: nothing could train, or there is no such row.
    """
    from postil.models.loading import context_tokens

    made, problems = _tokenize(config)
    refused = {p.place for p in problems}
    good = [c for c in made.conversations if c.place not in refused]
    rows = [c for c in good if c.place.row in numbers] if numbers else good[:NUM_SHOWN]
    missing = [n for n in numbers if all(c.place.row != n for c in rows)]
    if missing:
        named = [p for p in problems if p.place.row in missing]
        raise DataError(
            "cli.inspect.no_such_row", problems=named, row=", ".join(map(str, missing)), file=config.data.file
        )
    heldout = {e.place for e in made.heldout.examples} | set(made.heldout.too_long)
    shown = [
        show_row(c, made.heldout, "heldout", made.chat_format, config.data.train_on)
        if c.place in heldout
        else show_row(c, made.train, "train", made.chat_format, config.data.train_on)
        for c in rows
    ]
    ids = sorted(made.chat_format.stop_ids)
    marks = [made.chat_format.tokenizer.decode([i], skip_special_tokens=False) for i in ids]
    return Inspection(
        file=str(config.data.file),
        model=config.model.base,
        template=made.chat_format.name,
        stop_marks=tuple(dict.fromkeys((*marks, *made.chat_format.stop_strings))),
        counts=count_rows(made.conversations, made.chat_format, made.train, made.heldout),
        rows=tuple(shown),
        problems=problems,
        goes_on=config.data.drop_bad,
        model_max_tokens=context_tokens(config.model),
    )


def _tokenize(config: RunConfig) -> "tuple[TokenizedFile, tuple[Problem, ...]]":
    """What training would see; rows that it would refuse are left out here, and named."""
    from postil.data.prepared import is_prepared
    from postil.models.loading import load_chat_format
    from postil.recipes.prepare import open_tokenized, tokenize_file

    source = Path(str(config.data.file))
    if is_prepared(source):
        return open_tokenized(source, load_chat_format(config.model).tokenizer, config.model.base), ()
    problems: list[Problem] = []
    for drop_bad in (config.data.drop_bad, True):
        try:
            made = tokenize_file(config.replace({"data.drop_bad": drop_bad}))
            return made, _unique([*problems, *made.train.refused, *made.heldout.refused])
        except DataError as error:
            if drop_bad or not error.problems:
                raise
            problems += error.problems
    raise AssertionError


def _unique(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple({(p.code, p.place, p.column, p.excerpt): p for p in problems if p.severity == "error"}.values())


def _write_page(page: Path, found: Inspection) -> None:
    try:
        page.write_text(inspection_page(found.file, found.summary(), found.rows, found.problems), "utf-8")
    except OSError as error:
        raise CannotWriteError("recipes.cannot_write", path=page, reason=os_reason(error)) from error


def _show(screen: Screen, found: Inspection, page: Path | None) -> None:
    if found.problems:
        show_problems(screen, found.problems, known_file=Path(found.file).name)
    screen.say("cli.inspect.title", "bold", file=found.file, model=found.model, template=found.template)
    for line in found.summary():
        screen.line(line)
    if page is not None:
        screen.say("cli.inspect.html_written", path=page)
        return
    screen.show(_legend())
    for row in found.rows:
        _show_row(screen, row, Path(found.file).name)


def _legend() -> Text:
    legend = Text()
    for state in ("trained", "ignored", "cut"):
        opening, closing = _SIGNS[state]
        legend.append(f"{opening}{say(f'cli.inspect.{state}')}{closing}", _STYLES[state])
        legend.append("   ")
    return legend.append(say("cli.inspect.blanks"), "dim")


def _show_row(screen: Screen, row: ShownRow, known_file: str) -> None:
    screen.line("")
    screen.line(row_heading(row, known_file), "bold")
    for number, example in enumerate(row.examples, start=1):
        if len(row.examples) > 1:
            screen.say("cli.inspect.example", "dim", number=number, count=len(row.examples))
        screen.show(_coloured(example))
    if row.left_out:
        if row.examples:
            screen.say("cli.inspect.left_out", "yellow", tokens=num_left_out(row))
        screen.show(_coloured(row.left_out))


def _coloured(tokens: tuple[ShownToken, ...]) -> Text:
    text = Text()
    before: str | None = None
    for token in tokens:
        if token.state != before:
            text.append(_SIGNS[before][1] if before else "")
            text.append(_SIGNS[token.state][0], _STYLES[token.state])
        style = _STYLES[token.state] + (" reverse" if token.is_control else "")
        text.append(visible(token.text), style)
        before = token.state
    return text.append(_SIGNS[before][1] if before else "")


def visible(text: str) -> str:
    """Text in which blanks can be seen, and nothing steers the terminal."""
    return harmless(text.replace(" ", "·").replace("\t", "→").replace("\u3000", "□").replace("\n", "↵\n"))
