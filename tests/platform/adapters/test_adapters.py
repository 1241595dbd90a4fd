"""The library of adapters: published whole or not at all, seen by whom it is for, gone when deleted."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from postil.errors import ConflictError, DataError, MissingInputError, UsageError
from postil.models.manifest import AdapterManifest, write_card, write_manifest
from postil.platform.adapters import adapters, servable
from postil.platform.adapters import aliases as adapter_aliases
from postil.platform.adapters import downloads as adapter_downloads
from postil.platform.adapters import names as adapter_names
from postil.platform.adapters import sharing as adapter_sharing
from postil.platform.adapters.checks import check_adapter_folder
from postil.platform.service import Service
from postil.platform.store.storage import LocalStorage, Stored
from postil.platform.store.tables import Account, Job
from tests.platform.conftest import Clock
from tests.platform.rows import add_account, new_job


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a run leaves behind, with two small matrices."""
    path = tmp_path / "adapter"
    path.mkdir()
    write_adapter(path)
    return path


def write_adapter(path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    tensors = {name.format("A"): np.ones((4, 8), np.float32), name.format("B"): np.zeros((8, 4), np.float32)}
    save_file(tensors, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (path / "tokenizer.json").write_text("{}")
    manifest = AdapterManifest("starter", None, "hf", "f" * 64, None, {}, (1,), "0" * 64, "1" * 64)
    manifest = replace(manifest, metrics={"verdict": "better", "steps": 12})
    write_manifest(manifest, path)
    write_card(manifest, path, title="shop", settings={"rank": 4})


def publish(service: Service, account_id: str, folder: Path, **entries: object) -> str:
    with service.database.writing() as session:
        job = new_job(service, account_id, **{"state": "succeeded", **entries})
        session.add(job)
        session.flush()
        return adapters.publish(session, service, job, folder)


def test_an_adapter_is_published_with_what_it_comes_from(service: Service, folder: Path) -> None:
    mei = add_account(service)
    adapter_id = publish(
        service, mei, folder, name="客服 2026", spec={"preset": "quick", "settings": {"adapter.rank": 4}}
    )
    view = adapters.get_adapter(service, mei, adapter_id)
    assert (view.name, view.verdict, view.base, view.is_own, view.owner) == (
        "客服 2026",
        "better",
        "starter",
        True,
        "mei",
    )
    assert view.num_bytes == sum(p.stat().st_size for p in folder.iterdir())
    assert view.lineage["settings"] == {"adapter.rank": 4} and view.lineage["data_hash"] == "0" * 64
    assert view.model_name == f"ft:starter:mei:客服-2026:{adapter_id[3:11]}"
    with adapters.adapter_folder(service, mei, adapter_id) as path:
        assert (path / "postil.json").read_bytes() == (folder / "postil.json").read_bytes()


def test_publishing_twice_makes_one(service: Service, folder: Path) -> None:
    mei = add_account(service)
    job = new_job(service, mei)
    with service.database.writing() as session:
        session.add(job)
        session.flush()
        first = adapters.publish(session, service, job, folder)
    (folder / "README.md").write_text("changed afterwards")
    with service.database.writing() as session:
        assert adapters.publish(session, service, session.get_one(Job, job.id), folder) == first
    (only,) = adapters.list_adapters(service, mei)
    assert only.id == first
    with adapters.adapter_folder(service, mei, first) as path:
        assert (path / "README.md").read_text() != "changed afterwards"


def test_a_crash_before_the_end_leaves_nothing_to_see(service: Service, folder: Path) -> None:
    mei = add_account(service)
    job = new_job(service, mei)
    with pytest.raises(RuntimeError, match="power"), service.database.writing() as session:
        session.add(job)
        session.flush()
        adapters.publish(session, service, job, folder)
        raise RuntimeError("power cut")
    assert adapters.list_adapters(service, mei) == ()
    key = adapters.storage_key(adapters.adapter_id_of(job.id))
    assert service.storage.exists(key), "the folder waits for the next try"
    assert adapters.sweep(service, [key]) > 0
    assert not service.storage.exists(key)


def test_a_full_disk_publishes_nothing(service: Service, folder: Path) -> None:
    class Full(LocalStorage):
        def write_folder(self, key: str, folder: Path) -> Stored:
            raise OSError(28, "No space left on device")

    mei = add_account(service)
    full = replace(service, storage=Full(service.settings.data_dir / "storage"))
    with pytest.raises(OSError, match="No space"):
        publish(full, mei, folder)
    assert adapters.list_adapters(service, mei) == ()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "postil.json"])
