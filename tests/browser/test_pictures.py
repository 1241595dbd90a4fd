"""The tool that takes the pictures sees what must not be on them, and keeps them small."""

import io
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from tests.browser.conftest import Browse
from tests.browser.watching import Watch
from tests.web.running import Running
from tools import screens
from tools.screens import Album, save, take
from tools.tour.stops import Stop


def test_a_page_that_is_not_as_it_should_be_is_told(browse: Browse, watch: Watch, running: Running) -> None:
    watch.expect("status of 404")
    page, album = browse(running, width=390), Album()
    take(page, Stop("sign-in", "/sign-in"), "well", album)
    assert list(album.pictures) == ["well"] and not album.troubles and not album.missing
    take(page, Stop("none", "/links/none"), "none", album)
    assert [line.partition(":")[0] for line in album.missing] == ["none"]
    page.route(
        "**/register",
        lambda route: route.fulfill(body="<p>\uf8f2<table width=2000><td>x", content_type="text/html; charset=utf-8"),
    )
    take(page, Stop("register", "/register"), "bad", album)
    assert [line.partition(":")[2].split()[-1] for line in album.troubles] == ["\uf8f2", "window"]


def test_pictures_are_written_in_the_best_look_that_is_small_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = io.BytesIO()
    Image.frombytes("RGB", (200, 3000), Random(0).randbytes(200 * 3000 * 3)).save(noise, "png")
    album = Album({"a": noise.getvalue(), "b": noise.getvalue()})
    (tmp_path / "old.webp").write_bytes(b"")
    monkeypatch.setattr(screens, "MOST_BYTES", 400_000)
    assert save(album, tmp_path) == sum(path.stat().st_size for path in tmp_path.iterdir()) <= 400_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "b.webp"]
    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.height == 1200
