"""`postil merge`: an adapter and its base become one model."""

from postil.cli.options import AdapterDir, AsJson, Force, OutDir
from postil.cli.screen import byte_size, open_screen


def merge(adapter: AdapterDir, output: OutDir, force: Force = False, as_json: AsJson = False) -> None:
    """Writes the merged model."""
    screen = open_screen(as_json)
    screen.say("cli.merge.working", "dim")
    from postil.export.merge import merge_adapter

    merge_adapter(adapter, output, force=force)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    screen.say("cli.merge.done", path=output, size=byte_size(size))
    screen.result({"model_dir": str(output), "bytes": size})
