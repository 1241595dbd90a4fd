"""What somebody asks for on the page of settings, as it was typed: kept whole, whatever is wrong in it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from postil.errors import UsageError
from postil.language import say
from postil.platform.adapters.names import check_name
from postil.platform.datasets.views import DatasetView
from postil.platform.jobs.requests import MAX_SEED, JobRequest
from postil.web.pages.drawer import read_settings, typed_settings
from postil.web.pages.forms import Form

PRESET = "recommended"
_LONGEST_SEED = 10


class WrongFields(Exception):
    """Something that was typed into the drawer's fields cannot be read; nothing of it may be sent on."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for, as it was typed.

    Args:
        kind: "" for what the data set says.
        name: "" for the data set's.
        version: of the data set, as the page showed it; "" for the newest.
        typed: texts of the drawer's fields, by setting.
        token: of the page that was sent.
    """

    base: str
    preset: str = PRESET
    kind: str = ""
    name: str = ""
    seed: str = ""
    version: str = ""
    token: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)

    def request(self, dataset: DatasetView, *, preset: str | None = None, with_token: bool = False) -> JobRequest:
        """What the platform is asked.

        Args:
            preset: another one.
            with_token: the same page sent twice with the same wish is the same job.

        Raises:
            WrongFields: see `field_errors`.
        """
        settings = read_settings(self.typed)[0]
        if self.field_errors(dataset):
            raise WrongFields
        made = JobRequest(
            dataset_id=dataset.id,
            base=self.base,
            version=int(self.version) if self.version.isdecimal() and len(self.version) < 10 else None,
            preset=preset or self.preset,  # type: ignore[arg-type]  # checked with the request
            settings=settings,
            name=self.name if self.name and self.name != dataset.name else None,
            kind=self.kind if self.kind != dataset.kind and self.kind else None,  # type: ignore[arg-type]
            seed=int(self.seed or 0),
        )
        if not with_token or not self.token:
            return made
        # another wish from the same page, after a step back, is another job
        token = hashlib.sha256(f"{self.token}{made.fingerprint()}".encode()).hexdigest()
        return replace(made, client_token=token)

    def field_errors(self, dataset: DatasetView) -> dict[str, str]:
        """What cannot be read, in words, by setting; besides "training.seed", and "name"."""
        errors = read_settings(self.typed)[1]
        if wrong := _seed_error(self.seed):
            errors["training.seed"] = wrong
        try:
            check_name(self.name if self.name and self.name != dataset.name else "x")
        except UsageError as error:
            errors["name"] = error.message
        return errors


def wish_of(form: Form) -> Wish:
    """What a form asks for."""
    return Wish(
        base=form.get("base"),
        preset=form.get("preset") or "recommended",
        kind=form.get("kind"),
        name=form.get("name"),
        seed=form.get("seed"),
        version=form.get("version"),
        token=form.get("client_token")[:100],
        typed=typed_settings(form),
    )


def _seed_error(text: str) -> str:
    if not text or (text.isdecimal() and len(text) <= _LONGEST_SEED and int(text) <= MAX_SEED):
        return ""
    return say("train_page.error.seed", most=MAX_SEED)
