"""The adapter: two thin matrices beside each chosen linear layer, made, saved and loaded as PEFT does.

Base weights are never touched, whatever the variant, so that one base in memory answers with and without the adapter.
Adapter parameters are fp32 whatever the base's precision: Adam's updates are too small for bf16.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from postil.config import AdapterConfig
from postil.errors import CannotWriteError, DataError, MissingInputError, UsageError
from postil.models.adapter_start import START, START_METHODS, merge_start, set_start
from postil.operating_system import os_reason

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
ADAPTER = "default"
_TARGETABLE = (nn.Linear, nn.Embedding, Conv1D)

# Trained biases live in the base itself; the originals are kept here so that the base can be shown without them.
_original_biases: "WeakKeyDictionary[nn.Module, list[tuple[nn.Parameter, Tensor]]]" = WeakKeyDictionary()


def add_adapter(base_model: PreTrainedModel, config: AdapterConfig, seed: int) -> PeftModel:
    """Puts a new adapter beside the base's layers.

    Args:
        base_model: frozen; its weights stay as they are.
        config: shape and variant.
        seed: decides the random matrices, alike on every device.

    Raises:
        UsageError: unknown target modules, a rank larger than a layer, or settings that exclude each other.
    """
    targets = _target_layers(base_model, config.target_modules)
    _refuse_impossible(base_model, config, targets)
    biases = _copy_biases(base_model, config.bias)
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(base_model, _lora_config(config, sorted({n.rpartition(".")[2] for n in targets})))
        if config.init in START_METHODS:
            set_start(model, config.init)
    if biases:
        _original_biases[model] = biases
    model.eval()
    return model


def _lora_config(config: AdapterConfig, linear_names: list[str]) -> LoraConfig:
    """PEFT's settings.

    Args:
        linear_names: what "all-linear" stands for; short names, so that the saved file says it as people do.
    """
    named = config.init in ("gaussian", "orthogonal")
    targets = config.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=config.used_rank,
        lora_alpha=int(config.alpha) if float(config.alpha).is_integer() else config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.used_dropout,
        target_modules=linear_names if isinstance(targets, str) else list(targets),
        bias=config.bias,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        init_lora_weights=config.init if named else True,  # type: ignore[arg-type]
    )


def _target_layers(base_model: PreTrainedModel, targets: tuple[str, ...] | str) -> dict[str, nn.Module]:
    """The layers that get an adapter, by full name."""
    layers = {name: m for name, m in base_model.named_modules() if isinstance(m, _TARGETABLE)}
    if isinstance(targets, str):
        head = base_model.get_output_embeddings()
        decoder = set(base_model.get_decoder().modules())  # not what sees pictures, which text never reaches
        linear = {n: m for n, m in layers.items() if m is not head and not isinstance(m, nn.Embedding)}
        return {n: m for n, m in linear.items() if m in decoder}
    chosen = {t: {n: m for n, m in layers.items() if n == t or n.endswith(f".{t}")} for t in targets}
    unknown = [t for t, found in chosen.items() if not found]
    if unknown or not targets:
        existing = sorted({name.rpartition(".")[2] for name in layers})
        raise UsageError("adapter.unknown_targets", names=", ".join(unknown) or "-", existing=", ".join(existing))
    return {n: m for found in chosen.values() for n, m in found.items()}


def _refuse_impossible(base_model: PreTrainedModel, config: AdapterConfig, targets: dict[str, nn.Module]) -> None:
    name, side = min(((n, _shorter_side(m)) for n, m in targets.items()), key=lambda pair: pair[1])
    quantized = [n for n, m in targets.items() if not _weight(m).is_floating_point()]
    if config.used_rank > side:
        raise UsageError("adapter.rank_too_large", rank=config.used_rank, module=name, side=side)
    start = f"init={config.init}" if config.init in START_METHODS else None
    dtype = str(base_model.dtype).removeprefix("torch.")
    pairs = [
        (start, "use_dora=true", config.use_dora),
        (start, f"bias={config.bias}", config.bias != "none"),
        (start, "target_modules=embed_tokens", any(isinstance(m, nn.Embedding) for m in targets.values())),
        (start, "4/8-bit", bool(quantized)),
        (f"bias={config.bias}", f"dtype={dtype}", config.bias != "none" and base_model.dtype != torch.float32),
        ("init=orthogonal", f"rank={config.used_rank}", config.init == "orthogonal" and config.used_rank % 2 == 1),
    ]
    for first, second, clash in pairs:
        if first and clash:
            raise UsageError("adapter.cannot_combine", first=first, second=second)


def _shorter_side(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):  # whose weights, packed into 4 bits, do not show their sides
        return min(module.in_features, module.out_features)
    return min(_weight(module).shape)


def _weight(module: nn.Module) -> Tensor:
    return module.weight  # type: ignore[return-value]


def _copy_biases(base_model: nn.Module, bias: str) -> list[tuple[nn.Parameter, Tensor]]:
    if bias == "none":
        return []
    return [(p, p.detach().clone()) for n, p in base_model.named_parameters() if n.endswith("bias")]


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What training changes, by name, sorted by name."""
    return {name: p for name, p in sorted(model.named_parameters()) if p.requires_grad}


