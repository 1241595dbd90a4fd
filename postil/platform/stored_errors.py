"""An error that is kept in the database and told later, in the language of whoever reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postil.errors import PostilError
from postil.language import has_sentence, say


@dataclass(frozen=True, slots=True)
class StoredError:
    """A key of the catalogs, and what its sentence names."""

    key: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, error: PostilError, **changed: Any) -> "StoredError":
        """What an error says.

        Args:
            changed: values that are to be told otherwise, such as a path of ours.
        """
        known = {name: value for name, value in changed.items() if name in error.values}
        return cls(error.key, {**error.values, **known})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StoredError":
        """What `as_dict` made."""
        return cls(str(values["key"]), dict(values["values"]))

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        plain = {name: v if isinstance(v, int | float | str | None) else str(v) for name, v in self.values.items()}
        return {"key": self.key, "values": plain}

    @property
    def message(self) -> str:
        """What happened, in the current language."""
        return say(self.key, **self.values)

    @property
    def hint(self) -> str:
        """What to do, in the current language; "" where there is nothing."""
        key = f"{self.key}.hint"
        return say(key, **self.values) if has_sentence(key) else ""
