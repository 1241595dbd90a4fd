"""What a form has sent. Fields are text; one that is missing is empty, so that a page can say what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from postil.web.errors import Refused

_MOST_FIELDS = 2000


@dataclass(frozen=True)
class Form:
    """The fields of a form, in the order in which they were sent."""

    pairs: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The first field of this name, without white space around it; "" for none."""
        return next((value.strip() for key, value in self.pairs if key == name), "")

    def raw(self, name: str) -> str:
        """As it was typed, for passwords and texts."""
        return next((value for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Every field of this name, as for boxes that are ticked."""
        return tuple(value for key, value in self.pairs if key == name)

    def has(self, name: str) -> bool:
        """True where the field was sent, as of the button that was pressed."""
        return any(key == name for key, _ in self.pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)


def parse_form(body: bytes) -> Form:
    """Fields of an `application/x-www-form-urlencoded` body.

    Raises:
        Refused: it is none, or has too many fields.
    """
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Refused(400, "web.status.400") from None
    return Form(tuple(pairs))


async def read_form(request: Request) -> Form:
    """The form of this request; browsers send line ends as CR LF, which become LF."""
    found = parse_form(await request.body())
    return Form(tuple((name, value.replace("\r\n", "\n")) for name, value in found.pairs))


def own_path(text: str, otherwise: str = "/") -> str:
    """A path of this service that a form or an address names; anything else, such as another site, is `otherwise`."""
    parts = urlsplit(text)
    is_own = text.startswith("/") and not text.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return text if is_own and "\n" not in text and "\r" not in text else otherwise
