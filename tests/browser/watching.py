"""Browsers whose every complaint is heard: a test of a page fails on any that it did not foretell."""

import re
from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request, WebError

_TELL_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});"""


@dataclass
class Watch:
    """What a browser complained about.

    Args:
        address: of the service; whatever is asked of another leaves this machine.
        foretold: patterns of complaints that a test expects, such as those of a server that is killed.
    """

    address: str
    complaints: list[str] = field(default_factory=list)
    foretold: list[str] = field(default_factory=list)

    def listen(self, context: BrowserContext) -> None:
        """Hears everything that the pages of a context have to say from now on."""
        context.on("request", self._hear_request)
        context.on("console", self._hear_console)
        context.on("weberror", self._hear_error)
        context.on("dialog", self._hear_dialog)
        context.add_init_script(_TELL_VIOLATIONS)

    def expect(self, pattern: str) -> None:
        """Complaints that fit are no failure of this test."""
        self.foretold.append(pattern)

    def unexpected(self) -> list[str]:
        """Everything else."""
        return [said for said in self.complaints if not any(re.search(known, said) for known in self.foretold)]

    def _hear_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.address}/", "about:", "blob:")):
            self.complaints.append(f"request: {request.url}")

    def _hear_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            where = (message.location or {}).get("url", "")
            self.complaints.append(f"console: {message.text} ({where})")

    def _hear_error(self, error: WebError) -> None:
        self.complaints.append(f"script: {error.error}")

    def _hear_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()
