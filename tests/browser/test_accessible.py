"""Every page, light and dark, narrow and wide: no fault that axe-core knows, nothing that reaches beyond the window."""

from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import pytest
from fastapi.routing import APIRoute
from playwright.sync_api import Page

from postil.language import LANGUAGES, Language
from postil.web.app import ROUTERS
from postil.web.pages.refusals import is_page
from tests.browser.conftest import Browse
from tests.browser.watching import Watch
from tests.web.running import Running
from tools.browser import missing_glyphs
from tools.tour.furniture import Furniture
from tools.tour.stops import Stop, session_for, stops

pytestmark = pytest.mark.timeout(900)  # the first one waits for the service and all that lies in it
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
# Both languages together show all four looks; a page of one look differs from that of another in no other way.
LOOKS: dict[Language, tuple[tuple[str, int], ...]] = {
    "en": (("light", 390), ("dark", 1200)),
    "zh": (("dark", 390), ("light", 1200)),
}
RUN_AXE = "() => axe.run(document, {preload: false, resultTypes: ['violations']})"


def faults(page: Page) -> list[str]:
    """What axe-core finds, one line each."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE)
    found = page.evaluate(RUN_AXE)["violations"]
    return [f"{fault['id']}: {node['target']} {node['failureSummary']}" for fault in found for node in fault["nodes"]]


def walk(
    browse: Browse, running: Running, furniture: Furniture, language: Language
) -> Iterator[tuple[Stop, Page, int]]:
    """Opens one page after the other, each with the right visitor."""
    pages: dict[str, Page] = {}
    for stop in stops(furniture, language):
        if stop.who not in pages:
            session = session_for(furniture, language, stop.who)
            pages[stop.who] = browse(running, language, session=session)
        page = pages[stop.who]
        answer = page.goto(stop.path)
        yield stop, page, answer.status if answer else 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_accessible_fits_a_telephone_and_has_all_its_glyphs(
    browse: Browse, running: Running, furniture: Furniture, watch: Watch, language: Language
) -> None:
    watch.expect("status of 404.*/(models|links)/none")
    troubles = []
    for stop, page, status in walk(browse, running, furniture, language):
        if status != stop.status:
            troubles.append(f"{stop.name}: answered with {status}")
            continue
        assert page.evaluate("document.documentElement.lang") == {"en": "en", "zh": "zh-Hans"}[language]
        for theme, width in LOOKS[language]:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            found = faults(page)
            if (wide := page.evaluate("document.scrollingElement.scrollWidth - innerWidth")) > 0:
                found.append(f"{wide} px wider than the window")
            troubles += [f"{stop.name}, {theme}, {width} px: {fault}" for fault in found]
        if letters := missing_glyphs(page):
            troubles.append(f"{stop.name}: no glyphs for {letters}")
    assert not troubles, "\n".join(troubles)


NO_PAGES = {
    "/",  # leads to the models
    "/static/{name:path}",
    "/data/{dataset_id}/train",  # leads to the bases
    "/data/{dataset_id}/state",  # parts of pages
    "/data/{dataset_id}/base/card",
    "/jobs/rows",
    "/jobs/{job_id}/progress",
    "/admin/queue/rows",
    "/admin/bases/rows",
    "/models/{adapter_id}/try/{trial_id}",
    "/data/{dataset_id}/file",  # files
    "/account/bill/lines.csv",
}


def test_the_tour_misses_no_page(furniture: Furniture) -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    pages = [r for r in routes if "GET" in r.methods and is_page({"path": r.path}) and r.path not in NO_PAGES]
    paths = {stop.path.partition("?")[0] for stop in stops(furniture, "en")}
    assert {route.path for route in pages if not any(route.path_regex.match(path) for path in paths)} == set()


def test_the_check_of_glyphs_sees_what_is_missing(browse: Browse, running: Running) -> None:
    page = browse(running)
    page.goto("/sign-in")
    assert missing_glyphs(page) == ""
    page.evaluate("document.querySelector('h1').textContent = 'a中\\uF8F2'")
    assert missing_glyphs(page) == "\uf8f2"


def test_the_check_of_faults_sees_one(browse: Browse, running: Running) -> None:
    page = browse(running)
    page.goto("/sign-in")
    assert faults(page) == []
    page.evaluate(
        "document.querySelector('input[name=name]').closest('label').replaceWith(Object.assign("
        "document.createElement('input'), {name: 'bare'}))"
    )
    assert [fault.partition(":")[0] for fault in faults(page)] == ["label"]