@pytest.mark.parametrize("change", ["missing", "cut", "noise"])
def test_a_broken_folder_is_refused(folder: Path, name: str, change: str) -> None:
    path = folder / name
    if change == "missing":
        path.unlink()
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes(b"\x00\xff" * 40)
    with pytest.raises((DataError, MissingInputError)) as caught:
        check_adapter_folder(folder)
    assert name in str(caught.value)


def test_what_is_refused_leaves_nothing(service: Service, folder: Path) -> None:
    mei = add_account(service)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(MissingInputError):
        publish(service, mei, folder)
    assert adapters.list_adapters(service, mei) == ()
    assert service.storage.num_bytes("adapters") == 0


def test_weights_that_are_no_numbers_are_refused(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    tensors = load(weights.read_bytes())
    save_file({name: np.full_like(t, np.nan) for name, t in tensors.items()}, weights)
    with pytest.raises(DataError, match="damaged"):
        check_adapter_folder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "evil.pkl", "run.py", "lib.so"])
def test_what_could_run_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"cposix\nsystem\n(S'touch marker'\ntR.")
    with pytest.raises(DataError, match=name):
        check_adapter_folder(folder)


def test_links_and_code_in_the_settings_are_refused(folder: Path) -> None:
    (folder / "extra.json").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"extra\.json"):
        check_adapter_folder(folder)
    (folder / "extra.json").unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "auto_map": {"A": "x.py"}}))
    with pytest.raises(DataError, match="damaged"):
        check_adapter_folder(folder)


def test_names_are_made_different_and_can_be_changed(service: Service, folder: Path) -> None:
    mei = add_account(service)
    first, second = publish(service, mei, folder), publish(service, mei, folder)
    assert [adapters.get_adapter(service, mei, i).name for i in (first, second)] == ["shop", "shop 2"]
    with pytest.raises(ConflictError, match='"shop" is in use'):
        adapters.rename_adapter(service, mei, second, " shop ")
    assert adapters.rename_adapter(service, mei, second, "shop 2").name == "shop 2", "its own name is free for it"
    renamed = adapters.rename_adapter(service, mei, second, "  Café 客服 ")
    assert renamed.name == "Café 客服"
    lei = add_account(service, "lei")
    assert adapters.get_adapter(service, lei, publish(service, lei, folder)).name == "shop", (
        "names are each account's own"
    )


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\x1b[31mb", "x" * 121, "ft:starter:me::abcdefgh", "\u2028"])
def test_names_that_are_not_taken(name: str) -> None:
    with pytest.raises(UsageError):
        adapter_names.check_name(name)
    fitted = adapter_names.fit_name(name, {"adapter"})
    assert adapter_names.check_name(fitted) == fitted, "a job's name is made to fit, since its adapter must not be lost"


def test_a_refused_name_changes_nothing(service: Service, folder: Path) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder)
    with pytest.raises(UsageError):
        adapters.rename_adapter(service, mei, adapter_id, "a\nb")
    assert adapters.get_adapter(service, mei, adapter_id).name == "shop"


def test_a_page_of_the_list_goes_on_where_the_last_ended(service: Service, folder: Path, clock: Clock) -> None:
    mei = add_account(service)
    ids = []
    for number in range(5):
        clock.go(seconds=number % 2)  # two of them in one moment
        ids.append(publish(service, mei, folder, name=f"n{number}"))
    seen: list[str] = []
    while page := adapters.list_adapters(service, mei, limit=2, after=seen[-1] if seen else None):
        seen += [view.id for view in page]
    assert sorted(seen) == sorted(ids) and len(seen) == 5
    with pytest.raises(MissingInputError):
        adapters.list_adapters(service, add_account(service, "lei"), after=ids[0])


