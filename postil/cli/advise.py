"""`postil advise`: what to train with and why, and what it will take, before anything is trained."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from postil.advice.cards import CARDS
from postil.advice.pricing import FREE_ROWS_PER_MONTH, MICRO, RATE_MICRO_PER_1000, spell_micro
from postil.advice.recommend import KINDS, PRESETS, Setting
from postil.advice.wording import amount_range, duration_range
from postil.cli.check_view import fixed_name
from postil.cli.options import (
    AsJson,
    Device,
    EncodingOption,
    Hub,
    LanguageOption,
    MapOption,
    SingleTurnOption,
    check_mapped_columns,
    read_options,
    spell_options,
)
from postil.cli.screen import Screen, open_screen, shell_line
from postil.config import RunConfig, parse_assignments
from postil.data.options import ReadOptions
from postil.errors import MissingInputError, UsageError
from postil.language import say
from postil.models.memory import gigabytes

if TYPE_CHECKING:
    from postil.advice.estimate import Estimate
    from postil.recipes.advise import Advice

_SPREAD_OF_GUESS = 0.25
"""Tokens out of characters are a guess, and so is a price out of them."""


def advise(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.check.file")],
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="cli.train.model")] = None,
    preset: Annotated[
        str, typer.Option("--preset", metavar="|".join(PRESETS), help="cli.advise.preset")
    ] = "recommended",
    kind: Annotated[str | None, typer.Option("--kind", metavar="|".join(KINDS), help="cli.advise.kind")] = None,
    on: Annotated[str | None, typer.Option("--on", metavar="|".join(CARDS), help="cli.advise.on")] = None,
    hourly: Annotated[str | None, typer.Option("--hourly", metavar="PRICE", help="cli.advise.hourly")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="cli.train.set", show_default=False)
    ] = None,
    columns: MapOption = None,
    encoding: EncodingOption = None,
    single_turn: SingleTurnOption = False,
    device: Device = None,
    hub: Hub = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="cli.advise.yaml")] = False,
    as_json: AsJson = False,
    language: LanguageOption = None,
) -> None:
    """Advises.

    Raises:
        UsageError: no such preset, kind or card, or a price that is none.
        DataError: not one row of the file can train.
    """
    _refuse_unknown("--preset", preset, PRESETS)
    _refuse_unknown("--kind", kind, KINDS)
    _refuse_unknown("--on", on, tuple(CARDS))
    options = read_options(columns, encoding, single_turn)
    settings: dict[str, Any] = {
        "data.file": str(file),
        "data.map": dict(options.columns) or None,
        "data.encoding": options.encoding,
        "data.single_turn": single_turn or None,
        "data.kind": kind,
        "model.base": model,
        "model.device": device,
        "model.hub": hub,
        "training.preset": preset,
    }
    config = RunConfig().replace({name: value for name, value in settings.items() if value is not None})
    config = config.replace(parse_assignments(assignments or []))
    hourly_micro = None if hourly is None else _micro(hourly)
    if not file.exists():
        raise MissingInputError("data.no_file", path=file)
    check_mapped_columns(config.data)
    screen = open_screen(as_json or as_yaml)
    if on is None:
        screen.say("cli.advise.calibrating", "dim")
    from postil.recipes.advise import advise as ask

    found = ask(config, card=on, hourly_micro=hourly_micro)
    _show_kind(screen, found, file)
    _show_settings(screen, found)
    _show_estimate(screen, found)
    _show_next(screen, found, config, options)
    if as_yaml:
        typer.echo(settings_yaml(found, config), nl=False)
    if as_json:
        screen.result({"file": str(file), "model": config.model.base, **found.as_dict()})


def _refuse_unknown(option: str, given: str | None, known: tuple[str, ...]) -> None:
    if given is not None and given not in known:
        raise UsageError("cli.advise.unknown", option=option, given=given, known=", ".join(known))


def _micro(text: str) -> int:
    """A price in micro-units.

    Raises:
        UsageError: not a number, or below zero.
    """
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(-1)
    if not price.is_finite() or price < 0:
        raise UsageError("cli.advise.bad_price", text=text)
    return int(price * MICRO)


def _show_kind(screen: Screen, found: "Advice", file: Path) -> None:
    advice = found.recommendation
    values = {"file": file.name, "rows": found.data.all_rows, "base": found.base.name}
    screen.say("cli.advise.title", "bold", kind=say(f"advice.kind.{advice.kind}"), id=advice.kind, **values)
    if found.rows_left_out:
        command = shell_line(["postil", "check", file])
        screen.say("cli.profile.left_out", "yellow", count=found.rows_left_out, command=command)
    if advice.kind != advice.found_kind:
        screen.say("cli.profile.overridden", purpose=say(f"advice.kind.{advice.found_kind}"))
    for sentence in advice.evidence:
        screen.line(f"  - {sentence}")
    if advice.kind == advice.found_kind:
        screen.say("cli.advise.other_kind", "dim", kinds=", ".join(KINDS))


def _show_settings(screen: Screen, found: "Advice") -> None:
    advice = found.recommendation
    screen.line("")
    screen.say("cli.advise.settings", "bold", preset=say(f"cli.advise.preset.{advice.preset}"), steps=advice.steps)
    for setting in advice.settings:
        screen.line(f"  {setting.name} = {_plain(setting)}", "cyan")
        for text in (setting.why, say("cli.advise.would_change", text=str(setting.would_change))):
            screen.indented(text)
    for note in advice.notes:
        screen.line(str(note), "yellow")


def _plain(setting: Setting) -> str:
    value = setting.value
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _show_estimate(screen: Screen, found: "Advice") -> None:
    estimate = found.estimate
    screen.line("")
    if estimate is None:
        screen.say("cli.advise.not_here", "yellow", base=found.base.name, cards="|".join(CARDS))
        return
    screen.say("cli.advise.takes", "bold", hardware=estimate.hardware)
    for key, text in _takes(found, estimate):
        screen.indented(say("cli.advise.line", name=say(key), text=text), 2)
    if not estimate.is_measured:
        screen.say("cli.advise.not_measured", "yellow")
    if found.fits is False:
        screen.say("cli.advise.does_not_fit", "yellow", base=found.base.name, hardware=estimate.hardware)


def _takes(found: "Advice", estimate: "Estimate") -> Iterator[tuple[str, str]]:
    parts = [
        say("cli.advise.part", part=say(f"cli.advise.phase.{name}"), time=duration_range(part.low, part.high))
        for name, part in estimate.phases.items()
        if part.high >= 0.5
    ]
    total = duration_range(estimate.seconds.low, estimate.seconds.high)
    yield "cli.advise.time", say("cli.advise.time_text", total=total, parts=say("cli.advise.between").join(parts))
    if estimate.memory_bytes is not None:
        low, high = (gigabytes(int(size)) for size in (estimate.memory_bytes.low, estimate.memory_bytes.high))
        yield "cli.advise.memory", low if low == high else f"{low} - {high}"
    yield "cli.advise.price", _price(found, estimate)
    if estimate.cost_micro is not None and estimate.hourly_micro is not None:
        cost = amount_range(estimate.cost_micro.low, estimate.cost_micro.high)
        yield "cli.advise.cost", say("cli.advise.cost_text", cost=cost, hourly=spell_micro(estimate.hourly_micro))


def _price(found: "Advice", estimate: "Estimate") -> str:
    micro, spread = estimate.price_micro or 0, 0.0 if found.data.is_exact else _SPREAD_OF_GUESS
    values = {"rate": spell_micro(RATE_MICRO_PER_1000), "free": FREE_ROWS_PER_MONTH}
    values |= {
        "tokens": estimate.billable_tokens or 0,
        "price": amount_range(micro * (1 - spread), micro * (1 + spread)),
    }
    return say("cli.advise.price_text" if micro else "cli.advise.price_free", **values)


def _show_next(screen: Screen, found: "Advice", config: RunConfig, options: ReadOptions) -> None:
    """The command that trains so; where rows have errors, which would stop it, first the one that mends them."""
    file = Path(config.data.file or "")
    screen.line("")
    screen.say("cli.advise.next", "bold")
    if found.rows_left_out:
        copy = fixed_name(file, file.suffix.lower().removeprefix("."))
        screen.say("cli.advise.next_mend", count=found.rows_left_out)
        screen.command("postil", "fix", file, *spell_options(options), "-o", copy)
        screen.say("cli.advise.next_without")
    words = ["postil", "train", config.data.file, *spell_options(options, as_settings=True)]
    words += ["--model", config.model.base]
    if config.data.kind:
        words += ["--set", f"kind={config.data.kind}"]
    if config.training.preset != "recommended":
        words += ["--set", f"preset={config.training.preset}"]
    words += ["--drop-bad"] if found.rows_left_out else []
    screen.command(*words)


def settings_yaml(found: "Advice", config: RunConfig) -> str:
    """The advice as settings for `postil train --config`, each with its reason as a comment."""
    parts: dict[str, list[str]] = {"data": [], "model": [], "adapter": [], "training": []}
    initial = RunConfig().model_dump(mode="json")
    for part, values in config.model_dump(mode="json").items():
        given = {name: value for name, value in values.items() if value != initial[part][name]}
        advised = {s.name.partition(".")[2] for s in found.recommendation.settings if s.name.startswith(f"{part}.")}
        parts.setdefault(part, [])
        parts[part] += [_yaml_line(name, value) for name, value in given.items() if name not in advised]
    for setting in found.recommendation.settings:
        part, _, name = setting.name.partition(".")
        parts[part] += [f"  # {line}" for line in setting.why.splitlines()]
        parts[part].append(_yaml_line(name, setting.value))
    return "".join(f"{part}:\n" + "".join(f"{line}\n" for line in lines) for part, lines in parts.items() if lines)


def _yaml_line(name: str, value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump({name: plain}, allow_unicode=True, default_flow_style=False, width=1_000_000)
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())
