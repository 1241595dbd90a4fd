"""A base model's folder, read and checked before anything heavy is loaded: no torch, no transformers.

What is refused here is refused with a reason, before gigabytes are read: code inside the folder, pickled weights,
quantised weights, a cut-off or missing file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.errors import DataError, MissingInputError, UnavailableError, UsageError

STARTER = Path(__file__).parent / "starter"
"""The base inside the package."""
WHOLE_HASH_BYTES = 200_000_000
"""Weights up to this size are hashed whole for the fingerprint, larger ones by samples."""
_SAMPLES, _SAMPLE_BYTES = 64, 65_536
_MAX_HEADER_BYTES = 100_000_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf")
_GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True, slots=True)
class BaseFolder:
    """A folder that passed the checks.

    Args:
        path: the folder.
        config: its config.json.
        weights: its safetensors files, sorted by name.
        num_parameters: counted from the files' headers; shared weights count once, as they are stored once.
        stored_bytes: size of all tensors as stored.
    """

    path: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    num_parameters: int
    stored_bytes: int

    @property
    def family(self) -> str:
        """The architecture's name, such as "qwen3"."""
        return str(self.config["model_type"])


def inspect_base_folder(path: Path) -> BaseFolder:
    """Reads a base model's config and its weights' headers, and refuses what cannot or must not be loaded.

    Raises:
        MissingInputError: no config.json, no weights, or a missing shard.
        UsageError: the folder is an adapter.
        DataError: broken JSON, or weights that are cut off.
        UnavailableError: remote code, pickled or quantised weights, not a model that writes text.
    """
    if not (path / "config.json").is_file():
        if (path / "adapter_config.json").is_file():
            raise UsageError("models.is_adapter", path=path)
        raise MissingInputError("models.not_a_base_folder", path=path)
    config = read_json(path / "config.json")
    _refuse_remote_code(path, config)
    _refuse_unusable(path, config)
    weights = _find_weights(path)
    headers = [_read_header(file) for file in weights]
    tensors = [entry for header in headers for name, entry in header.items() if name != "__metadata__"]
    return BaseFolder(
        path=path,
        config=config,
        weights=weights,
        num_parameters=sum(_num_elements(entry["shape"]) for entry in tensors),
        stored_bytes=sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in tensors),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        DataError: not JSON, or not an object.
    """
    try:
        values = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("models.broken_json", path=path, reason=error) from None
    if not isinstance(values, dict):
        raise DataError("models.broken_json", path=path, reason="not an object")
    return values


def fingerprint_base(folder: BaseFolder) -> str:
    """sha256 that tells one base from another, whatever the folder is called.

    Over config.json without what says nothing about the numbers, and over the weights: whole up to 200 MB, above that
    their sizes, headers and 64 samples of each file, so that a fine-tune of the same shape still differs.
    """
    digest = hashlib.sha256()
    ignored = {"transformers_version", "_name_or_path", "use_cache"}
    digest.update(json.dumps({k: v for k, v in folder.config.items() if k not in ignored}, sort_keys=True).encode())
    whole = sum(file.stat().st_size for file in folder.weights) <= WHOLE_HASH_BYTES
    for file in folder.weights:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            if whole:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
                continue
            for sample in range(_SAMPLES):
                stream.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _refuse_remote_code(path: Path, config: Mapping[str, Any]) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        values = config if name == "config.json" else read_json(path / name) if (path / name).is_file() else {}
        if values.get("auto_map"):
            raise UnavailableError("models.remote_code", path=path / name)


def _refuse_unusable(path: Path, config: Mapping[str, Any]) -> None:
    if not isinstance(config.get("model_type"), str):
        raise DataError("models.broken_json", path=path / "config.json", reason="no model_type")
    quantization = config.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise UnavailableError("models.quantised", path=path, method=method or "unknown")
    architectures = config.get("architectures") or []
    if architectures and not any(str(name).endswith(_GENERATIVE) for name in architectures):
        raise UnavailableError("models.not_generative", path=path, architecture=", ".join(map(str, architectures)))


def _find_weights(path: Path) -> tuple[Path, ...]:
    """transformers' own order: one file, else the shards that the index names."""
    if (path / "model.safetensors").is_file():
        return (path / "model.safetensors",)
    index = path / "model.safetensors.index.json"
    if index.is_file():
        return _find_shards(path, index)
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise UnavailableError("models.pickle_weights", path=path, names=", ".join(pickles[:3]))
    raise MissingInputError("models.no_weights", path=path)


def _find_shards(path: Path, index: Path) -> tuple[Path, ...]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise DataError("models.broken_json", path=index, reason="no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    if any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise DataError("models.broken_json", path=index, reason="a shard's name is not a safetensors file beside it")
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise MissingInputError(
            "models.missing_shard", path=path, names=", ".join(missing[:3]), num_missing=len(missing), num=len(names)
        )
    return tuple(path / name for name in names)


def _read_header(file: Path) -> dict[str, Any]:
    """The safetensors header: 8 bytes of length, then JSON, then the tensors' bytes, which must all be there."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise DataError("models.broken_weights", path=file, reason="its header is cut off or not a safetensors one")
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise DataError("models.broken_weights", path=file, reason="its header is not a safetensors one") from None
    if size != 8 + length + end:
        reason = f"{size} bytes where its header says {8 + length + end}"
        raise DataError("models.broken_weights", path=file, reason=reason)
    return header


def _num_elements(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
