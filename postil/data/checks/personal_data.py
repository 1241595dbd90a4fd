"""Personal data in text: mobile and other telephone numbers, identity cards, e-mail addresses, bank cards."""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

PersonalKind = Literal["mobile", "id_card", "email", "bank_card", "phone"]
OWN_ROWS = 3
"""A value that stands in this many rows is the company's own, such as its hotline."""

_EDGE = r"(?<![0-9A-Za-z_.\-/])"
_END = r"(?![0-9A-Za-z_/]|[.\-][0-9])"
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
# Numbers are looked for only inside runs of digits and what may separate them, which are found quickly.
_RUN = re.compile(r"[0-9][0-9 \-().]{6,}[0-9Xx]")
_NUMBER = re.compile(
    rf"""
    (?P<id_card>{_EDGE}[1-9]\d{{5}}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{{3}}[\dXx]{_END})
  | (?P<mobile>{_EDGE}(?:(?:\+|00)?86[ \-]?)?1[3-9]\d(?:[ \-]?\d{{4}}){{2}}{_END})
  | (?P<bank_card>{_EDGE}(?:(?:4\d{{3}}|5[1-5]\d\d|2[2-7]\d\d|62\d\d)(?:[ \-]?\d{{4}}){{3}}(?:[ \-]?\d{{1,3}})?
                 |3[47]\d\d[ \-]?\d{{6}}[ \-]?\d{{5}}){_END})
  | (?P<phone>{_EDGE}(?:(?:\+|\b00)[1-9]\d{{0,2}}(?:[ \-.]?\(?\d{{1,4}}\)?){{2,5}}
             |\(?0[1-9]\d{{1,2}}[)\- ]{{1,2}}\d{{7,8}}
             |\(?[2-9]\d\d(?:\)[ ]?|[\-. ])[2-9]\d\d[\-. ]\d{{4}}){_END})
    """,
    re.VERBOSE | re.ASCII,
)
_NUMBERED_THING = re.compile(
    r"(?:订单|單號|单号|编号|運單|运单|快递|流水|型号|货号|发票|條碼|条码|序列|order|tracking|invoice|parcel|sku|item|ticket|"
    r"serial|isbn|ean|upc|part|model|ref(?:erence)?)(?:(?!手机|電話|电话|phone|mobile|\btel|call)[^\n。，,；;!?]){0,14}$",
    re.IGNORECASE,
)
_ROLE_NAMES = frozenset(
    (
        *(
            "info",
            "support",
            "service",
            "services",
            "help",
            "helpdesk",
            "contact",
            "sales",
            "admin",
            "office",
            "hello",
            "noreply",
            "no-reply",
        ),
        *(
            "donotreply",
            "hr",
            "jobs",
            "kefu",
            "marketing",
            "press",
            "billing",
            "orders",
            "order",
            "customerservice",
            "feedback",
            "enquiries",
            "postmaster",
            "webmaster",
        ),
    )
)
_EXAMPLE_DOMAIN = re.compile(r"(?:^|\.)example(?:\.(?:com|net|org))?$|(?:^|\.)(?:test|invalid|localhost|local)$")
_TOLL_FREE = ("400", "800", "833", "844", "855", "866", "877", "888", "555")
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def find_personal_data(text: str) -> Iterator[tuple[int, int, PersonalKind]]:
    """(start, end, kind) of every piece: addresses first, then numbers. Prices, order numbers and hotlines are none.

    Identity cards and bank cards are told by their check digits, addresses of a role (support@) are left out.
    """
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if _is_personal(found[0], "email"):
                yield found.start(), found.end(), "email"
    for run in _RUN.finditer(text):
        # A sign may stand before the run, and what follows must be seen to know that the number ends.
        for found in _NUMBER.finditer(text, max(run.start() - 2, 0), run.end() + 2):
            kind: PersonalKind = found.lastgroup  # type: ignore[assignment]
            if _is_personal(found[0], kind) and not (kind != "id_card" and _is_numbered_thing(text, found.start())):
                yield found.start(), found.end(), kind


def _is_numbered_thing(text: str, start: int) -> bool:
    """True where the words before say what the number counts, such as an order."""
    return _NUMBERED_THING.search(text, max(start - 30, 0), start) is not None


def _is_personal(value: str, kind: PersonalKind) -> bool:
    digits = re.sub(r"\D", "", value)
    match kind:
        case "email":
            name, _, domain = value.casefold().rpartition("@")
            return name not in _ROLE_NAMES and not _EXAMPLE_DOMAIN.search(domain)
        case "id_card":
            total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, value, strict=False))
            return "10X98765432"[total % 11] == value[-1].upper()
        case "bank_card":
            return _passes_luhn(digits)
        case "phone":
            is_foreign = value.startswith(("+", "00"))
            return 9 <= len(digits) <= 15 and (is_foreign or not digits.startswith(_TOLL_FREE))
        case _:
            return True


def _passes_luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def masked(value: str) -> str:
    """What a report may show of a value: enough to find it, too little to use it."""
    if "@" in value:
        name, _, domain = value.partition("@")
        return f"{name[:1]}***@{domain}"
    return f"{value[:3]}****{value[-2:]}"


@dataclass(frozen=True, slots=True)
class PersonalRow:
    """What one row says of a person.

    Args:
        index: of its record.
        found: the values, masked.
        keep: values in the same row that are the company's own, as they are written.
    """

    index: int
    found: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(slots=True)
class PersonalData:
    """What was found in a file, told apart at its end: a company's own number is known by its repetition."""

    _rows: "array[int]" = field(default_factory=lambda: array("q"))
    _values: list[tuple[PersonalKind, str]] = field(default_factory=list)

    def add(self, text: str, index: int) -> None:
        """Notes what is in `text`, which belongs to record `index`; all texts of one come one after the other."""
        for start, end, kind in find_personal_data(text):
            self._rows.append(index)
            self._values.append((kind, text[start:end]))

    def rows(self) -> Iterator[PersonalRow]:
        """Each row with personal data, in order."""
        seen_in = Counter(
            value for value, _ in {(_folded(v), row) for row, (_, v) in zip(self._rows, self._values, strict=True)}
        )
        for index, entries in groupby(zip(self._rows, self._values, strict=True), key=lambda entry: entry[0]):
            values = dict.fromkeys(value for _, (_, value) in entries)
            own = tuple(value for value in values if seen_in[_folded(value)] >= OWN_ROWS)
            if found := tuple(masked(value) for value in values if value not in own):
                yield PersonalRow(index, found, own)


def _folded(value: str) -> str:
    """One value in its spellings: with spaces and country code, or without."""
    return value.casefold() if "@" in value else re.sub(r"\D", "", value)[-11:]
