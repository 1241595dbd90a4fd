"""Postil: a workshop for LoRA adapters.

    import postil

    result = postil.train("questions.xlsx")
    postil.load(result.adapter_dir).answer("Do you ship abroad?")
    postil.compare(result.adapter_dir, ["Do you ship abroad?"])

Everything heavy is imported on first use, so `import postil` is quick.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from postil.config import RunConfig
from postil.errors import PostilError
from postil.events import Report, ShouldStop, ignore, never

if TYPE_CHECKING:
    from postil.answering import Comparison, TunedModel
    from postil.client import Client
    from postil.recipes.result import RunResult

__version__ = "0.1.0"
__all__ = ["Client", "PostilError", "RunConfig", "__version__", "compare", "load", "train"]


def train(
    file: str | Path | None = None,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    config: RunConfig | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    report: Report = ignore,
    should_stop: ShouldStop = never,
) -> "RunResult":
    """Trains an adapter on a file of questions and answers and measures it.

    Args:
        file: anything that `postil check` reads, or a folder made by `postil prepare`.
        model: "starter", a local folder or a hub id.
        output: folder of the run; a new one under runs/ when None.
        config: settings to begin with.
        settings: dotted settings that replace those of `config`, such as {"training.epochs": 3}.
        resume: go on with the run in `output`.
        report: receives every event while the run works.
        should_stop: asked after every step.

    Raises:
        PostilError: see errors.py; its `message` says where and what, its `hint` what to do.
    """
    from postil.recipes.lora_sft import train_lora

    named = {"data.file": file, "model.base": model, "output.dir": output}
    changes = {name: str(value) for name, value in named.items() if value is not None} | dict(settings or {})
    return train_lora((config or RunConfig()).replace(changes), report, should_stop, resume=resume)


def load(adapter_dir: str | Path, *, device: Literal["auto", "cpu", "cuda", "mps"] = "auto") -> "TunedModel":
    """Loads an adapter and its base, once, to ask both.

    Raises:
        PostilError: no adapter there, its base is missing, or it belongs to another base.
    """
    from postil.answering import load as load_adapter

    return load_adapter(Path(adapter_dir), device=device)


def compare(adapter_dir: str | Path, questions: list[str]) -> "Comparison":
    """Asks base and adapter the same questions, from one base in memory.

    Raises:
        PostilError: as `load`.
    """
    from postil.answering import compare as compare_adapter

    return compare_adapter(Path(adapter_dir), questions)


def __getattr__(name: str) -> Any:
    if name == "Client":
        from postil.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
