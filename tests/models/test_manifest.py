"""`postil.json` and the card: what goes in comes out, and damage is named."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from postil.errors import CannotWriteError, DataError, MissingInputError
from postil.models.manifest import AdapterManifest, read_manifest, retitled, write_card, write_manifest

MANIFEST = AdapterManifest(
    base="Qwen/Qwen3-0.6B",
    revision="abc123",
    hub="hf",
    base_fingerprint="f" * 64,
    system="你是客服。",
    chat_format={"template": "{{ messages }}", "today": "2026-01-01"},
    stop_ids=(2, 7),
    data_hash="d" * 64,
    config_hash="c" * 64,
    metrics={"heldout_loss_tuned": 1.23456, "verdict": "better"},
)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    path = write_manifest(MANIFEST, tmp_path)
    assert read_manifest(tmp_path) == MANIFEST
    assert "你是客服" in path.read_text("utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["postil.json"]
    assert MANIFEST.versions["torch"] and MANIFEST.versions["peft"]
    write_manifest(replace(MANIFEST, revision=None, system=None), tmp_path)
    assert read_manifest(tmp_path).system is None


def test_entries_of_a_later_version_are_ignored_and_later_formats_refused(tmp_path: Path) -> None:
    values = asdict(MANIFEST) | {"something_new": 1}
    (tmp_path / "postil.json").write_text(json.dumps(values))
    assert read_manifest(tmp_path) == MANIFEST
    (tmp_path / "postil.json").write_text(json.dumps(values | {"format": 2}))
    with pytest.raises(DataError, match="newer"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", "{}", "\udcff", *(json.dumps(asdict(MANIFEST) | wrong) for wrong in (
        {"base": 3}, {"stop_ids": ["2"]}, {"stop_ids": None}, {"chat_format": []}, {"format": "1"}, {"system": 1},
    ))],
)  # fmt: skip
def test_damage_is_one_plain_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "postil.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"postil\.json"):
        read_manifest(tmp_path)


def test_no_folder_no_manifest(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MissingInputError, match=r"no folder|no adapter"):
            read_manifest(folder)


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError):
        write_manifest(MANIFEST, tmp_path / "nowhere")


def test_the_card_names_base_results_and_use(tmp_path: Path) -> None:
    settings = {"rank": 16, "target_modules": "a|b\nc"}
    card = write_card(MANIFEST, tmp_path, title="Shop\nanswers", settings=settings).read_text("utf-8")
    assert card.startswith('---\nbase_model: "Qwen/Qwen3-0.6B"\n')
    assert "\n# Shop answers\n" in card
    assert "| heldout_loss_tuned | 1.235 |" in card and "| rank | 16 |" in card
    assert "a\\|b c" in card and "postil chat" in card and "f" * 64 in card
    assert "Fingerprint (sha256) of the conversations: `" in card
    assert retitled(card, "My\n shop \\1") == card.replace("# Shop answers", "# My shop \\1")
    assert retitled("no heading\n## a part\n", "x") == "no heading\n## a part\n"