def test_a_shared_adapter_is_used_and_not_changed(service: Service, folder: Path) -> None:
    mei, lei = add_account(service), add_account(service, "Lei@shop.cn")
    adapter_id = publish(service, mei, folder, spec={"settings": {"adapter.rank": 4}})
    assert adapter_sharing.share_adapter(service, mei, adapter_id, "lei@SHOP.cn").shared_with == ("Lei@shop.cn",)
    assert adapter_sharing.share_adapter(service, mei, adapter_id, "lei@shop.cn").shared_with == ("Lei@shop.cn",)
    view = adapters.get_adapter(service, lei, adapter_id)
    assert (view.is_own, view.owner, view.job_id, view.shared_with) == (False, "mei", None, ())
    assert dict(view.lineage) == {"settings": {"adapter.rank": 4}, "preset": None}, "where the data are is not told"
    assert [v.id for v in adapters.list_adapters(service, lei)] == [adapter_id]
    for change in (
        lambda: adapters.rename_adapter(service, lei, adapter_id, "mine"),
        lambda: adapters.delete_adapter(service, lei, adapter_id, force=True),
        lambda: adapter_sharing.share_adapter(service, lei, adapter_id, "mei"),
        lambda: adapter_sharing.unshare_adapter(service, lei, adapter_id, "mei"),
    ):
        with pytest.raises(MissingInputError):
            change()


def test_taken_back_it_is_gone_with_its_aliases(service: Service, folder: Path) -> None:
    mei, lei = add_account(service), add_account(service, "lei")
    adapter_id = publish(service, mei, folder)
    adapter_sharing.share_adapter(service, mei, adapter_id, "lei")
    adapter_aliases.set_alias(service, lei, "bot@prod", adapter_id)
    assert servable.find_servable(service, lei, "bot@prod") is not None
    assert adapter_sharing.unshare_adapter(service, mei, adapter_id, "lei").shared_with == ()
    assert servable.find_servable(service, lei, "bot@prod") is None
    assert adapters.list_adapters(service, lei) == () and adapter_aliases.list_aliases(service, lei) == ()
    adapter_sharing.share_adapter(service, mei, adapter_id, "lei")
    adapter_sharing.leave_adapter(service, lei, adapter_id)
    adapter_sharing.leave_adapter(service, mei, adapter_id)
    assert adapters.list_adapters(service, lei) == () and len(adapters.list_adapters(service, mei)) == 1


def test_sharing_with_nobody_and_with_oneself(service: Service, folder: Path) -> None:
    mei = add_account(service)
    gone = add_account(service, "gone", disabled_at=service.now())
    adapter_id = publish(service, mei, folder)
    for name in ("nobody", "gone", gone):
        with pytest.raises(MissingInputError, match="There is no account"):
            adapter_sharing.share_adapter(service, mei, adapter_id, name)
    with pytest.raises(UsageError, match="your own account"):
        adapter_sharing.share_adapter(service, mei, adapter_id, "MEI")


def test_an_alias_is_turned_and_turned_back(service: Service, folder: Path, clock: Clock) -> None:
    mei = add_account(service)
    old, new = publish(service, mei, folder), publish(service, mei, folder)
    adapter_aliases.set_alias(service, mei, "shop-bot@prod", old)
    with pytest.raises(ConflictError, match="cannot be turned back"):
        adapter_aliases.turn_back_alias(service, mei, "shop-bot@prod")
    adapter_aliases.set_alias(service, mei, "shop-bot@prod", new)
    adapter_aliases.set_alias(service, mei, "shop-bot@prod", new)
    assert adapter_aliases.turn_back_alias(service, mei, "shop-bot@prod").adapter_id == old
    view = adapter_aliases.turn_back_alias(service, mei, "shop-bot@prod")
    assert (view.adapter_id, view.previous_id, view.adapter_name) == (new, old, "shop 2")
    adapters.delete_adapter(service, mei, old)
    assert adapter_aliases.list_aliases(service, mei)[0].previous_id is None
    with pytest.raises(ConflictError):
        adapter_aliases.turn_back_alias(service, mei, "shop-bot@prod")
    adapter_aliases.delete_alias(service, mei, "shop-bot@prod")
    assert adapter_aliases.list_aliases(service, mei) == ()


