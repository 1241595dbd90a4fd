"""Several processes that train one adapter together, as `torchrun` starts them.

Each has the whole base and the whole adapter. Of every step's rows each computes its own; the gradients are summed in
one exchange, after which all take the same step with the same numbers. The first worker alone reads the data, measures,
saves and speaks: rows, settings and the state to begin with come from it, so that the others need nothing but the base.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import accumulate, pairwise

import torch
from torch import Tensor, distributed, nn

from postil.data.examples import Example
from postil.errors import TryAgainError, UnavailableError
from postil.events import ShouldStop
from postil.problems import Place
from postil.training.state import StepLoss, TrainingState

PATIENCE = timedelta(days=1)
"""How long the others wait while the first reads, measures or saves; where one has died, `torchrun` ends the rest."""


@dataclass(frozen=True, slots=True)
class Workers:
    """This process among those that train together.

    Args:
        rank: 0 ... size - 1; 0 is the first.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """The one that reads, measures, saves and speaks."""
        return self.rank == 0

    def share_text(self, text: str = "") -> str:
        """The first worker's text, for all."""
        if self.size == 1:
            return text
        content = torch.tensor(list(text.encode()), dtype=torch.uint8)
        return bytes(_share_tensor(content, self.is_first).numpy()).decode()

    def share_rows(self, rows: Sequence[Example] = ()) -> Sequence[Example]:
        """The first worker's rows, for all; where they stand in the user's file only the first knows."""
        if self.size == 1:
            return rows
        columns = (
            [len(row.input_ids) for row in rows],
            [token for row in rows for token in row.input_ids],
            [label for row in rows for label in row.labels],
        )
        shared = [_share_tensor(torch.tensor(column, dtype=torch.int64), self.is_first) for column in columns]
        if self.is_first:
            return rows
        lengths, ids, trained = (tensor.tolist() for tensor in shared)
        ends = pairwise(accumulate(lengths, initial=0))
        return [Example(Place(""), tuple(ids[start:end]), tuple(trained[start:end])) for start, end in ends]

    def share_state(self, state: TrainingState) -> None:
        """Everybody goes on from where the first worker stands.

        Raises:
            UnavailableError: there are more workers on this machine than GPUs that they train on.
        """
        if self.size == 1:
            return
        _refuse_shared_gpu(next(iter(state.parameters.values())).device)
        state.step = int(_share_tensor(torch.tensor([state.step]), self.is_first))
        for parameter in state.parameters.values():
            _broadcast(parameter.data)
            if state.step:
                moments = state.optimizer.state[parameter]
                for kind in ("exp_avg", "exp_avg_sq"):
                    moments.setdefault(kind, torch.zeros_like(parameter))
                    _broadcast(moments[kind])
                moments["step"] = torch.tensor(float(state.step), device=parameter.device)

    def sum_step(self, parameters: Mapping[str, nn.Parameter], own: StepLoss) -> StepLoss:
        """Sums gradients and loss over all workers, in one exchange.

        Args:
            own: of this worker's rows, divided by the trained tokens of the whole step already, as the gradients are.

        Returns:
            The step's.
        """
        if self.size == 1:
            return own
        for parameter in parameters.values():
            if parameter.grad is None:  # no row of this step fell to this worker
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters.values() if p.grad is not None]
        loss = torch.tensor([own.loss], device=gradients[0].device)
        everything = torch.cat([*(g.flatten() for g in gradients), loss])
        with _others():
            distributed.all_reduce(everything)
        *summed, total = everything.split([g.numel() for g in gradients] + [1])
        torch._foreach_copy_(gradients, [s.view_as(g) for s, g in zip(summed, gradients, strict=True)])
        return replace(own, loss=float(total))

    def asked_together(self, should_stop: ShouldStop) -> ShouldStop:
        """A `should_stop` that says on all workers what the first one's says."""
        if self.size == 1:
            return should_stop

        def ask() -> bool:
            return self.share_text("stop" if self.is_first and should_stop() else "") == "stop"

        return ask


ALONE = Workers()


@contextmanager
def _others() -> Iterator[None]:
    """Around whatever needs all workers.

    Raises:
        TryAgainError: one of them is gone.
    """
    try:
        yield
    except RuntimeError as error:
        raise TryAgainError("training.worker_gone", reason=str(error).splitlines()[0]) from error


def _broadcast(tensor: Tensor) -> None:
    """The first worker's numbers, in place."""
    with _others():
        distributed.broadcast(tensor, src=0)


def _share_tensor(tensor: Tensor, is_first: bool) -> Tensor:
    """The first worker's tensor of one dimension, on the CPU."""
    length = torch.tensor([len(tensor)])
    _broadcast(length)
    shared = tensor if is_first else torch.empty(int(length), dtype=tensor.dtype)
    _broadcast(shared)
    return shared


def _refuse_shared_gpu(device: torch.device) -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.type == "cuda" and here > torch.cuda.device_count():
        raise UnavailableError("training.too_few_gpus", workers=here, gpus=torch.cuda.device_count())


@contextmanager
def joined_workers() -> Iterator[Workers]:
    """Meets the other processes of a `torchrun`; alone without one. Each takes the GPU of its number, where there are.

    Raises:
        TryAgainError: the others are not to be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not distributed.is_available():
        yield ALONE
        return
    has_gpus, own = torch.cuda.is_available(), int(os.environ.get("LOCAL_RANK", "0"))
    if has_gpus and own < torch.cuda.device_count():
        torch.cuda.set_device(own)
    with _others():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if has_gpus else "gloo", timeout=PATIENCE)
    try:
        yield Workers(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
