"""The choice of device and dtype, case by case; what this machine has is only looked at for consistency."""

import subprocess
import sys

import pytest
import torch

from postil.errors import UnavailableError
from postil.models.devices import DeviceFacts, choose_device, peak_memory_bytes, probe_devices

PLAIN = DeviceFacts()
MODERN_CPU = DeviceFacts(cpu_bf16=True)
GPU = DeviceFacts(cuda=True, cuda_bf16=True, cpu_bf16=True)
OLD_GPU = DeviceFacts(cuda=True)
MAC = DeviceFacts(mps=True, mps_bf16=True)
OLD_MAC = DeviceFacts(mps=True)


@pytest.mark.parametrize(
    ("facts", "requested", "dtype", "expected"),
    [
        (PLAIN, "auto", "auto", ("cpu", "fp32")),
        (MODERN_CPU, "auto", "auto", ("cpu", "bf16")),
        (GPU, "auto", "auto", ("cuda", "bf16")),
        (OLD_GPU, "auto", "auto", ("cuda", "fp32")),
        (MAC, "auto", "auto", ("mps", "bf16")),
        (OLD_MAC, "auto", "auto", ("mps", "fp32")),
        (GPU, "cpu", "auto", ("cpu", "bf16")),
        (OLD_GPU, "cuda", "fp16", ("cuda", "fp16")),
        (MAC, "mps", "fp16", ("mps", "fp16")),
        (GPU, "cuda", "fp32", ("cuda", "fp32")),
        (PLAIN, "cpu", "bf16", ("cpu", "bf16")),
        (MAC, "cpu", "auto", ("cpu", "fp32")),
    ],
)
def test_choice(facts: DeviceFacts, requested: str, dtype: str, expected: tuple[str, str]) -> None:
    choice = choose_device(requested, dtype, facts)
    assert (choice.device, choice.dtype) == expected
    assert choice.dtype_bytes == (4 if expected[1] == "fp32" else 2)
    assert choice.measured is (expected[0] != "mps")


@pytest.mark.parametrize(
    ("facts", "requested", "dtype", "key"),
    [
        (PLAIN, "cuda", "auto", "models.no_cuda"),
        (GPU, "mps", "auto", "models.no_mps"),
        (PLAIN, "cpu", "fp16", "models.dtype_not_on_device"),
        (OLD_GPU, "cuda", "bf16", "models.dtype_not_on_device"),
        (OLD_MAC, "mps", "bf16", "models.dtype_not_on_device"),
    ],
)
def test_what_is_not_here_is_refused_not_replaced(facts: DeviceFacts, requested: str, dtype: str, key: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        choose_device(requested, dtype, facts)
    assert caught.value.key == key
    assert caught.value.exit_code == 69
    assert caught.value.hint


def test_the_peak_of_memory_stays_when_the_memory_is_given_back() -> None:
    before = peak_memory_bytes("cpu")
    block = torch.ones(100_000_000)  # 400 MB
    held = peak_memory_bytes("cpu")
    del block
    after = peak_memory_bytes("cpu")
    assert before is not None and held is not None and after is not None
    about = 1e6  # the kernel counts pages in batches
    assert 100e6 < before < held + about and held > 400e6
    assert held - about < after < held + about


def test_the_peak_is_this_process_own_and_not_that_of_whoever_started_it() -> None:
    block = torch.ones(200_000_000)  # 800 MB, which getrusage would tell a child of as its own
    code = "from postil.models.devices import peak_memory_bytes as peak; print(peak('cpu'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert block.sum() > 0 and 1e6 < int(found.stdout) < 400e6


def test_facts_of_this_machine_agree_with_torch() -> None:
    facts = probe_devices()
    assert facts.cuda == torch.cuda.is_available()
    assert facts.mps == torch.backends.mps.is_available()
    assert (facts.cuda_free_bytes > 0) == facts.cuda
    choice = choose_device("auto", "auto", facts)
    torch.ones(2, dtype=torch.bfloat16 if choice.dtype == "bf16" else torch.float32, device=choice.device).sum().item()
