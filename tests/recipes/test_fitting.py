"""Packs that fit into memory."""

import pytest

from postil.models.catalog import find_entry
from postil.models.memory import bytes_to_train
from postil.recipes.fitting import choose_pack_tokens

entry = find_entry("Qwen/Qwen2.5-0.5B-Instruct")
assert entry is not None
SHAPE = entry.shape


def needed(tokens: int) -> int:
    return bytes_to_train(SHAPE, 16, tokens, 4)


@pytest.mark.parametrize(
    ("memory", "longest_row", "tokens"),
    [
        (needed(4096), 300, 4096),
        (needed(4096) - 1, 300, 2048),
        (needed(1000), 300, 512),
        (needed(700), 700, 700),
        (needed(400), 700, None),
        (needed(300), 300, 300),
        (needed(300) - 1, 300, None),
    ],
)
def test_packs_are_halved_until_they_fit(memory: int, longest_row: int, tokens: int | None) -> None:
    found = choose_pack_tokens(SHAPE, rank=16, dtype_bytes=4, wanted=4096, longest_row=longest_row, memory_bytes=memory)
    assert found == tokens


def test_more_fits_where_layers_are_computed_twice() -> None:
    memory = bytes_to_train(SHAPE, 16, 4096, 4, recomputes=True)
    how = {"rank": 16, "dtype_bytes": 4, "wanted": 4096, "longest_row": 3000, "memory_bytes": memory}
    assert choose_pack_tokens(SHAPE, **how) is None
    assert choose_pack_tokens(SHAPE, **how, recomputes=True) == 4096
