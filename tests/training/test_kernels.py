"""Kernels are bounded, not their results. What is kept is decided once in a process, so that each case has its own."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from postil.models.memory import FEWEST_KERNELS, MOST_KERNELS
from postil.training.kernels import keep_few_kernels

COMPUTE = """
import hashlib, json, sys
import psutil, torch
from postil.training.kernels import keep_few_kernels

kept = keep_few_kernels(8) if sys.argv[1] == "few" else 0
torch.set_num_threads(1)
torch.manual_seed(0)
weight = torch.randn(192, 192, dtype=torch.bfloat16)
torch.nn.functional.linear(torch.ones(3, 192, dtype=torch.bfloat16), weight)
before = psutil.Process().memory_info().rss
results = hashlib.sha256()
for tokens in [*range(100, 800), 100]:
    result = torch.nn.functional.linear(torch.ones(tokens, 192, dtype=torch.bfloat16), weight)
    results.update(result.view(torch.int16).numpy().tobytes())
print(json.dumps([kept, psutil.Process().memory_info().rss - before, results.hexdigest()]))
"""


def computed(kernels: str, **settings: str) -> list[Any]:
    """How many kernels are kept, bytes grown over 700 shapes, and what was computed."""
    ours = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | settings
    ended = subprocess.run(
        [sys.executable, "-c", COMPUTE, kernels], capture_output=True, text=True, check=True, env=environment
    )
    found: list[Any] = json.loads(ended.stdout)
    return found


def test_many_shapes_take_little_memory_and_give_the_same() -> None:
    kept, grown, results = computed("few")
    _, grown_unbounded, expected = computed("all")
    assert kept == FEWEST_KERNELS and results == expected
    assert grown < 250e6
    if grown_unbounded > 250e6:  # elsewhere this processor computes bf16 without kernels of one shape
        assert grown < 0.6 * grown_unbounded


def test_what_the_user_has_set_stays() -> None:
    assert computed("few", ONEDNN_PRIMITIVE_CACHE_CAPACITY="700")[0] == 700


@pytest.mark.parametrize(("num_rows", "kept"), [(1, 256), (16, 256), (32, 448), (64, 832), (500, MOST_KERNELS)])
def test_large_steps_keep_what_they_need(monkeypatch: pytest.MonkeyPatch, num_rows: int, kept: int) -> None:
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)
    assert keep_few_kernels(num_rows) == kept
