"""What a page costs the reader: bytes on the wire, and time until something can be read. Nothing leaves the machine.

The bar for the time is 0.6 s on a quiet machine; here only a gross excess fails, as other tests run beside these.
"""

import pytest
from playwright.sync_api import Browser, CDPSession

from postil.language import LANGUAGES, Language
from postil.web.auth import COOKIE
from tests.browser.watching import Watch
from tests.web.running import Running
from tools.browser import LOCALES
from tools.tour.furniture import Furniture
from tools.tour.stops import session_for, stops

pytestmark = pytest.mark.timeout(900)  # the first one waits for the service and all that lies in it
MOST_BYTES = 120_000
GROSS_SECONDS = 8.0
SETTLE_MS = 400
FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
  const found = list.getEntriesByName("first-contentful-paint")[0];
  if (found) done(found.startTime / 1000);
}).observe({ type: "paint", buffered: true }))"""


class Wire:
    """Counts what comes over the wire, heads and bodies, compressed as they come."""

    def __init__(self, session: CDPSession) -> None:
        self.num_bytes = self.answers = 0
        session.send("Network.enable")
        session.on("Network.loadingFinished", self._add)

    def _add(self, event: dict[str, float]) -> None:
        self.num_bytes += int(event["encodedDataLength"])
        self.answers += 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_light_and_soon_there(
    browser: Browser, running: Running, furniture: Furniture, watch: Watch, language: Language
) -> None:
    watch.expect("status of 404.*/(models|links)/none")
    lines, troubles = [], []
    for stop in stops(furniture, language):
        # a context of its own for each: nothing is in its cache
        with browser.new_context(base_url=running.address, locale=LOCALES[language]) as context:
            watch.listen(context)
            if session := session_for(furniture, language, stop.who):
                context.add_cookies([{"name": COOKIE, "value": session, "url": running.address}])
            page = context.new_page()
            wire = Wire(context.new_cdp_session(page))
            page.goto(stop.path, wait_until="load")
            seconds = page.evaluate(FIRST_PAINT)
            page.wait_for_timeout(SETTLE_MS)
        lines.append(f"{stop.name:14} {wire.num_bytes / 1000:6.1f} KB {wire.answers:2} answers {seconds:5.2f} s")
        if wire.num_bytes > MOST_BYTES:
            troubles.append(f"{stop.name}: {wire.num_bytes} bytes")
        if seconds > GROSS_SECONDS:
            troubles.append(f"{stop.name}: {seconds:.2f} s")
    print("\n".join(lines))
    assert not troubles, "\n".join(troubles)
