"""`postil merge`: an adapter and its base become one model."""

from postil.cli.options import AdapterDir, AsJson, Force, OutDir
from postil.cli.screen import byte_size, open_screen
from postil.cli.stopping import stop_on_signals
from postil.models.manifest import read_manifest


def merge(adapter: AdapterDir, output: OutDir, force: Force = False, as_json: AsJson = False) -> None:
    """Writes the merged model in fp32 and says how far its logits are from the adapter's."""
    screen = open_screen(as_json)
    read_manifest(adapter)  # a wrong folder is said before the seconds that loading takes
    screen.say("cli.merge.working", "dim")
    with stop_on_signals(lambda: None):
        from postil.export.merge import merge_adapter

        merged = merge_adapter(adapter, output, force=force)
    gap = f"{merged.logit_difference:.1e}"
    screen.say("cli.merge.done", path=output, size=byte_size(merged.num_bytes), dtype=merged.dtype, difference=gap)
    screen.result(
        {
            "model_dir": str(output),
            "bytes": merged.num_bytes,
            "dtype": merged.dtype,
            "logit_difference": merged.logit_difference,
        }
    )
