"""An adapter's folder from strangers, read and judged before anything of it is used: no torch, no PEFT.

    adapter_config.json        JSON of known entries only; what could run code, reach the network or rewrite the base is
                               refused. `base_model_name_or_path` is never used: the caller has the base.
    adapter_model.safetensors  read once, whole; header, names, shapes and dtypes against the config and the base's
                               layers, every number finite. What was judged is what is loaded: the bytes are handed on.

Any other file in the folder (.bin, .pt, .pkl ...) is never opened.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from postil.errors import DataError, MissingInputError

CONFIG_NAME, WEIGHTS_NAME = "adapter_config.json", "adapter_model.safetensors"
MAX_RANK = 1024
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1_000_000, 4_000_000_000
_MAX_HEADER_BYTES, _MAX_ENTRIES, _MAX_TEXT = 20_000_000, 1000, 4096
_CHUNK_ITEMS = 4_000_000

LayerShapes = Mapping[str, tuple[int, int]]
"""The base's layers that can carry an adapter: (outputs, inputs) of each, by full name."""

_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# Entries that say something about the adapter without changing what it computes here.
_SILENT = {"peft_type", "task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode"}
_SILENT |= {"init_lora_weights", "target_modules", "lora_dropout"}
_USED = {"r", "lora_alpha", "use_rslora", "use_dora", "bias", "fan_in_fan_out", "rank_pattern", "alpha_pattern"}
# Entries of PEFT whose neutral value is no empty one.
_NEUTRAL = {"megatron_core": "megatron.core", "qalora_group_size": 16}
_REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_PREFIX = "base_model.model."
_PARTS = re.compile(
    r"(?P<layer>.+)\.(?:(?P<part>lora_[AB])\.weight|(?P<embedding>lora_embedding_[AB])"
    r"|(?P<dora>lora_magnitude_vector)(?:\.weight)?|(?P<bias>bias))"
)


class _Refused(Exception):
    """A reason not to load: a key of the catalogs, and what its sentence names besides the folder."""

    def __init__(self, key: str, **values: Any):
        super().__init__(key)
        self.key, self.values = key, values


@dataclass(frozen=True, slots=True)
class CheckedAdapter:
    """An adapter that may be loaded.

    Args:
        rank: the largest of its layers.
        ranks: of each layer, by the base's full name.
        scales: what B A is multiplied with, by the same names.
        use_dora: weights are split into size and direction; such rows are answered by themselves.
        fan_in_fan_out: as PEFT spells it.
        biases: names of the base's bias entries that it brings along.
        content: the safetensors file, as it was judged.
    """

    directory: Path
    rank: int
    ranks: Mapping[str, int]
    scales: Mapping[str, float]
    use_rslora: bool
    use_dora: bool
    fan_in_fan_out: bool
    biases: tuple[str, ...]
    content: bytes = field(repr=False)


def read_adapter(
    directory: Path, layers: LayerShapes | None = None, *, max_bytes: int = MAX_WEIGHTS_BYTES
) -> CheckedAdapter:
    """Reads and judges an adapter's folder.

    Args:
        layers: of the base that it will be put on; None checks the folder against itself only.
        max_bytes: the largest file of weights that is read.

    Raises:
        MissingInputError: no folder, or one of its two files is not there.
        DataError: it must not be loaded, or does not fit the base; the sentence says why.
    """
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (directory / name).is_file():
            raise MissingInputError("adapter.no_file", path=directory, name=name)
    try:
        config = _read_config(directory / CONFIG_NAME)
        content = _read_whole(directory / WEIGHTS_NAME, max_bytes)
        header, start = _read_header(content)
        shapes = _check_header(header, len(content) - start)
        found = _check_tensors(config, shapes, layers)
        _check_finite(content, header, start)
    except _Refused as refusal:
        raise DataError(refusal.key, path=directory, **refusal.values) from None
    ranks, biases = found
    scales = {layer: _scale(config, layer, rank) for layer, rank in ranks.items()}
    return CheckedAdapter(
        directory=directory,
        rank=max(ranks.values()),
        ranks=ranks,
        scales=scales,
        use_rslora=config["use_rslora"],
        use_dora=config["use_dora"],
        fan_in_fan_out=config["fan_in_fan_out"],
        biases=biases,
        content=content,
    )


