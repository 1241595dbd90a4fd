"""`postil prepare`: check and tokenize once, train often."""

from pathlib import Path
from typing import Annotated, Any

import typer

from postil.cli.options import AsJson, Force, Hub, Offline, OutDir
from postil.cli.run_view import RunView
from postil.cli.screen import open_screen
from postil.config import RunConfig, load_config, parse_assignments


def prepare(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cli.check.file")],
    output: OutDir,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="cli.train.model")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", metavar="YAML", help="cli.train.config")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="cli.train.set")] = None,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="cli.train.drop_bad")] = False,
    hub: Hub = None,
    offline: Offline = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Writes the prepared folder."""
    flags: dict[str, Any] = {"data.file": str(file), "model.base": model, "model.hub": hub}
    flags |= {"data.drop_bad": drop_bad or None, "model.offline": offline or None}
    chosen = load_config(config) if config else RunConfig()
    chosen = chosen.replace({name: value for name, value in flags.items() if value is not None})
    chosen = chosen.replace(parse_assignments(assignments or []))
    screen = open_screen(as_json)
    from postil.recipes.prepare import prepare as prepare_data

    with RunView(screen) as view:
        result = prepare_data(chosen, output, view.report, force=force)
    screen.say("cli.prepare.done", path=output, train=result.train, heldout=result.heldout, tokens=result.tokens)
    screen.say("cli.result.next", "bold")
    screen.command("postil", "train", output, "--model", chosen.model.base)
    screen.result(result.as_dict())
