"""Bounds how many kernels are kept that were made for one shape each.

In bf16 on a CPU torch multiplies by oneDNN, which compiles a kernel for each shape that it meets and keeps 1024 of
them, up to 0.65 MB each; the layer above it keeps as many again, with what they work in. Packed rows bring new shapes
with nearly every step (the tokens of the step, of each row, of its answers), so that a run would grow by 0.6 GB and
more. What must stay is what the layers of one step have in common: the rest takes a quarter of a millisecond to make
again. Kernels decide no weight: the one that is made again is the same.
"""

import os

from postil.models.memory import MOST_KERNELS, num_kernels

PACK_SHAPES = 16
"""Of the layer above, which finds what it has dropped in oneDNN's own store."""


def keep_few_kernels(num_rows: int) -> int:
    """Takes effect for the whole process, if nothing was computed in bf16 yet; what the user has set stays.

    Args:
        num_rows: of a step. Were fewer kernels kept than it needs, every layer would make them anew.

    Returns:
        How many are kept.
    """
    kept = os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(num_kernels(num_rows)))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(PACK_SHAPES))
    return int(kept) if kept.isdigit() else MOST_KERNELS
