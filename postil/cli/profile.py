"""`postil profile`: what a file's conversations are like, and what they are probably for."""

from collections.abc import Callable, Iterator, Sequence
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from postil.cli.options import (
    AsJson,
    EncodingOption,
    Hub,
    LanguageOption,
    MapOption,
    Offline,
    SingleTurnOption,
    check_columns,
    read_options,
)
from postil.cli.prose import Prose
from postil.cli.screen import Screen, harmless, open_screen, shell_line
from postil.data.profile import Lengths, Profile, profile_conversations
from postil.data.purposes import DATA_PURPOSES, DataPurpose
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.errors import DataError, UsageError
from postil.language import say

if TYPE_CHECKING:
    from postil.data.conversations import Conversation

WIDEST_BAR = 30
MOST_LABELS_SHOWN = 10
MOST_BINS_SHOWN = 12


def profile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.check.file")],
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="cli.profile.model")] = None,
    purpose: Annotated[
        str | None, typer.Option("--purpose", metavar="|".join(DATA_PURPOSES), help="cli.profile.purpose")
    ] = None,
    columns: MapOption = None,
    encoding: EncodingOption = None,
    single_turn: SingleTurnOption = False,
    hub: Hub = None,
    offline: Offline = False,
    as_json: AsJson = False,
    language: LanguageOption = None,
) -> None:
    """Shows the profile.

    Raises:
        DataError: not one row of the file could train.
        UsageError: there is no such purpose, or no such column.
    """
    screen = open_screen(as_json)
    chosen = _purpose(purpose)
    options = read_options(columns, encoding, single_turn)
    records = read_records(file, options)
    check_columns(records)
    report = validate_dataset(records, single_turn=single_turn)
    if not report.conversations:
        raise DataError("cli.profile.nothing", file=report.file, problems=report.errors)
    count_tokens = _token_counter(model, hub, offline, report.conversations) if model else None
    found = profile_conversations(report.conversations, report.kind, purpose=chosen, count_tokens=count_tokens)
    screen.say("cli.profile.title", "bold", file=report.file, conversations=found.conversations, turns=found.turns)
    if report.dropped:
        command = shell_line(["postil", "check", file])
        screen.say("cli.profile.left_out", "yellow", count=report.dropped, command=command)
    _show_facts(screen, found)
    for name in ("question_chars", "answer_chars", "conversation_tokens"):
        if lengths := getattr(found, name):
            _show_lengths(screen, say(f"cli.profile.{name}"), lengths)
    _show_labels(screen, found)
    _show_purpose(screen, found)
    screen.result({"file": report.file, "model": model, **found.as_dict()})


def _purpose(name: str | None) -> DataPurpose | None:
    found = next((p for p in DATA_PURPOSES if p == name), None)
    if name is not None and found is None:
        raise UsageError("cli.profile.no_such_purpose", name=name, purposes=", ".join(DATA_PURPOSES))
    return found


def _token_counter(
    model: str, hub: str | None, offline: bool, conversations: "Sequence[Conversation]"
) -> "Callable[[Conversation], int | None]":
    """How many tokens a conversation takes in a base's chat format; its weights are not loaded."""
    from postil.config import RunConfig
    from postil.models.loading import load_chat_format

    settings = {"model.base": model, "model.hub": hub, "model.offline": offline or None}
    config = RunConfig().replace({name: value for name, value in settings.items() if value is not None})
    chat_format = load_chat_format(config.model).fitted_to(conversations)

    def count(conversation: "Conversation") -> int | None:
        try:
            return len(chat_format.encode_conversation(conversation).input_ids)
        except DataError:
            return None

    return count


def _show_facts(screen: Screen, found: Profile) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan")
    table.add_column()
    for key, text in _facts(found):
        table.add_row(Prose(say(key)), Prose(text))
    screen.show(table)


