"""One base in memory with many adapters, a different one for each row of a batch.

    set = AdapterSet(base.model)
    set.attach("a1", read_adapter(folder, set.layer_shapes))
    with set.answering(["a1", None, "a2"]):      rows of the batch, None for the bare base; equal names side by side
        model(...)

A plain LoRA is added to the outputs of the layers it belongs to, in the order and precision in which PEFT adds it, so a
row is what it is with PEFT alone. A batch of one new token a row multiplies each row by itself (bmm): what a row's
neighbours are changes no bit of this sum.

DoRA, adapters of embeddings and trained biases change more than a sum. PEFT computes those, and their rows are a batch
of their own: `is_mixable` says which is which.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from postil.errors import DataError
from postil.models.adapter_checks import CheckedAdapter

_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two matrices beside one layer: A (rank, inputs), B (outputs, rank), fp32."""

    a: Tensor
    b: Tensor
    scale: float

    def change(self, x: Tensor) -> Tensor:
        """What is added to the layer's outputs; x is (rows, tokens, inputs)."""
        x = x.to(self.a.dtype)
        if x.dim() == 3 and x.shape[1] == 1:
            return _each(_each(x, self.a), self.b) * self.scale
        return F.linear(F.linear(x, self.a), self.b) * self.scale


def _each(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x, weight.t().expand(x.shape[0], -1, -1))


@dataclass(frozen=True, slots=True)
class _Attached:
    """One adapter in memory.

    Args:
        pairs: by layer; empty where PEFT computes it.
        biases: by the base's parameter names; put in while its rows are computed.
        peft_name: what PEFT calls it; None where PEFT has no part in it.
    """

    pairs: dict[str, _Pair]
    biases: dict[str, Tensor]
    peft_name: str | None
    num_bytes: int


