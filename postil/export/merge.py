"""An adapter melted into its base: one ordinary model that needs neither PEFT nor us.

W' = W + scale * B @ A        computed in fp32, whatever the base is stored in
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from postil.data.conversations import Message
from postil.errors import CannotWriteError, PostilError
from postil.models.base_folder import read_json
from postil.models.tokenizer import quiet_transformers
from postil.models.tuned import Tuned, load_tuned
from postil.operating_system import os_reason

ALLOWED_DIFFERENCE = 1e-4
"""Largest difference of logits that fp32 merging may make, relative to the largest logit where that is above 1."""
_PROBE = "你好！ Hello, what can you do for me? 1 + 1 = ?"


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was written.

    Args:
        dtype: of the weights on disk.
        logit_difference: largest difference between the adapter's logits (fp32) and those of the weights as written,
            measured on a short conversation.
    """

    path: Path
    base: str
    dtype: str
    num_bytes: int
    logit_difference: float


def merge_adapter(
    adapter_dir: Path,
    out_dir: Path,
    *,
    force: bool = False,
    dtype: Literal["fp32", "base"] = "fp32",
    base: str | None = None,
) -> MergeReport:
    """Merges an adapter into its base and writes the model, safetensors, with tokenizer and chat template.

    The folder appears only when it is complete and its logits have been compared with the adapter's.

    Args:
        out_dir: a new folder; one that holds a model is replaced with `force`.
        dtype: "fp32" keeps the merge exact; "base" rounds to the base's own type, which halves bf16 models.
        base: where the base lies now, when not where the manifest says.

    Raises:
        CannotWriteError: `out_dir` exists, or cannot be written.
        MissingInputError, DataError, UnavailableError: see `load_tuned`.
        PostilError: merged and adapted logits differ.
    """
    _check_target(out_dir, force)
    tuned = load_tuned(adapter_dir, device="cpu", dtype="fp32", base=base)
    _refuse_sources(out_dir, (adapter_dir, tuned.base.path))
    ids = tuned.chat_format.prompt_ids([Message("user", _PROBE)])
    expected = _logits(tuned.model, ids)
    merged = _merge(tuned)
    difference = _difference(expected, _logits(merged, ids))
    allowed = ALLOWED_DIFFERENCE * max(1.0, float(expected.abs().max()))
    if not difference <= allowed:
        raise PostilError("export.differs", difference=difference, allowed=allowed)
    stored = _stored_dtype(tuned.base.path) if dtype == "base" else torch.float32
    if stored != torch.float32:
        merged.to(stored)
        difference = _difference(expected, _logits(merged.to(torch.float32), ids))
        merged.to(stored)
    num_bytes = _write(merged, tuned, out_dir, force)
    return MergeReport(out_dir, tuned.base.name, str(stored).removeprefix("torch."), num_bytes, difference)


def _check_target(out_dir: Path, force: bool) -> None:
    if not os.path.lexists(out_dir):
        return
    if not force:
        raise CannotWriteError("export.exists", path=out_dir)
    replaceable = out_dir.is_dir() and not out_dir.is_symlink()
    if not replaceable or not ((out_dir / "config.json").is_file() or not any(out_dir.iterdir())):
        raise CannotWriteError("export.not_a_model", path=out_dir)


def _refuse_sources(out_dir: Path, sources: tuple[Path, ...]) -> None:
    target = out_dir.resolve()
    for source in sources:
        resolved = source.resolve()
        if target == resolved or target in resolved.parents:
            raise CannotWriteError("export.inside_source", path=out_dir)


@torch.no_grad()
def _logits(model: nn.Module, ids: list[int]) -> Tensor:
    output = model(input_ids=torch.tensor([ids]), use_cache=False)
    logits: Tensor = output.logits[0].float()
    return logits


def _difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


def _merge(tuned: Tuned) -> Any:
    model: Any = tuned.model
    return model.merge_and_unload(safe_merge=True)  # safe: refuses to merge what is not finite


def _stored_dtype(folder: Path) -> torch.dtype:
    """The type that the base's own weights are stored in."""
    config = read_json(folder / "config.json")
    dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _write(merged: Any, tuned: Tuned, out_dir: Path, force: bool) -> int:
    """Writes beside the target, then renames, so that a half-written model never stands under its name."""
    temporary = out_dir.with_name(f".{out_dir.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        _save(merged, tuned, temporary)
        num_bytes = sum(f.stat().st_size for f in temporary.iterdir())
        if force and out_dir.exists():
            shutil.rmtree(out_dir)
        os.replace(temporary, out_dir)
    except OSError as error:
        raise CannotWriteError("export.cannot_write", path=out_dir, reason=os_reason(error)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return num_bytes


def _save(merged: Any, tuned: Tuned, folder: Path) -> None:
    generation = merged.generation_config
    generation.eos_token_id = sorted(tuned.chat_format.stop_ids) or generation.eos_token_id
    generation.pad_token_id = tuned.base.tokenizer.pad_id
    tokenizer = tuned.base.tokenizer
    if tokenizer.chat_template != tuned.chat_format.template:  # a base without one: the form that training gave it
        tokenizer.inner.chat_template = tuned.chat_format.template
    with quiet_transformers():
        merged.save_pretrained(str(folder), max_shard_size="5GB")
        tokenizer.save(folder)
    for file in folder.iterdir():  # safetensors makes its files readable by their owner only
        file.chmod(stat.S_IMODE(folder.stat().st_mode) & 0o666)
