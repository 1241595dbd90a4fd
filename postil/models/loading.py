"""From a name to a base model in memory, with its tokenizer and its chat form."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from postil.config import ModelConfig
from postil.data.chat_template import ChatFormat
from postil.errors import DataError, MissingInputError, UnavailableError
from postil.models.base_folder import STARTER, BaseFolder, fingerprint_base, inspect_base_folder
from postil.models.catalog import best_base_for, find_entry, nearest_name
from postil.models.devices import DeviceChoice, DeviceFacts, choose_device, probe_devices
from postil.models.hub import fetch_model
from postil.models.memory import (
    available_memory_bytes,
    bytes_to_answer,
    bytes_to_load,
    gigabytes,
    shape_from_config,
    weight_bytes,
)
from postil.models.quantized import check_quantization, keep_gradients, quantization_config
from postil.models.tokenizer import HFTokenizer, load_tokenizer, quiet_transformers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ANSWER_CONTEXT_TOKENS = 2048
"""Tokens of conversation that must fit beside the weights before a base is loaded at all."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Base:
    """A base model, frozen and ready: nothing in it asks for gradients.

    Args:
        model: in eval mode, on `device`.
        chat_format: how conversations become its tokens.
        name: as the user gave it.
        path: the folder it was read from.
        revision: the hub's commit where it is known, else what was asked for.
        device: "cpu", "cuda" or "mps".
        dtype: "fp32", "bf16" or "fp16".
        family: the architecture's name, such as "qwen3".
        quantization: how its linear layers are held: "none", "8bit" or "4bit".
        fingerprint: tells it from every other base; an adapter for another one is refused by it.
    """

    model: "PreTrainedModel"
    tokenizer: HFTokenizer
    chat_format: ChatFormat
    name: str
    path: Path
    revision: str | None
    device: str
    dtype: str
    family: str
    hidden_size: int
    num_parameters: int
    fingerprint: str
    quantization: str = "none"

    @property
    def max_length_tokens(self) -> int | None:
        """The longest text that the model was made for; None where its config does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)


def load_base(config: ModelConfig) -> Base:
    """Finds, checks and loads the base model that the settings name.

    Everything that can be refused is refused before the weights are read: see `find_base` and `inspect_base_folder`.

    Raises:
        MissingInputError: no such folder or model, or a part of it is missing.
        DataError: broken files, or weights that do not belong to the config.
        UnavailableError: the hub, device, dtype or memory is not to be had, or the model must not be loaded.
        TryAgainError: the download broke.
    """
    path, revision = find_base(config)
    folder = inspect_base_folder(path)
    _refuse_unknown_family(folder)
    facts = probe_devices()
    choice = choose_device(config.device, config.dtype, facts)
    check_quantization(config.quantization, choice)
    refuse_too_large(config.base, folder, choice, _free_bytes(choice, facts), config.quantization)
    tokenizer = load_tokenizer(path)
    chat_format = _chat_format(config.base, tokenizer)
    model = _load_weights(folder, choice, config.quantization)
    is_quantized = config.quantization != "none"
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    if tokenizer.num_tokens > rows:
        raise DataError("models.tokenizer_too_large", path=path, num_tokens=tokenizer.num_tokens, rows=rows)
    return Base(
        model=model,
        tokenizer=tokenizer,
        chat_format=chat_format,
        name=config.base,
        path=path,
        revision=revision,
        device=choice.device,
        dtype=choice.dtype,
        family=folder.family,
        hidden_size=int(model.config.get_text_config().hidden_size),
        # packed weights do not tell how many they are
        num_parameters=folder.num_parameters if is_quantized else sum(p.numel() for p in model.parameters()),
        quantization=config.quantization,
        fingerprint=fingerprint_base(folder),
    )


def load_chat_format(config: ModelConfig) -> ChatFormat:
    """The base's tokenizer and chat form without its weights: what preparing data needs.

    Raises:
        MissingInputError, DataError, UnavailableError, TryAgainError: as `load_base`.
    """
    path, _ = find_base(config)
    inspect_base_folder(path)
    return _chat_format(config.base, load_tokenizer(path))


def context_tokens(config: ModelConfig) -> int | None:
    """What `Base.max_length_tokens` will be, read without the weights.

    Raises:
        MissingInputError, DataError, UnavailableError, TryAgainError: as `load_base`.
    """
    from transformers import AutoConfig

    path, _ = find_base(config)
    folder = inspect_base_folder(path)
    _refuse_unknown_family(folder)
    with quiet_transformers():
        found: Any = AutoConfig.from_pretrained(str(path), trust_remote_code=False, local_files_only=True)
    limit: int | None = getattr(found.get_text_config(), "max_position_embeddings", None)
    return limit


def find_base(config: ModelConfig) -> tuple[Path, str | None]:
    """The folder of the base, downloaded where it is a hub id, and its revision.

    "starter" is the model inside the package; then an existing folder wins; then the names of the catalog
    ("Qwen3-0.6B") and anything shaped like "organisation/name" are looked up on the hub.

    Raises:
        MissingInputError: neither a folder nor shaped like a hub id, or the hub does not know it.
        UnavailableError, TryAgainError: see `fetch_model`.
    """
    if config.base.casefold() == "starter":
        return STARTER, None
    folder = Path(config.base).expanduser()
    if config.base and folder.is_dir():
        return folder, None
    entry = find_entry(config.base)
    if entry is not None:
        model_id = entry.modelscope_id if config.hub == "modelscope" else entry.id
    elif _HUB_ID.fullmatch(config.base) and not folder.exists():
        model_id = config.base
    else:
        raise MissingInputError("models.no_such_base", base=config.base, suggestion=nearest_name(config.base))
    path = fetch_model(model_id, config.revision, config.hub, config.offline)
    return path, path.name if _COMMIT.fullmatch(path.name) else config.revision


def refuse_too_large(
    name: str, folder: BaseFolder, choice: DeviceChoice, free_bytes: int, quantization: str = "none"
) -> None:
    """Refuses a base whose weights and one conversation do not fit into memory, before it is loaded.

    Args:
        name: the base as the user named it.
        free_bytes: what is to be had on the chosen device.
        quantization: of the linear layers; heeded where the shape is known.

    Raises:
        UnavailableError: says how much is needed, how much there is, and which base fits.
    """
    shape = shape_from_config(folder.config)
    needed = bytes_to_load(folder.num_parameters * choice.dtype_bytes)
    if shape is not None and quantization != "none":
        needed = bytes_to_load(weight_bytes(shape, choice.dtype_bytes, quantization))
    if shape is not None:
        context = min(ANSWER_CONTEXT_TOKENS, shape.context_tokens)
        needed = max(needed, bytes_to_answer(shape, context, choice.dtype_bytes, quantization))
    if needed > free_bytes:
        fitting = best_base_for(free_bytes, choice.dtype_bytes, choice.device)
        raise UnavailableError(
            "models.does_not_fit",
            base=name,
            dtype=choice.dtype,
            device=choice.device,
            needed=gigabytes(needed),
            available=gigabytes(free_bytes),
            fitting=fitting.id,
        )


def _free_bytes(choice: DeviceChoice, facts: DeviceFacts) -> int:
    return facts.cuda_free_bytes if choice.device == "cuda" else available_memory_bytes()


def _refuse_unknown_family(folder: BaseFolder) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if folder.family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnavailableError("models.unknown_architecture", path=folder.path, family=folder.family)


def _chat_format(name: str, tokenizer: HFTokenizer) -> ChatFormat:
    return ChatFormat.from_tokenizer(tokenizer, name=Path(name).name)


def _load_weights(folder: BaseFolder, choice: DeviceChoice, quantization: str) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    try:
        with quiet_transformers():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(folder.path),
                dtype=dtypes[choice.dtype],
                **_placed(quantization, choice, dtypes[choice.dtype]),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError("models.broken_weights", path=folder.path, reason=reason) from error
    model, info = loaded
    # a tensor that the files lack would be filled with noise, and only bad answers would tell
    if missing := sorted(info["missing_keys"]):
        raise DataError("models.missing_weights", path=folder.path, names=", ".join(missing[:3]), num=len(missing))
    model.requires_grad_(False)
    model.eval()
    if broken := [name for name, weight in model.named_parameters() if not _is_finite(weight)]:
        raise DataError("models.not_finite", path=folder.path, names=", ".join(broken[:3]), num=len(broken))
    if quantization != "none":
        keep_gradients(model)
        return cast("PreTrainedModel", model)
    return cast("PreTrainedModel", model.to(choice.device))


def _is_finite(weight: "torch.Tensor") -> bool:
    """False where a number is NaN or infinite: their sum is none either, and takes no memory."""
    import torch

    return not weight.is_floating_point() or bool(weight.sum(dtype=torch.float32).isfinite())


def _placed(quantization: str, choice: DeviceChoice, dtype: "torch.dtype") -> dict[str, Any]:
    """Quantized weights are made on the device where they stay."""
    if quantization == "none":
        return {}
    return {"quantization_config": quantization_config(quantization, dtype), "device_map": {"": choice.device}}