def adapter_rank(model: nn.Module) -> int | None:
    """The trained adapter's rank; None without one."""
    config = model.peft_config.get(ADAPTER) if isinstance(model, PeftModel) else None
    return int(config.r) if isinstance(config, LoraConfig) else None


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Every tensor that makes up the adapter: what is trained, and the fixed start of PiSSA and OLoRA."""
    return {n: p.detach() for n, p in sorted(model.named_parameters()) if p.requires_grad or f".{START}." in n}


@torch.no_grad()
def load_adapter_state(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Puts back what `adapter_state` gave, bit for bit.

    Raises:
        DataError: other names or shapes than this model's adapter has.
    """
    own = adapter_state(model)
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in tensors.items()}:
        raise DataError("adapter.other_shape")
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def save_adapter_weights(model: PeftModel, directory: Path, base: str, revision: str | None = None) -> None:
    """Writes `adapter_config.json` and `adapter_model.safetensors`, which plain PEFT loads on the unchanged base.

    PiSSA and OLoRA are written as plain LoRA of twice the rank, trained minus initial, which is the same function.

    Args:
        directory: made where missing; files of these names in it are replaced.
        base: what PEFT should load as the base model: a hub id or a folder.
        revision: the hub revision of the base.

    Raises:
        CannotWriteError: the folder cannot be written.
    """
    config = cast(LoraConfig, deepcopy(model.peft_config[ADAPTER]))
    with _quiet():
        # No embedding layers: PEFT would ask the hub whether they changed, and an adapter never changes them.
        tensors = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    if START in model.peft_config:
        tensors = merge_start(model, config, tensors)
    config.base_model_name_or_path, config.revision, config.inference_mode = base, revision, True
    settings = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    files = {
        WEIGHTS_FILE: save_tensors({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, {"format": "pt"}),
        CONFIG_FILE: (json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode(),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            beside = directory / f".{name}.writing"
            beside.write_bytes(content)
            os.replace(beside, directory / name)
    except OSError as error:
        raise CannotWriteError("adapter.cannot_write", path=directory, reason=os_reason(error)) from error


def load_adapter(base_model: PreTrainedModel, directory: Path) -> PeftModel:
    """Puts a saved adapter beside the base, frozen, for answering.

    Raises:
        MissingInputError: the folder or one of its two files is not there.
        DataError: not a LoRA adapter, one that rewrites the base, or one for a base of another shape.
    """
    config, shapes = _read_adapter(directory)
    biases = _copy_biases(base_model, config.bias)
    try:
        with _quiet():
            model = PeftModel.from_pretrained(base_model, str(directory), is_trainable=False, local_files_only=True)
            own = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    except (ValueError, RuntimeError, KeyError) as error:
        raise DataError("adapter.does_not_fit", path=directory, reason=_first_line(error)) from error
    wrong = sorted(set(own) ^ set(shapes))
    if wrong:
        raise DataError("adapter.does_not_fit", path=directory, reason=wrong[0])
    if biases:
        _original_biases[model] = biases
    model.requires_grad_(False)
    return model.eval()


def _read_adapter(directory: Path) -> tuple[LoraConfig, dict[str, list[int]]]:
    """The adapter's settings and the shapes of its tensors."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise MissingInputError("adapter.no_file", path=directory, name=name)
    try:
        with _quiet():
            config = PeftConfig.from_pretrained(str(directory))
        with safe_open(directory / WEIGHTS_FILE, "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise DataError("adapter.damaged", path=directory, reason=_first_line(error)) from error
    if not isinstance(config, LoraConfig):
        raise DataError("adapter.not_lora", path=directory, kind=str(config.peft_type))
    start = str(config.init_lora_weights).lower()
    if start.startswith(("pissa", "olora", "corda", "loftq", "lora_ga")):
        raise DataError("adapter.rewrites_base", path=directory, start=start)
    return config, shapes


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def adapter_disabled(model: nn.Module) -> Iterator[None]:
    """Within it the model answers as the bare base, trained biases included; a bare base stays as it is."""
    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    # PEFT's switch also changes which parameters learn; this is only a look.
    learning = [(p, p.requires_grad) for p in model.parameters()]
    biases = [(p, p.data, original) for p, original in _original_biases.get(model, [])]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        for parameter, _, original in biases:
            parameter.data = original
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, trained, _ in biases:
            parameter.data = trained
        for parameter, learns in learning:
            parameter.requires_grad_(learns)


def has_dropout(model: nn.Module) -> bool:
    """True when the adapter drops some of its inputs at random while it is trained."""
    return bool(_dropping_layers(model))


def _dropping_layers(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Adapted layers, each with its dropout."""
    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer) and ADAPTER in getattr(m, "lora_dropout", {})]
    pairs = [(layer, cast(nn.Module, layer.lora_dropout[ADAPTER])) for layer in layers]  # type: ignore[index]
    return [(layer, dropout) for layer, dropout in pairs if isinstance(dropout, nn.Dropout) and dropout.p > 0]


@contextmanager
def adapter_dropout(model: nn.Module) -> Iterator[None]:
    """Within it the adapter's dropout works; a base in eval mode stays in it, so the base is the one that answers."""
    switched = [module for pair in _dropping_layers(model) for module in pair]  # DoRA asks the layer itself
    for module in switched:
        module.training = True
    try:
        yield
    finally:
        for module in switched:
            module.training = False


@contextmanager
def _quiet() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
