"""Chromium for tests of pages and for screenshots: this system's own, without a window, for this machine only."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tools.services import find_browser

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-proxy-server",
    "--font-render-hinting=none",
)
LOCALES = {"en": "en-GB", "zh": "zh-CN"}

# A glyph that no font has is drawn as the box of one that no font can have.
_MISSING_GLYPHS = """() => {
  const style = getComputedStyle(document.body), canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const drawn = (letter) => {
    pen.clearRect(0, 0, 32, 32);
    pen.font = `24px ${style.fontFamily}`;
    pen.fillText(letter, 2, 26);
    return pen.getImageData(0, 0, 32, 32).data.join();
  };
  const missing = new Set(["", "\\u{10FFFD}", "\\uF8F1"].map(drawn));
  const letters = new Set(document.body.innerText.match(/[^\\s\\p{Cc}\\p{Cf}\\p{M}]/gu) ?? []);
  return [...letters].filter((letter) => missing.has(drawn(letter))).join("");
}"""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A Chromium that ends with the block.

    Raises:
        SystemExit: there is none on this machine.
    """
    found = find_browser()
    if found is None:
        raise SystemExit("There is no Chromium: `make services` installs it (Debian, as root).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


def missing_glyphs(page: Page) -> str:
    """The letters of a page that are shown as empty boxes; "" where every one has its glyph."""
    return str(page.evaluate(_MISSING_GLYPHS))