class AdapterSet:
    """The adapters of one base. Not thread-safe: whoever computes also attaches and detaches.

    Args:
        model: the base, frozen; its weights stay as they are.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self._layers: dict[str, nn.Module] = {
            name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Embedding | Conv1D)
        }
        self._attached: dict[str, _Attached] = {}
        self._plan: tuple[tuple[slice, dict[str, _Pair]], ...] = ()
        self._hooked: set[str] = set()
        self._num_injected = 0

    @property
    def layer_shapes(self) -> dict[str, tuple[int, int]]:
        """(outputs, inputs) of every layer that can carry an adapter; what `read_adapter` compares with."""
        return {name: _shape(layer) for name, layer in self._layers.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._attached

    def num_bytes(self, name: str) -> int:
        """Memory that one adapter takes."""
        return self._attached[name].num_bytes

    def is_mixable(self, name: str | None) -> bool:
        """True when its rows may share a forward pass with rows of the base and of other mixable adapters."""
        return name is None or (self._attached[name].peft_name is None and not self._attached[name].biases)

    def attach(self, name: str, checked: CheckedAdapter) -> None:
        """Takes an adapter in; one of the same name is replaced.

        Raises:
            DataError: the adapter is not what PEFT can put on this base.
        """
        tensors = {n.removeprefix(_PREFIX): t.to(self.model.device) for n, t in load_tensors(checked.content).items()}
        biases = {n: t for n, t in tensors.items() if n in checked.biases}
        self._refuse_other_biases(checked, biases)
        num_bytes = sum(t.numel() * max(4, t.element_size()) for t in tensors.values())
        if self._is_plain(checked):
            attached = _Attached(_pairs(checked, tensors), biases, None, num_bytes)
        else:
            matrices = {n: t for n, t in tensors.items() if n not in biases}
            attached = _Attached({}, biases, self._inject(checked, matrices), num_bytes)
        self.detach(name)
        self._attached[name] = attached
        for layer in attached.pairs.keys() - self._hooked:
            self._layers[layer].register_forward_hook(_make_hook(self, layer))
            self._hooked.add(layer)

    def detach(self, name: str) -> None:
        """Forgets an adapter; an unknown name is none."""
        attached = self._attached.pop(name, None)
        if attached is not None and attached.peft_name is not None:
            self._take_out(attached.peft_name)

    @contextmanager
    def answering(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within it the rows of a batch are computed with these adapters.

        Args:
            names: one a row, equal ones side by side; more than one kind only where all are mixable.
        """
        kinds = {name for name in names if name is not None}
        solo = [self._attached[name] for name in kinds if not self.is_mixable(name)]
        assert not solo or len(set(names)) == 1
        self._plan = self._planned(names)
        try:
            with self._alone(solo[0] if solo else None):
                yield
        finally:
            self._plan = ()

    def _planned(self, names: Sequence[str | None]) -> tuple[tuple[slice, dict[str, _Pair]], ...]:
        plan, at = [], 0
        for name, rows in groupby(names):
            length = len(list(rows))
            if name is not None and self._attached[name].pairs:
                plan.append((slice(at, at + length), self._attached[name].pairs))
            at += length
        return tuple(plan)

    def _change(self, layer: str, x: Tensor, output: Tensor) -> Tensor:
        """The layer's output with every row's adapter added."""
        for rows, pairs in self._plan:
            if pair := pairs.get(layer):
                if rows.stop - rows.start == output.shape[0]:
                    return (output + pair.change(x)).to(output.dtype)
                output[rows] = (output[rows] + pair.change(x[rows])).to(output.dtype)
        return output

    @contextmanager
    def _alone(self, attached: _Attached | None) -> Iterator[None]:
        """Within it PEFT's part of one adapter is on, and its biases are the base's."""
        if attached is None:
            yield
            return
        parameters = dict(self.model.named_parameters())
        before = {name: parameters[name].data for name in attached.biases}
        try:
            for name, bias in attached.biases.items():
                parameters[name].data = bias.to(before[name].dtype)
            self._switch(attached.peft_name)
            yield
        finally:
            self._switch(None)
            for name, bias in before.items():
                parameters[name].data = bias

    def _switch(self, peft_name: str | None) -> None:
        for layer in self._peft_layers():
            layer.set_adapter([] if peft_name is None else [peft_name], inference_mode=True)

    def _peft_layers(self) -> list[BaseTunerLayer]:
        return [m for m in self.model.modules() if isinstance(m, BaseTunerLayer)]

    def _is_plain(self, checked: CheckedAdapter) -> bool:
        return not checked.use_dora and all(isinstance(self._layers[name], nn.Linear) for name in checked.ranks)

    def _refuse_other_biases(self, checked: CheckedAdapter, biases: dict[str, Tensor]) -> None:
        own = {n: p.shape for n, p in self.model.named_parameters() if n in biases}
        wrong = sorted(n for n, t in biases.items() if own.get(n) != t.shape)
        if wrong:
            raise DataError("adapter.no_such_layer", path=checked.directory, layer=wrong[0])

    def _inject(self, checked: CheckedAdapter, tensors: dict[str, Tensor]) -> str:
        """Lets PEFT put the adapter on; returns PEFT's name for it."""
        self._num_injected += 1
        name = f"injected{self._num_injected}"
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=checked.rank,
            lora_alpha=checked.rank,
            target_modules=sorted(checked.ranks),
            rank_pattern={re.escape(layer): rank for layer, rank in checked.ranks.items()},
            use_dora=checked.use_dora,
            fan_in_fan_out=checked.fan_in_fan_out,
            inference_mode=True,
            init_lora_weights=True,
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there are several adapters is what this is for
                inject_adapter_in_model(config, self.model, name)
            self._settle(name, checked)
            found: Any = set_peft_model_state_dict(self.model, {f"{_PREFIX}{n}": t for n, t in tensors.items()}, name)
            if found.unexpected_keys:
                raise KeyError(found.unexpected_keys[0])
        except (ValueError, RuntimeError, KeyError) as error:
            self._take_out(name)
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError("adapter.does_not_fit", path=checked.directory, reason=reason) from error
        return name

    def _take_out(self, peft_name: str) -> None:
        for layer in self._peft_layers():
            layer.delete_adapter(peft_name)
        cast(dict[str, Any], self.model.peft_config).pop(peft_name, None)

    def _settle(self, name: str, checked: CheckedAdapter) -> None:
        """Exact scales, fp32 before the tensors come in, no gradients; off until its rows are computed."""
        for full, module in self.model.named_modules():
            if isinstance(module, LoraLayer) and name in module.scaling:
                module.scaling[name] = checked.scales[full]
        for full, parameter in self.model.named_parameters():
            if f".{name}" in full:
                parameter.data = parameter.data.float()
                parameter.requires_grad_(False)
        self.model.eval()
        self._switch(None)


def _make_hook(adapters: AdapterSet, layer: str) -> Any:
    def add_change(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return adapters._change(layer, inputs[0], output) if adapters._plan else output

    return add_change


def _pairs(checked: CheckedAdapter, tensors: dict[str, Tensor]) -> dict[str, _Pair]:
    return {
        layer: _Pair(
            tensors[f"{layer}.lora_A.weight"].float().contiguous(),
            tensors[f"{layer}.lora_B.weight"].float().contiguous(),
            checked.scales[layer],
        )
        for layer in checked.ranks
    }


def _shape(layer: nn.Module) -> tuple[int, int]:
    """(outputs, inputs); an embedding turns an entry of its table into a vector, and Conv1D is stored turned."""
    first, second = cast(Tensor, layer.weight).shape
    return (int(second), int(first)) if isinstance(layer, nn.Embedding | Conv1D) else (int(first), int(second))
