"""What is known of a base before it is loaded, out of its folder or its shape; no torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from postil.models.base_folder import inspect_base_folder
from postil.models.catalog import PLANNED_CONTEXT_TOKENS, PLANNED_RANK, PLANNED_TOKENS_PER_PACK
from postil.models.memory import ModelShape, bytes_to_answer, bytes_to_train, shape_from_config
from postil.platform.bases.this_machine import MachineMemory


def folder_facts(path: Path) -> dict[str, Any]:
    """Family, size and shape of a base's folder, in JSON's types.

    Raises:
        MissingInputError, UsageError, DataError, UnavailableError: it cannot or must not be used as a base.
    """
    folder = inspect_base_folder(path)
    shape = shape_from_config(folder.config)
    return {
        "family": folder.family,
        "num_parameters": folder.num_parameters,
        "stored_bytes": folder.stored_bytes,
        "shape": None if shape is None else asdict(shape),
        "context_tokens": shape.context_tokens if shape else 0,
    }


def needed_bytes(shape: ModelShape | None, memory: MachineMemory) -> tuple[int, int]:
    """Memory to train an adapter as usual, and to answer; 0 where the shape is not known."""
    if shape is None:
        return 0, 0
    to_train = bytes_to_train(shape, PLANNED_RANK, PLANNED_TOKENS_PER_PACK, memory.dtype_bytes)
    context = min(PLANNED_CONTEXT_TOKENS, shape.context_tokens)
    return to_train, bytes_to_answer(shape, context, memory.dtype_bytes)


def fits(to_train: int, to_answer: int, memory: MachineMemory) -> Literal["train", "answer", "no", "unknown"]:
    """What the machine's memory suffices for."""
    if not to_train:
        return "unknown"
    return "train" if to_train <= memory.num_bytes else "answer" if to_answer <= memory.num_bytes else "no"
