"""`postil.json`: what an adapter's folder says about itself, and the README card beside it."""

import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from postil.errors import CannotWriteError, DataError, MissingInputError
from postil.operating_system import os_reason

MANIFEST_NAME = "postil.json"
CARD_NAME = "README.md"
FORMAT = 1
_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")
_HEADING = re.compile(r"^# .*$", re.MULTILINE)
_LIBRARIES = ("torch", "transformers", "peft", "safetensors", "tokenizers")


def installed_versions() -> dict[str, str]:
    """Versions of the libraries that decide an adapter's numbers."""
    return {name: _installed(name) for name in _LIBRARIES}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """Everything that is needed to answer with an adapter exactly as it was trained, and to tell where it comes from.

    Args:
        base: the base model as the user named it: "starter", a folder or a hub id.
        revision: the hub commit that was loaded; None for local bases.
        hub: "hf" or "modelscope".
        base_fingerprint: sha256 over the base's files; an adapter is refused on any other base.
        system: the system message that training put before conversations without one; None for none.
        chat_format: `ChatFormat.manifest()`: template, fixed date, generation prompt.
        stop_ids: tokens that end an answer.
        data_hash: sha256 of the conversations that trained it.
        config_hash: sha256 of the resolved settings.
        versions: installed versions of what computed it.
        metrics: final numbers, such as heldout_loss_tuned and verdict.
        postil_version: version of this package.
        format: of this file; readers refuse newer ones.
    """

    base: str
    revision: str | None
    hub: str
    base_fingerprint: str
    system: str | None
    chat_format: dict[str, Any]
    stop_ids: tuple[int, ...]
    data_hash: str
    config_hash: str
    versions: dict[str, str] = field(default_factory=installed_versions)
    metrics: dict[str, Any] = field(default_factory=dict)
    postil_version: str = field(default_factory=lambda: _installed("postil"))
    format: int = FORMAT


def write_manifest(manifest: AdapterManifest, adapter_dir: Path) -> Path:
    """Writes `postil.json`, whole or not at all.

    Raises:
        CannotWriteError: the folder is read-only or the disk is full.
    """
    text = json.dumps(asdict(manifest), ensure_ascii=False, indent=2) + "\n"
    return write_text_atomically(adapter_dir / MANIFEST_NAME, text)


def read_manifest(adapter_dir: Path) -> AdapterManifest:
    """Reads `postil.json`; entries that this version does not know are ignored.

    Raises:
        MissingInputError: no such folder, or no manifest in it.
        DataError: the manifest is damaged, or of a newer format.
    """
    path = adapter_dir / MANIFEST_NAME
    if not adapter_dir.is_dir():
        raise MissingInputError("manifest.no_folder", path=adapter_dir)
    if (adapter_dir / "adapter" / MANIFEST_NAME).is_file():
        raise MissingInputError("manifest.run_folder", path=adapter_dir, adapter=adapter_dir / "adapter")
    if not path.is_file():
        raise MissingInputError("manifest.no_adapter", path=adapter_dir, name=MANIFEST_NAME)
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["format"] > FORMAT:
            raise DataError("manifest.newer", path=path, found=values["format"], known=FORMAT)
        known = {f.name: values[f.name] for f in fields(AdapterManifest)}
        _check(known)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("manifest.damaged", path=path, reason=repr(error)) from None
    return AdapterManifest(**known | {"stop_ids": tuple(known["stop_ids"])})


def _check(values: dict[str, Any]) -> None:
    texts = ("base", "hub", "base_fingerprint", "data_hash", "config_hash", "postil_version")
    kinds: dict[str, Any] = dict.fromkeys(texts, str)
    kinds |= {"chat_format": dict, "versions": dict, "metrics": dict, "stop_ids": list}
    kinds |= {"system": str | None, "revision": str | None}
    for name, kind in kinds.items():
        if not isinstance(values[name], kind):
            raise TypeError(f"{name} is {type(values[name]).__name__}")
    if not all(isinstance(i, int) for i in values["stop_ids"]):
        raise TypeError("stop_ids are not numbers")


def write_card(manifest: AdapterManifest, adapter_dir: Path, *, title: str, settings: dict[str, Any]) -> Path:
    """Writes the README card: what the adapter is, how it was made, how to use it. In English, as model hubs expect.

    Args:
        title: heading of the card.
        settings: the settings worth naming, such as {"rank": 16, "epochs": 8}.

    Raises:
        CannotWriteError: the folder is read-only or the disk is full.
    """
    table = "\n".join(f"| {_cell(k)} | {_cell(v)} |" for k, v in (settings | manifest.metrics).items())
    base = json.dumps(manifest.base, ensure_ascii=False)
    revision = f" (revision `{manifest.revision}`)" if manifest.revision else ""
    versions = ", ".join(f"{name} {number}" for name, number in manifest.versions.items())
    text = f"""---
base_model: {base}
library_name: peft
tags: [lora, postil]
---
# {" ".join(title.split())}

A LoRA adapter for {_code(manifest.base)}{revision}, made with Postil {manifest.postil_version}.
It answers only on that base: fingerprint `{manifest.base_fingerprint}`.

| setting or result | value |
|---|---|
{table}

## Use

    postil chat PATH-OF-THIS-FOLDER
    postil merge PATH-OF-THIS-FOLDER -o merged

or `postil.load("PATH-OF-THIS-FOLDER").answer("...")` in Python, or plain PEFT (`PeftModel.from_pretrained`)
with the tokenizer and chat template in this folder.

## Where it comes from

Two adapters with the same two fingerprints were trained on the same conversations with the same settings.
Fingerprint (sha256) of the conversations: `{manifest.data_hash}`; of the settings: `{manifest.config_hash}`.
Trained with {versions}.
"""
    return write_text_atomically(adapter_dir / CARD_NAME, text)


def retitled(card: str, title: str) -> str:
    """A card under another heading; without one it stays as it is."""
    return _HEADING.sub(lambda _: f"# {' '.join(title.split())}", card, count=1)


def _cell(value: Any) -> str:
    if isinstance(value, tuple):  # an interval
        return " to ".join(map(_cell, value))
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def is_unfinished(name: str) -> bool:
    """True for the name of what a process that was killed in `write_text_atomically` leaves behind."""
    return _UNFINISHED.fullmatch(name) is not None


def write_text_atomically(path: Path, text: str) -> Path:
    """Writes UTF-8 text so that a reader sees the old file or the new one, never a part.

    Raises:
        CannotWriteError: the folder is missing or read-only, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CannotWriteError("manifest.cannot_write", path=path, reason=os_reason(error)) from None
    return path