def test_aliases_that_are_not_taken(service: Service, folder: Path) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder)
    for name in ("shop", "@prod", "shop@", "a b@prod", "a@b@c", "../x@y", "a/b@c", "x" * 65 + "@prod", "a@b\x00"):
        with pytest.raises(UsageError):
            adapter_aliases.set_alias(service, mei, name, adapter_id)
    assert adapter_aliases.set_alias(service, mei, " 客服@正式 ", adapter_id).name == "客服@正式"


def test_names_and_aliases_do_not_meet(service: Service, folder: Path) -> None:
    mei = add_account(service)
    one, other = publish(service, mei, folder, name="bot@prod"), publish(service, mei, folder, name="b")
    with pytest.raises(ConflictError):
        adapter_aliases.set_alias(service, mei, "bot@prod", other)
    adapter_aliases.set_alias(service, mei, "bot@test", other)
    with pytest.raises(ConflictError):
        adapters.rename_adapter(service, mei, one, "bot@test")


def test_what_is_in_use_is_deleted_only_by_force(service: Service, folder: Path, clock: Clock) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder)
    adapters.note_used(service, adapter_id)
    with pytest.raises(ConflictError, match="within the last 10 minutes"):
        adapters.delete_adapter(service, mei, adapter_id)
    clock.go(minutes=11)
    adapter_aliases.set_alias(service, mei, "bot@prod", adapter_id)
    with pytest.raises(ConflictError, match="bot@prod points at it"):
        adapters.delete_adapter(service, mei, adapter_id)
    assert len(adapters.list_adapters(service, mei)) == 1
    freed = adapters.delete_adapter(service, mei, adapter_id, force=True)
    assert freed == sum(p.stat().st_size for p in folder.iterdir())
    assert adapter_aliases.list_aliases(service, mei) == ()


def test_deleted_is_gone_from_disk(service: Service, folder: Path) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder)
    assert service.storage.num_bytes("adapters") > 0
    adapters.delete_adapter(service, mei, adapter_id)
    assert service.storage.num_bytes("adapters") == 0
    with pytest.raises(MissingInputError):
        adapters.delete_adapter(service, mei, adapter_id)
    with pytest.raises(MissingInputError):
        adapter_downloads.open_download(service, mei, adapter_id)


def test_use_is_noted_once_a_minute(service: Service, folder: Path, clock: Clock) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder)
    adapters.note_used(service, adapter_id)
    first = adapters.get_adapter(service, mei, adapter_id).used_at
    clock.go(seconds=30)
    adapters.note_used(service, adapter_id)
    assert adapters.get_adapter(service, mei, adapter_id).used_at == first
    clock.go(seconds=31)
    adapters.note_used(service, adapter_id)
    assert adapters.get_adapter(service, mei, adapter_id).used_at == service.now()


def test_a_download_is_a_whole_zip(service: Service, folder: Path) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder, name="../../客服 2026")
    download = adapter_downloads.open_download(service, mei, adapter_id)
    assert download.file_name == "客服-2026.zip"
    archive = zipfile.ZipFile(io.BytesIO(b"".join(download.chunks)))
    assert archive.testzip() is None
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    files["README.md"] = files["README.md"].replace(b"# shop", "# ../../客服 2026".encode())
    assert {n: archive.read(n) for n in archive.namelist()} == {f"客服-2026/{n}": c for n, c in files.items()}


def test_the_card_in_a_download_is_headed_as_its_owner_calls_the_adapter_now(service: Service, folder: Path) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder, name="客服 2026")
    adapters.rename_adapter(service, mei, adapter_id, "掌柜 2027")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(adapter_downloads.open_download(service, mei, adapter_id).chunks)))
    card = archive.read("掌柜-2027/README.md").decode()
    assert [line for line in card.splitlines() if line.startswith("# ")] == ["# 掌柜 2027"]


def test_a_download_goes_on_when_its_adapter_is_deleted(service: Service, folder: Path) -> None:
    mei = add_account(service)
    adapter_id = publish(service, mei, folder)
    chunks = adapter_downloads.open_download(service, mei, adapter_id).chunks
    beginning = next(chunks)
    adapters.delete_adapter(service, mei, adapter_id)
    assert zipfile.ZipFile(io.BytesIO(beginning + b"".join(chunks))).testzip() is None


