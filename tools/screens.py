"""Pictures of every page: `python -m tools.screens docs/screens` in both languages and themes, 390 and 1200 px wide.

Starts a service of its own on the starter, with made-up content in it. Fails where a page is not answered as it should
be, where a letter has no glyph, where a page is wider than its window, or where all pictures together are too large.
A page that is not there yet is named and left out with --unfinished.
"""

import argparse
import io
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from postil.language import LANGUAGES, Language
from postil.web.auth import COOKIE
from tests.web.running import run_service
from tools.browser import LOCALES, missing_glyphs, open_browser
from tools.tour.furniture import Furniture, furnish
from tools.tour.stops import Stop, session_for, stops

THEMES = ("light", "dark")
WIDTHS = {390: 844, 1200: 900}
KEPT = {("light", 1200), ("dark", 390)}
"""The looks whose pictures are kept; every page is looked at in all four."""
MOST_BYTES = 3_000_000
LOOKS = ((64, 2000), (48, 1800), (48, 1500), (48, 1200), (48, 1000))
"""(colours, tallest picture in pixels, which a longer page is cut to), the best first."""
SHARE_OF_WIDE = 2 / 3
"""To which pictures of wide windows are made smaller; telephones' stay as they are."""


@dataclass
class Album:
    """The pictures of one tour.

    Args:
        pictures: file name -> the picture as PNG.
        troubles: what is wrong with a page, in words.
        missing: pages that are not there yet.
    """

    pictures: dict[str, bytes] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def visit(browser: Browser, address: str, language: Language, theme: str, width: int, session: str) -> BrowserContext:
    """A browser of this language, theme and width, signed in with `session`."""
    context = browser.new_context(
        base_url=address,
        locale=LOCALES[language],
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": WIDTHS[width]},
        reduced_motion="reduce",
    )
    if session:
        context.add_cookies([{"name": COOKIE, "value": session, "url": address}])
    return context


def take_all(browser: Browser, address: str, furniture: Furniture, only: str = "") -> Album:
    """Goes through all pages in all looks.

    Args:
        only: part of the names of the pages that are wanted.
    """
    album = Album()
    for language in LANGUAGES:
        for theme in THEMES:
            for width in WIDTHS:
                for who in ("", "owner", "newcomer", "admin"):
                    wanted = [
                        s for s in stops(furniture, language) if s.who == who and s.is_pictured and only in s.name
                    ]
                    session = session_for(furniture, language, who)
                    with visit(browser, address, language, theme, width, session) as context:
                        page = context.new_page()
                        for stop in wanted:
                            name = f"{stop.name}-{language}-{theme}-{width}"
                            take(page, stop, name, album)
                            if (theme, width) not in KEPT:
                                album.pictures.pop(name, None)
    return album


def take(page: Page, stop: Stop, name: str, album: Album) -> None:
    """Puts the picture of a page into the album, and what is wrong with the page."""
    answer = page.goto(stop.path)
    assert answer is not None
    if answer.status != stop.status:
        (album.missing if answer.status == 404 else album.troubles).append(f"{name}: {answer.status} {stop.path}")
        return
    page.wait_for_timeout(150)  # parts that ask for themselves once
    if letters := missing_glyphs(page):
        album.troubles.append(f"{name}: no glyphs for {letters}")
    wide = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    if wide > 0:
        album.troubles.append(f"{name}: {wide} px wider than the window")
    album.pictures[name] = page.screenshot(full_page=True, animations="disabled", caret="hide")


def save(album: Album, out: Path) -> int:
    """Writes all pictures as WebP, in the best look in which they are small enough together; returns their bytes."""
    for colours, tallest in LOOKS:
        packed, num_bytes = {}, 0
        for name, picture in album.pictures.items():
            packed[name] = _packed(picture, colours, tallest)
            num_bytes += len(packed[name])
            if num_bytes > MOST_BYTES:
                break
        else:
            break
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.webp"):
        old.unlink()
    for name, data in packed.items():
        (out / f"{name}.webp").write_bytes(data)
    print(f"{len(packed)} pictures, {num_bytes / 1e6:.2f} MB, {colours} colours, {tallest} px tall, in {out}")
    return num_bytes


def _packed(picture: bytes, colours: int, tallest: int) -> bytes:
    """Few colours without loss: pages are flat, and their text stays sharp in half the bytes of a photo's way."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, tallest)))
    if image.width > min(WIDTHS):
        size = round(image.width * SHARE_OF_WIDE), round(image.height * SHARE_OF_WIDE)
        image = image.resize(size, Image.Resampling.LANCZOS)
    # rare colours, such as of a button, count as much as frequent ones
    few = image.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    small = io.BytesIO()
    few.convert("RGB").save(small, "webp", lossless=True, quality=90)
    return small.getvalue()


def main() -> int:
    """Takes the pictures; 1 where something is wrong with them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="pages whose name holds this")
    parser.add_argument("--unfinished", action="store_true", help="pages that are not there yet are no trouble")
    given = parser.parse_args()
    with (
        TemporaryDirectory(prefix="postil-") as folder,
        run_service(Path(folder) / "data") as running,
        open_browser() as browser,
    ):
        began = time.monotonic()
        furniture = furnish(running.address, running.data, {})
        print(f"furnished in {time.monotonic() - began:.0f} s")
        album = take_all(browser, running.address, furniture, given.only)
    num_bytes = save(album, given.out)
    for missing in album.missing:
        print(f"NOT THERE YET: {missing}", file=sys.stderr)
    for trouble in album.troubles:
        print(trouble, file=sys.stderr)
    is_well = not album.troubles and num_bytes <= MOST_BYTES and (given.unfinished or not album.missing)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