def _read_config(path: Path) -> dict[str, Any]:
    """The config with every entry that is used, defaults filled in."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise _Refused("adapter.too_large", name=CONFIG_NAME, limit=MAX_CONFIG_BYTES)
    try:
        found = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _Refused("adapter.bad_file", name=CONFIG_NAME, reason=str(error)[:200]) from None
    if not isinstance(found, dict):
        raise _Refused("adapter.bad_file", name=CONFIG_NAME, reason="not a JSON object")
    for name, value in found.items():
        _check_entry(name, value)
    defaults = {"r": 8, "lora_alpha": 8, "use_rslora": False, "use_dora": False, "bias": "none"}
    defaults |= {"fan_in_fan_out": False, "rank_pattern": {}, "alpha_pattern": {}}
    used = {name: default if found.get(name) is None else found[name] for name, default in defaults.items()}
    _check_used(found, used)
    return used


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"an entry is there twice: {next(n for n in names if names.count(n) > 1)}")
    return dict(pairs)


def _check_entry(name: str, value: Any) -> None:
    """Entries that nobody here knows, or that do more than thin matrices, must be empty."""
    if name in _SILENT | _USED:
        return
    if value in (None, False) or value == {} or value == [] or (name in _NEUTRAL and value == _NEUTRAL[name]):
        return
    raise _Refused("adapter.bad_entry", name=name[:80], value=json.dumps(value)[:120])


def _check_used(found: Mapping[str, Any], used: Mapping[str, Any]) -> None:
    base, start = found.get("base_model_name_or_path"), found.get("init_lora_weights", True)
    targets = found.get("target_modules")
    rules = [
        ("peft_type", found.get("peft_type") == "LORA"),
        ("task_type", found.get("task_type") in (None, "CAUSAL_LM")),
        ("base_model_name_or_path", base is None or (isinstance(base, str) and "://" not in base)),
        ("r", _is_rank(used["r"])),
        ("lora_alpha", _is_scale(used["lora_alpha"])),
        ("bias", used["bias"] in ("none", "all", "lora_only")),
        ("init_lora_weights", isinstance(start, bool) or (isinstance(start, str) and _keeps_base(start))),
        ("target_modules", targets is None or _are_names(targets)),
        ("rank_pattern", _is_pattern(used["rank_pattern"], _is_rank)),
        ("alpha_pattern", _is_pattern(used["alpha_pattern"], _is_scale)),
        *((name, isinstance(used[name], bool)) for name in ("use_rslora", "use_dora", "fan_in_fan_out")),
    ]
    for name, fits in rules:
        if not fits:
            raise _Refused("adapter.bad_entry", name=name, value=json.dumps(found.get(name))[:120])


def _is_pattern(pattern: Any, fits: Callable[[Any], bool]) -> bool:
    """PEFT reads the keys as regular expressions; plain names mean the same and cannot run for ever."""
    if not isinstance(pattern, dict) or len(pattern) > _MAX_ENTRIES:
        return False
    return all(_PLAIN_NAME.fullmatch(name) and fits(value) for name, value in pattern.items())


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_RANK


def _is_scale(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 < abs(value) <= 1e6


def _keeps_base(start: str) -> bool:
    return not start.lower().startswith(_REWRITING) and len(start) <= 80


def _are_names(targets: Any) -> bool:
    """Names, or an expression; which layers there are is read from the tensors, so it is never run."""
    if isinstance(targets, str):
        return len(targets) <= _MAX_TEXT
    names = isinstance(targets, list) and 0 < len(targets) <= _MAX_ENTRIES
    return names and all(isinstance(t, str) and len(t) <= 300 for t in targets)


def _read_whole(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _Refused("adapter.too_large", name=WEIGHTS_NAME, limit=max_bytes)
    return content


def _read_header(content: bytes) -> tuple[dict[str, Any], int]:
    """The tensors' entries, and where their bytes begin."""
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(_MAX_HEADER_BYTES, len(content) - 8):
        raise _Refused("adapter.bad_file", name=WEIGHTS_NAME, reason="cut off, or not a safetensors file")
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _Refused("adapter.bad_file", name=WEIGHTS_NAME, reason=str(error)[:200]) from None
    if not isinstance(header, dict):
        raise _Refused("adapter.bad_file", name=WEIGHTS_NAME, reason="not a safetensors file")
    header.pop("__metadata__", None)
    return header, 8 + length


