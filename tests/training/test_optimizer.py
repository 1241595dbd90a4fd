"""Rates of each step, clipping, and state that comes back."""

import platform

import pytest
import torch
from torch import nn

from postil.errors import DataError
from postil.training.allocator import keep_freed_memory
from postil.training.optimizer import (
    clip_gradients,
    learning_rate_at,
    load_optimizer_state,
    make_optimizer,
    optimizer_state,
)


def test_linear_rises_and_falls_to_zero_after_the_last_step() -> None:
    rates = [learning_rate_at(step, 6, 1.0, 2, "linear") for step in range(1, 7)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])


def test_cosine_and_constant() -> None:
    cosine = [learning_rate_at(step, 5, 2.0, 1, "cosine") for step in range(1, 6)]
    assert cosine[:2] == [2.0, 2.0] and cosine[3] == pytest.approx(1.0)
    assert cosine[1:] == sorted(cosine[1:], reverse=True) and cosine[-1] > 0
    assert [learning_rate_at(step, 3, 2.0, 0, "constant") for step in (1, 2, 3)] == [2.0] * 3


def test_warm_up_longer_than_the_run_stays_below_the_peak() -> None:
    assert [learning_rate_at(step, 2, 1.0, 4, "linear") for step in (1, 2)] == [0.25, 0.5]


def test_clipping_returns_the_length_before() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients({"w": parameter}, 1.0) == pytest.approx(5.0)
    assert float(parameter.grad.norm()) == pytest.approx(1.0, abs=1e-4)


def test_state_comes_back() -> None:
    def stepped(times: int) -> tuple[dict[str, nn.Parameter], torch.optim.AdamW]:
        parameters = {"a": nn.Parameter(torch.ones(3)), "b": nn.Parameter(torch.ones(2, 2))}
        optimizer = make_optimizer(parameters, betas=(0.9, 0.95), weight_decay=0.1)
        for _ in range(times):
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            for parameter in parameters.values():
                parameter.grad = parameter.detach() * 0.5
            optimizer.step()
        return parameters, optimizer

    parameters, optimizer = stepped(2)
    saved = optimizer_state(optimizer, parameters)
    assert set(saved) == {f"{kind}:{name}" for kind in ("step", "exp_avg", "exp_avg_sq") for name in ("a", "b")}
    fresh, other = stepped(0)
    assert optimizer_state(other, fresh) == {}
    load_optimizer_state(other, fresh, saved)
    assert all(torch.equal(t, saved[name]) for name, t in optimizer_state(other, fresh).items())
    with pytest.raises(DataError):
        load_optimizer_state(other, {"a": nn.Parameter(torch.ones(4))}, saved)


def test_a_parameter_that_never_had_a_gradient_has_no_moments() -> None:
    parameters = {"a": nn.Parameter(torch.ones(3)), "unreached": nn.Parameter(torch.ones(2))}
    optimizer = make_optimizer(parameters, betas=(0.9, 0.95), weight_decay=0.0)
    parameters["a"].grad = torch.ones(3)
    optimizer.step()
    saved = optimizer_state(optimizer, parameters)
    other = make_optimizer(parameters, betas=(0.9, 0.95), weight_decay=0.0)
    load_optimizer_state(other, parameters, saved)
    assert optimizer_state(other, parameters).keys() == saved.keys()
    with pytest.raises(DataError):
        load_optimizer_state(other, {"unreached": parameters["unreached"]}, saved)


def test_the_allocator_is_told_without_complaint() -> None:
    assert keep_freed_memory() is (platform.libc_ver()[0] == "glibc")
    assert torch.ones(1_000_000).sum() == 1_000_000
