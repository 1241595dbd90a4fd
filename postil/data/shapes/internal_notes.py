"""Messages that only colleagues were to see: helpdesks keep them among those of the chat and mark them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from postil.data.shapes.columns import normalize_name

_PRIVATE = ("internal", "is_internal", "internal_note", "is_internal_note", "private", "is_private", "private_note")
_PUBLIC = ("public", "is_public", "visible_to_customer", "公开", "是否公开", "公開", "客户可见")
_MEANS_INTERNAL = {
    **dict.fromkeys((*_PRIVATE, "内部", "是否内部", "内部备注", "内部消息", "內部", "內部備註"), True),
    **dict.fromkeys(_PUBLIC, False),
}
_YES_NO = {
    **dict.fromkeys(("true", "yes", "y", "1", "是", "✓", "√"), True),
    **dict.fromkeys(("false", "no", "n", "0", "否", "×"), False),
}


def is_internal(fields: Mapping[str, Any]) -> bool:
    """True for a message that a field marks as internal, or as not public; anything but yes and no marks nothing."""
    return any(_says(fields[name]) is means for name, means in _marks(tuple(fields)))


@lru_cache(maxsize=1024)
def _marks(names: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """The fields that mark messages, and what they say of an internal one."""
    means = ((name, _MEANS_INTERNAL.get(normalize_name(str(name)))) for name in names)
    return tuple((name, meant) for name, meant in means if meant is not None)


def _says(value: Any) -> bool | None:
    return value if isinstance(value, bool) else _YES_NO.get(str(value).strip().casefold())