def test_a_download_that_nobody_reads_to_the_end_lets_go(service: Service, folder: Path) -> None:
    mei = add_account(service)
    chunks = adapter_downloads.open_download(service, mei, publish(service, mei, folder)).chunks
    next(chunks)
    assert isinstance(chunks, Iterator)
    chunks.close()  # type: ignore[attr-defined]
    assert next(chunks, None) is None


def test_names_at_v1(service: Service, folder: Path) -> None:
    mei, lei = add_account(service, "mei@shop.cn"), add_account(service, "lei")
    adapter_id = publish(service, mei, folder, name="Shop bot", base="Qwen/Qwen3-0.6B")
    publish(service, mei, folder, base="starter")
    adapter_aliases.set_alias(service, mei, "bot@prod", adapter_id)
    (found,) = servable.usable_adapters(service, mei, base="Qwen/Qwen3-0.6B")
    assert found.name == f"ft:Qwen/Qwen3-0.6B:mei-shop.cn:shop-bot:{adapter_id[3:11]}"
    assert found.slash_free == found.name.replace("/", "--") and found.aliases == ("bot@prod",)
    assert len(servable.usable_adapters(service, mei)) == 2
    for name in (found.name, found.slash_free, "bot@prod", "Shop bot", adapter_id):
        assert servable.find_servable(service, mei, name) == found
        assert servable.find_servable(service, lei, name) is None
    adapters.rename_adapter(service, mei, adapter_id, "Other")
    still = servable.find_servable(service, mei, found.name)
    assert still is not None and still.display_name == "Other", "a name that was given out goes on to work"
    assert servable.find_servable(service, mei, found.name.replace("0.6B", "4B")) is None
    for name in (
        "",
        "starter",
        "ft:::",
        "ft:starter::%%%%%%%%",
        "ft:starter::________",
        "ad_" + "_" * 16,
        "'; --",
        "\x00"[:0],
    ):
        assert servable.find_servable(service, mei, name) is None


def test_an_empty_suffix_has_two_colons() -> None:
    assert adapter_names.model_name("starter", "mei", "？？", "ad_abcdefgh12345678") == "ft:starter:mei::abcdefgh"
    assert adapter_names.read_model_name("ft:starter:mei::abcdefgh") == ("starter", "abcdefgh")


def test_identifiers_of_nothing_and_of_somebody_else(service: Service, folder: Path) -> None:
    """Every verb of the room answers "not there" alike, whether it is nonsense, unknown or another account's."""
    mei, lei = add_account(service), add_account(service, "lei")
    theirs = publish(service, lei, folder)
    said = set()
    for wanted in ("", "ad_", "../../etc/passwd", "ad_' OR 1=1", "job_k3v9m2x7q8w4e5ra", "ad_" + "a" * 16, theirs):
        for verb in (
            lambda i: adapters.get_adapter(service, mei, i),
            lambda i: adapters.rename_adapter(service, mei, i, "x"),
            lambda i: adapters.delete_adapter(service, mei, i),
            lambda i: adapter_sharing.share_adapter(service, mei, i, "lei"),
            lambda i: adapter_sharing.unshare_adapter(service, mei, i, "lei"),
            lambda i: adapter_aliases.set_alias(service, mei, "a@b", i),
            lambda i: adapter_downloads.open_download(service, mei, i),
            lambda i: adapters.adapter_folder(service, mei, i).__enter__(),
        ):
            with pytest.raises(MissingInputError) as caught:
                verb(wanted)
            said.add(str(caught.value))
    assert len(said) == 1
    assert adapters.get_adapter(service, lei, theirs).name == "shop"


def test_deleting_the_owner_takes_the_row_along(service: Service, folder: Path) -> None:
    mei, lei = add_account(service), add_account(service, "lei")
    adapter_id = publish(service, mei, folder)
    adapter_sharing.share_adapter(service, mei, adapter_id, "lei")
    with service.database.writing() as session:
        session.delete(session.get_one(Account, mei))
    assert adapters.list_adapters(service, lei) == ()
    assert servable.find_servable(service, lei, adapter_id) is None