def _facts(found: Profile) -> Iterator[tuple[str, str]]:
    rows = found.conversations
    values = {"chats": found.multi_turn, "turns": found.turns / rows}
    yield "cli.profile.turns", say("cli.profile.turns_text" if found.multi_turn else "cli.profile.single", **values)
    languages = ", ".join(f"{say(f'cli.profile.{name}')} {count / rows:.0%}" for name, count in found.languages.items())
    yield "cli.profile.languages", languages
    if found.system_prompts:
        shown = harmless(" ".join(found.shared_system.split())[:60])
        share, count = found.system_share, found.system_prompts
        yield "cli.profile.system", say("cli.profile.system_text", share=share, text=shown, count=count)
    if found.shared_prefix_chars:
        yield "cli.profile.prefix", say("cli.profile.prefix_text", chars=found.shared_prefix_chars)
    repeated = {"duplicates": found.duplicates, "questions": found.repeated_questions}
    yield "cli.profile.repeats", say("cli.profile.repeats_text", **repeated)
    yield "cli.profile.distinct", say("cli.profile.distinct_text", count=found.distinct_answers)


def _show_lengths(screen: Screen, title: str, lengths: Lengths) -> None:
    screen.line("")
    values = {"median": lengths.median, "p99": lengths.p99, "longest": lengths.longest}
    screen.say("cli.profile.lengths", "bold", title=title, **values)
    bars = [(_span(low, high, lengths.longest), count) for low, high, count in _merged(lengths.bins)]
    _show_bars(screen, bars)


def _merged(bins: tuple[tuple[int, int, int], ...]) -> list[tuple[int, int, int]]:
    """At most twelve bins: the shortest are put together."""
    spare = max(0, len(bins) - MOST_BINS_SHOWN)
    if not spare:
        return list(bins)
    short = bins[: spare + 1]
    return [(short[0][0], short[-1][1], sum(count for _, _, count in short)), *bins[spare + 1 :]]


def _span(low: int, high: int, longest: int) -> str:
    high = min(high, longest)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _show_bars(screen: Screen, rows: list[tuple[str, int]]) -> None:
    """Label, bar and number; the longest bar is thirty cells wide."""
    most = max((count for _, count in rows), default=1)
    width = max((len(label) for label, _ in rows), default=0)
    for label, count in rows:
        bar = "#" * max(round(count / most * WIDEST_BAR), 1 if count else 0)
        screen.line(f"  {label:>{width}}  {bar:<{WIDEST_BAR}}  {count:,}")


def _show_labels(screen: Screen, found: Profile) -> None:
    if found.label_entropy_bits is None:
        return
    screen.line("")
    values = {"labels": len(found.labels), "bits": found.label_entropy_bits}
    screen.say("cli.profile.labels", "bold", even=_most_bits(found), **values)
    _show_bars(screen, [(harmless(label)[:30], count) for label, count in found.labels[:MOST_LABELS_SHOWN]])
    if len(found.labels) > MOST_LABELS_SHOWN:
        screen.say("cli.profile.more_labels", "dim", count=len(found.labels) - MOST_LABELS_SHOWN)


def _most_bits(found: Profile) -> float:
    return log2(len(found.labels)) if found.labels else 0.0


def _show_purpose(screen: Screen, found: Profile) -> None:
    screen.line("")
    screen.say("cli.profile.found", "bold", purpose=say(f"cli.profile.purpose.{found.purpose}"), id=found.purpose)
    if found.purpose != found.found_purpose:
        screen.say("cli.profile.overridden", purpose=say(f"cli.profile.purpose.{found.found_purpose}"))
    for sentence in found.evidence:
        screen.line(f"  - {sentence}")
    if found.untokenized:
        screen.say("cli.profile.untokenized", "yellow", count=found.untokenized)
    if found.suggested_max_tokens:
        values = {"tokens": found.suggested_max_tokens, "longer": found.longer_than_suggested}
        screen.say("cli.profile.suggested", **values)
    if found.purpose == found.found_purpose:
        screen.say("cli.profile.override", "dim", purposes=", ".join(DATA_PURPOSES))
