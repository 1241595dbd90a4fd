"""The road of a new user as clicks: one function for each step, in either language, with or without script."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from postil.language import LANGUAGES, Language, say, say_in_all, use_language
from tools.tour.furniture import PASSWORD

CHECK_MS, TRAIN_MS, ANSWER_MS = 40_000, 180_000, 60_000


@dataclass(frozen=True)
class Reader:
    """Somebody who looks for words on a page.

    Args:
        after: called with the page when a step of the road has led to it.
    """

    page: Page
    language: Language
    after: Callable[[Page], None] = lambda page: None

    def words(self, key: str, **values: object) -> str:
        """A sentence as this reader sees it."""
        use_language(self.language)
        try:
            return say(key, **values)
        finally:
            use_language("en")

    def like(self, key: str) -> re.Pattern[str]:
        """The beginning of a sentence, whatever its values are."""
        sentence = say_in_all(key)[LANGUAGES.index(self.language)]
        return re.compile("^\\s*" + ".+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", sentence)))

    def button(self, key: str) -> Locator:
        """The buttons that say so."""
        return self.page.get_by_role("button", name=self.like(key))

    def link(self, key: str) -> Locator:
        """The links that say so."""
        return self.page.get_by_role("link", name=self.like(key))

    def field(self, key: str) -> Locator:
        """The field with this label."""
        return self.page.get_by_label(self.words(key))

    def sees(self, key: str, within_ms: float = 20_000) -> None:
        """Waits until a sentence is to be seen."""
        expect(self.page.get_by_text(self.like(key)).first).to_be_visible(timeout=within_ms)

    def comes_to(self, pattern: str) -> str:
        """Waits until the address fits and the page is whole; returns what the first group of the pattern holds."""
        self.page.wait_for_url(re.compile(pattern), wait_until="load")
        self.after(self.page)
        found = re.search(pattern, self.page.url)
        assert found is not None, self.page.url
        return found[1] if found.groups() else ""


def press(reader: Reader, what: Locator) -> None:
    """Clicks on what leads to another page, and waits for it."""
    with reader.page.expect_navigation(wait_until="load", timeout=CHECK_MS):
        what.click()


def new_name(beginning: str) -> str:
    """A name that no account has."""
    return f"{beginning}-{secrets.token_hex(3)}"


def sign_up(reader: Reader, name: str) -> None:
    """From the first page to an empty list of models."""
    page = reader.page
    page.goto("/")
    reader.comes_to("/sign-in$")
    reader.link("pages.register.title").click()
    reader.comes_to("/register$")
    reader.field("pages.name").fill(name)
    reader.field("pages.password").fill(PASSWORD)
    reader.button("pages.register.button").click()
    reader.comes_to("/models$")
    reader.sees("models_page.empty.title")


def send_file(reader: Reader, file: Path, *, has_script: bool = True) -> str:
    """From the list of models to the check of a file; returns the data set's identifier."""
    reader.link("models_page.new").first.click()
    reader.comes_to("/new$")
    reader.page.locator("input[type=file]").set_input_files(file)
    if not has_script:
        reader.button("new_page.send").click()
    dataset_id = reader.comes_to(r"/data/([^/?#]+)$")
    wait_for_check(reader)
    return dataset_id


def wait_for_check(reader: Reader) -> None:
    """Waits until a check is done; the page finds it out by itself, with script and without."""
    expect(reader.link("data_page.go_on")).to_be_visible(timeout=CHECK_MS)
    expect(reader.page.get_by_text(reader.words("data_page.checking_again"))).to_have_count(0, timeout=CHECK_MS)
    reader.after(reader.page)


def mend(reader: Reader) -> None:
    """Mends a workbook with mistakes: one cell by hand, one kind of rows left out, and the rest at once."""
    look_at_kind(reader, "missing_answer")
    fill_cell(reader, {"en": "Yes, for five yuan.", "zh": "可以，包装费五元。"}[reader.language])
    wait_for_check(reader)
    leave_out(reader, "missing_question")
    press(reader, reader.button("data_page.automatic"))
    wait_for_check(reader)


def look_at_kind(reader: Reader, kind: str) -> None:
    """Lists the problems of one kind."""
    press(reader, reader.link(f"data_page.kind.{kind}"))
    wait_for_check(reader)


def fill_cell(reader: Reader, text: str) -> None:
    """Writes into the first empty cell of the list, where it stands or, without script, on a page of its own."""
    reader.link("data_page.edit").first.click()
    cell = reader.page.locator("textarea[name=text]:focus, main.narrow textarea[name=text]").first
    expect(cell).to_have_value("")
    cell.fill(text)
    # with script too: the page shows the new list when the check is done
    press(reader, reader.button("data_page.save").first)


def leave_out(reader: Reader, kind: str) -> None:
    """Mends all rows of a kind alike, which leaves them out; takes that back, and does it again."""
    for verb in ("fix_all", "undo", "fix_all"):
        if verb == "fix_all":
            look_at_kind(reader, kind)
        press(reader, reader.button(f"data_page.{verb}"))
        wait_for_check(reader)


def pick_base(reader: Reader) -> None:
    """From the check to the settings, with the base that is there."""
    reader.link("data_page.go_on").click()
    reader.comes_to("/base$")
    reader.link("train_page.base.choose").first.click()
    reader.comes_to("/settings")


def start(reader: Reader) -> str:
    """Starts with what is filled in; returns the job's identifier."""
    reader.button("train_page.settings.start").click()
    return reader.comes_to(r"/jobs/([^/?#]+)$")


def wait_for_end(reader: Reader) -> None:
    """Watches a training until its model is ready."""
    reader.sees("job_page.status.succeeded", TRAIN_MS)


def see_result(reader: Reader) -> str:
    """From the training to its result; returns the adapter's identifier."""
    reader.link("job_page.see_result").click()
    return reader.comes_to(r"/models/([^/?#]+)$")


def ask(reader: Reader, question: str) -> Locator:
    """Asks base and model; returns the newest question with both answers, written to their end."""
    reader.field("try_page.question").fill(question)
    reader.button("try_page.ask").click()
    newest = reader.page.locator("article.trial").first
    expect(newest).to_contain_text(question)
    expect(newest.get_by_text(reader.words("try_page.which"))).to_be_visible(timeout=ANSWER_MS)
    expect(newest.locator(".answer")).to_have_count(2)
    return newest


def make_key(reader: Reader) -> str:
    """On the page of use: a key, which is shown once and is filled into the code."""
    reader.field("use_page.key.name").fill("road")
    reader.button("use_page.key.button").click()
    secret = reader.page.locator("#key pre code").inner_text().strip()
    assert secret.startswith("pk_")
    return secret