def _check_header(header: Mapping[str, Any], num_bytes: int) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape; their bytes must follow each other without a gap and fill the file."""
    if not header:
        raise _Refused("adapter.bad_file", name=WEIGHTS_NAME, reason="no tensors")
    shapes, ranges = {}, []
    for name, entry in header.items():
        try:
            dtype, shape, (low, high) = entry["dtype"], entry["shape"], entry["data_offsets"]
            numbers = [low, high, *shape]
        except (TypeError, KeyError, ValueError):
            raise _Refused("adapter.bad_tensor", name=name[:200]) from None
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers) or len(shape) > 4:
            raise _Refused("adapter.bad_tensor", name=name[:200])
        if dtype not in _ITEM_BYTES:
            raise _Refused("adapter.bad_dtype", name=name[:200], dtype=str(dtype)[:40])
        if high - low != math.prod(shape) * _ITEM_BYTES[dtype] or high == low:
            raise _Refused("adapter.bad_tensor", name=name[:200])
        shapes[name] = tuple(shape)
        ranges.append((low, high))
    ends = [0, *(high for _, high in sorted(ranges))]
    if [low for low, _ in sorted(ranges)] != ends[:-1] or ends[-1] != num_bytes:
        raise _Refused("adapter.bad_file", name=WEIGHTS_NAME, reason="tensors overlap, leave gaps or are cut off")
    return shapes


def _check_tensors(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], layers: LayerShapes | None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The rank of each layer, and the biases; A is (rank, inputs), B is (outputs, rank)."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    biases = []
    for name, shape in shapes.items():
        found = _PARTS.fullmatch(name.removeprefix(_PREFIX)) if name.startswith(_PREFIX) else None
        if found is None:
            raise _Refused("adapter.bad_tensor", name=name[:200])
        if found["bias"] and config["bias"] != "none":
            biases.append(name.removeprefix(_PREFIX))
            continue
        part = found["part"] or (found["embedding"] and found["embedding"].replace("embedding_", ""))
        if found["dora"] and config["use_dora"]:
            part = "dora"
        if not part:
            raise _Refused("adapter.bad_tensor", name=name[:200])
        if found["embedding"]:  # stored the other way round than linear layers: A (rank, rows), B (size, rank)
            part = f"embedding_{part}"
        parts.setdefault(found["layer"], {})[part] = shape
    if not parts:
        raise _Refused("adapter.bad_file", name=WEIGHTS_NAME, reason="no lora_A and lora_B")
    return {layer: _check_layer(config, layer, found, layers) for layer, found in parts.items()}, tuple(sorted(biases))


def _check_layer(
    config: Mapping[str, Any], layer: str, parts: Mapping[str, tuple[int, ...]], layers: LayerShapes | None
) -> int:
    is_embedding = "embedding_lora_A" in parts or "embedding_lora_B" in parts
    a, b = (parts.get(f"{'embedding_' if is_embedding else ''}{name}") for name in ("lora_A", "lora_B"))
    expected = {"lora_A", "lora_B"} | ({"dora"} if config["use_dora"] else set())
    if {name.removeprefix("embedding_") for name in parts} != expected or a is None or b is None:
        raise _Refused(
            "adapter.bad_parts", layer=layer[:200], found=", ".join(sorted(parts)), expected=", ".join(sorted(expected))
        )
    rank = _find_pattern(config["rank_pattern"], layer) or config["r"]
    if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
        raise _Refused("adapter.other_rank", layer=layer[:200], found=f"{list(a)}, {list(b)}", rank=rank)
    if "dora" in parts and math.prod(parts["dora"]) != b[0]:
        raise _Refused("adapter.bad_tensor", name=f"{layer[:200]}.lora_magnitude_vector")
    if layers is not None:
        if layer not in layers:
            raise _Refused("adapter.no_such_layer", layer=layer[:200])
        outputs, inputs = layers[layer]
        if (b[0], a[1]) != (outputs, inputs):
            raise _Refused(
                "adapter.other_base_shape", layer=layer[:200], found=f"{a[1]} → {b[0]}", base=f"{inputs} → {outputs}"
            )
    return int(rank)


def _find_pattern(patterns: Mapping[str, Any], layer: str) -> Any:
    """PEFT's rule for plain names: the first key that is the end of the layer's name."""
    return next((v for key, v in patterns.items() if layer == key or layer.endswith(f".{key}")), None)


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    alpha = _find_pattern(config["alpha_pattern"], layer) or config["lora_alpha"]
    return float(alpha / math.sqrt(rank) if config["use_rslora"] else alpha / rank)


def _check_finite(content: bytes, header: Mapping[str, Any], start: int) -> None:
    for name, entry in header.items():
        low, high = entry["data_offsets"]
        view = memoryview(content)[start + low : start + high]
        if not all(map(_all_finite, _chunks(entry["dtype"], view))):
            raise _Refused("adapter.not_finite", name=name[:200])


def _chunks(dtype: str, view: memoryview) -> Iterator[np.ndarray[Any, Any]]:
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
    items = np.frombuffer(view, dtype=kinds[dtype])
    for at in range(0, len(items), _CHUNK_ITEMS):
        yield items[at : at + _CHUNK_ITEMS]


def _all_finite(items: np.ndarray[Any, Any]) -> bool:
    if items.dtype.kind == "u":  # bf16: infinite and NaN have every bit of the exponent
        return bool(((items & 0x7F80) != 0x7F80).all())
    return bool(np.isfinite(items).all())
