"""The key file: made once, for its owner alone; without it nothing is read."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postil.errors import UnavailableError
from postil.platform.store.secrets import SECRET_KEY, decrypt, encrypt, make_secret_key


def test_what_is_encrypted_comes_back_and_cannot_be_read(tmp_path: Path) -> None:
    make_secret_key(tmp_path)
    kept = encrypt(tmp_path, "hf_令牌")
    assert decrypt(tmp_path, kept) == "hf_令牌"
    assert "hf_" not in kept and encrypt(tmp_path, "hf_令牌") != kept
    assert stat.S_IMODE((tmp_path / SECRET_KEY).stat().st_mode) == 0o600


def test_the_key_is_made_once_by_however_many(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make_secret_key, [tmp_path] * 8))
    key = (tmp_path / SECRET_KEY).read_bytes()
    make_secret_key(tmp_path)
    assert (tmp_path / SECRET_KEY).read_bytes() == key
    assert [path.name for path in tmp_path.iterdir()] == [SECRET_KEY]


def test_another_key_or_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="missing"):
        encrypt(tmp_path, "x")
    make_secret_key(tmp_path)
    kept = encrypt(tmp_path, "x")
    (tmp_path / SECRET_KEY).unlink()
    make_secret_key(tmp_path)
    for changed in (kept, kept[:-4], "", "x"):
        with pytest.raises(UnavailableError, match="not the key"):
            decrypt(tmp_path, changed)
    (tmp_path / SECRET_KEY).write_bytes(b"short")
    with pytest.raises(UnavailableError, match="unreadable"):
        decrypt(tmp_path, kept)
