"""Two workers take the step that one takes, hold the same weights, and go on after a stop as if it had not been."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from postil.config import AdapterConfig
from postil.data.examples import Example
from postil.errors import Stopped
from postil.events import ShouldStop, ignore, never
from postil.models.adapter import add_adapter, trainable_parameters
from postil.models.fused_lora import fused_lora
from postil.models.packed import packed_attention
from postil.testing.tiny import ARCHITECTURES, make_tiny_model
from postil.training.batches import make_batches
from postil.training.loop import train_adapter
from postil.training.state import forward_backward, make_state
from postil.training.workers import ALONE, Workers, joined_workers
from tests.invariants.rows import ADAPTER, make_kindred_rows, make_rows, settings, with_adapter

KINDRED = make_kindred_rows()
ODD = make_rows(9)  # four rows a step: the last step of an epoch has one, and leaves a worker without
DROPOUT = AdapterConfig(rank=4, alpha=8, dropout=0.2)


def load_base(directory: Path, name: str) -> PreTrainedModel:
    """One of the models that were made before the workers began."""
    model = AutoModelForCausalLM.from_pretrained(directory.parent / "bases" / name, dtype=torch.float32)
    return model.requires_grad_(False).eval()


def first_gradients(directory: Path, name: str, workers: Workers) -> dict[str, Tensor]:
    """Gradients and loss of one step over rows that share their beginnings."""
    state = make_state(with_adapter(load_base(directory, name)), settings())
    batches = make_batches(
        KINDRED,
        batch_rows=len(KINDRED),
        max_tokens_per_pack=10**6,
        seed=0,
        steps=1,
        shares=True,
        worker=workers.rank,
        num_workers=workers.size,
    )
    with packed_attention(state.model), fused_lora(state.model):
        found = workers.sum_step(state.parameters, forward_backward(state, next(batches)))
    gradients = {n: p.grad for n, p in state.parameters.items() if p.grad is not None}
    return {**gradients, "loss": torch.tensor(found.loss)}


def train(
    directory: Path,
    workers: Workers,
    rows: Sequence[Example],
    adapter: AdapterConfig,
    run: str,
    *,
    should_stop: ShouldStop = never,
    resume: bool = False,
) -> dict[str, Tensor]:
    """Weights after six steps, and the mean loss of the last epoch's."""
    model = add_adapter(load_base(directory, "qwen3"), adapter, seed=1)
    result = train_adapter(
        model,
        rows,
        config=settings(),
        run_dir=directory / f"{run}-{workers.rank}",
        data_hash="data",
        config_hash="config",
        report=ignore,
        should_stop=should_stop,
        evaluate=None,
        evaluate_every=1,
        resume=resume,
        workers=workers,
    )
    weights = {n: p.detach().clone() for n, p in trainable_parameters(model).items()}
    return {**weights, "loss": torch.tensor(result.train_loss, dtype=torch.float64)}


def work(directory: Path, workers: Workers) -> None:
    """All that the tests compare, computed by whoever is here, into one file for each worker."""
    found = {f"{name}/{n}": t for name in ARCHITECTURES for n, t in first_gradients(directory, name, workers).items()}
    found |= {f"odd/{n}": t for n, t in train(directory, workers, ODD, ADAPTER, "odd").items()}
    found |= {f"whole/{n}": t for n, t in train(directory, workers, ODD, DROPOUT, "whole").items()}
    asked = iter([False, False, workers.is_first])  # the others are not asked
    try:
        train(directory, workers, ODD, DROPOUT, "parts", should_stop=lambda: next(asked))
    except Stopped as stopped:
        found["stopped_at"] = torch.tensor(stopped.values["step"])
    found |= {f"parts/{n}": t for n, t in train(directory, workers, ODD, DROPOUT, "parts", resume=True).items()}
    save_file({n: t.contiguous() for n, t in found.items()}, directory / f"worker-{workers.rank}.safetensors")


def share(directory: Path, workers: Workers) -> None:
    """What the first hands out, as each of them has it."""
    text = workers.share_text("温度 = 0.7" if workers.is_first else "")
    rows = workers.share_rows(KINDRED if workers.is_first else ())
    seen = {"text": text, "rows": [[list(row.input_ids), list(row.labels)] for row in rows]}
    (directory / f"shared-{workers.rank}.json").write_text(json.dumps(seen), "utf-8")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two workers, started by torchrun, and one alone have done the same."""
    root = tmp_path_factory.mktemp("workers")
    for name in ARCHITECTURES:
        make_tiny_model(root / "bases" / name, name, vocab_size=10240)
    alone, directory = root / "alone", root / "together"
    alone.mkdir()
    directory.mkdir()
    work(alone, ALONE)
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "tests.invariants.test_workers",
    ]
    done = subprocess.run(
        [sys.executable, *command, str(directory)],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return directory


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_two_workers_take_the_step_of_one(directory: Path, name: str) -> None:
    one = part(load_file(directory.parent / "alone" / "worker-0.safetensors"), name)
    for rank in (0, 1):
        two = part(load_file(directory / f"worker-{rank}.safetensors"), name)
        assert two.keys() == one.keys()
        assert abs(float(two.pop("loss")) - float(one["loss"])) < 1e-5
        flat, expected = (torch.cat([found[n].flatten().double() for n in sorted(two)]) for found in (two, one))
        assert torch.cosine_similarity(flat, expected, dim=0) > 0.99999
        assert torch.allclose(flat, expected, rtol=1e-3, atol=1e-6)


def test_a_step_with_fewer_rows_than_workers_is_whole(directory: Path) -> None:
    one, first, second = (
        part(load_file(path), "odd")
        for path in (directory.parent / "alone" / "worker-0.safetensors", *worker_files(directory))
    )
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert abs(float(first.pop("loss")) - float(one["loss"])) < 1e-4
    apart = torch.cat([(first[n] - one[n]).flatten() for n in first]).norm()
    # Adam makes whole steps of gradients that are nothing but rounding: weights agree less closely than gradients do
    assert float(apart) < 0.02 * float(torch.cat([one[n].flatten() for n in first]).norm())


def test_stopped_workers_go_on_as_if_nothing_had_been(directory: Path) -> None:
    for path in worker_files(directory):
        found = load_file(path)
        assert int(found["stopped_at"]) == 3
        whole, parts = part(found, "whole"), part(found, "parts")
        assert whole.keys() == parts.keys() and all(torch.equal(whole[n], parts[n]) for n in whole)


def test_only_the_first_writes(directory: Path) -> None:
    assert {p.name for p in directory.iterdir() if p.is_dir()} == {"odd-0", "whole-0", "parts-0"}
    first, second = (json.loads((directory / f"shared-{rank}.json").read_text("utf-8")) for rank in (0, 1))
    assert first == second
    assert first["text"] == "温度 = 0.7"
    assert first["rows"] == [[list(row.input_ids), list(row.labels)] for row in KINDRED]


def part(found: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those under `name/`."""
    return {n.removeprefix(f"{name}/"): t for n, t in found.items() if n.startswith(f"{name}/")}


def worker_files(directory: Path) -> list[Path]:
    return [directory / f"worker-{rank}.safetensors" for rank in (0, 1)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined_workers() as joined:
        work(Path(sys.argv[1]), joined)
        share(Path(sys.argv[1]), joined)
