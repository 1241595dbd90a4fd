"""One service and one browser for all tests here; a context of its own for each visitor."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from playwright.sync_api import Browser, Page

from postil.language import Language
from postil.web.auth import COOKIE
from tests.browser.watching import Watch
from tests.web.running import Running, run_service
from tools.browser import LOCALES, open_browser
from tools.tour.furniture import Furniture, furnish

WAIT_MS = 20_000


class Browse(Protocol):
    """Opens a page for a visitor of its own."""

    def __call__(
        self,
        running: Running,
        language: Language = "en",
        *,
        session: str = "",
        theme: str = "light",
        width: int = 1200,
        has_script: bool = True,
    ) -> Page: ...


# Of the package and not of the session: while it is open no other test may run an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """This system's Chromium."""
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with all its processes, and real runs on the starter."""
    folder = tmp_path_factory.mktemp("browsed") / "data"
    with run_service(folder, free_rows_per_month=100_000, poll_seconds=0.1) as running:
        yield running


@pytest.fixture(scope="package")
def furniture(running: Running) -> Furniture:
    """What lies in it: something on every page."""
    return furnish(running.address, running.data)


@pytest.fixture
def watch(running: Running) -> Iterator[Watch]:
    """What the browsers of this test complain about; anything that was not foretold fails it."""
    watch = Watch(running.address)
    yield watch
    assert not watch.unexpected(), "\n".join(watch.unexpected())


@pytest.fixture
def browse(browser: Browser, watch: Watch) -> Iterator[Browse]:
    """Makes visitors."""
    with ExitStack() as opened:

        def make(
            running: Running,
            language: Language = "en",
            *,
            session: str = "",
            theme: str = "light",
            width: int = 1200,
            has_script: bool = True,
        ) -> Page:
            context = browser.new_context(
                base_url=running.address,
                locale=LOCALES[language],
                color_scheme="dark" if theme == "dark" else "light",
                viewport={"width": width, "height": 900},
                java_script_enabled=has_script,
                reduced_motion="reduce",
                accept_downloads=True,
            )
            opened.callback(context.close)
            context.set_default_timeout(WAIT_MS)
            watch.address = running.address
            watch.listen(context)
            if session:
                context.add_cookies([{"name": COOKIE, "value": session, "url": running.address}])
            return context.new_page()

        yield make
