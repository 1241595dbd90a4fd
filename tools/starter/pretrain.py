"""Trains the starter: seeded, resumable bit for bit, its schedule in tokens.

    python -m tools.starter.pretrain --corpus DIR --tokenizer DIR --out DIR --tokens 66e6

Warm-up, constant, then linear to zero over the last `--decay` of the tokens, so `--tokens` can still be changed while
the rate is constant. A checkpoint every `--save-minutes`, written beside and moved into place; the same command goes on
from it. `--continue-from DIR` starts from an exported model instead of random weights. On Linux glibc gives large
blocks back after every step; the tunables set by `make starter` save a quarter of the time.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from tools.starter import corpus, export, network

WARMUP_STEPS = 100


def lr_factor(step: int, steps: int, decay: float) -> float:
    """Share of the peak learning rate at `step` of `steps`: warm-up, constant, linear to zero over the last `decay`."""
    remaining = 1 - step / steps
    return min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, remaining / decay)


def start_model(vocab_size: int, seed: int, continue_from: Path | None) -> Qwen3ForCausalLM:
    """Random weights, or those of an exported model taken back out of the export's gauge."""
    if continue_from is None:
        return network.build_model(vocab_size, seed)
    model = Qwen3ForCausalLM.from_pretrained(continue_from, dtype=torch.float32, attn_implementation="sdpa")
    export.rescale(model, 1 / export.SCALE)
    return model


def save_checkpoint(
    path: Path, model: Qwen3ForCausalLM, optimizers: list[torch.optim.Optimizer], mixture: corpus.Mixture, step: int
) -> None:
    """Writes the whole state beside `path` and moves it into place, so a cut never leaves half a file."""
    beside = path.with_suffix(".new")
    state = {
        "model": model.state_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
        "mixture": mixture.state(),
        "step": step,
    }
    torch.save(state, beside)
    os.replace(beside, path)


def load_checkpoint(
    path: Path, model: Qwen3ForCausalLM, optimizers: list[torch.optim.Optimizer], mixture: corpus.Mixture
) -> int:
    """Takes up a checkpoint and returns its step."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, values in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    mixture.restore(state["mixture"])
    return int(state["step"])


def say_now(line: str) -> None:
    """Prints at once, so that a log can be followed."""
    print(line, flush=True)


def pretrain(args: argparse.Namespace, say: Callable[[str], None] = say_now) -> Qwen3ForCausalLM:
    """Trains until the token count is reached or `args.minutes` are over; returns the model as it then is."""
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    streams = corpus.token_streams(args.corpus, tokenizer, args.out / "tokens.npz", args.seed)
    shares = corpus.mixture_shares(streams, args.chat_share, args.lexicon_share)
    mixture = corpus.Mixture(streams, shares, args.length, args.seed)
    model = start_model(tokenizer.get_vocab_size(), args.seed, args.continue_from)
    optimizers = network.make_optimizers(model, args.muon_lr, args.adam_lr)
    checkpoint = args.out / "last.pt"
    step = load_checkpoint(checkpoint, model, optimizers, mixture) if checkpoint.exists() else 0
    steps = int(args.tokens / (args.rows * args.length))
    say(f"{ {name: len(ids) for name, ids in streams.items()} } from step {step} of {steps}")
    started = saved = time.monotonic()
    first, average = step, None
    while step < steps and time.monotonic() - started < args.minutes * 60:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * lr_factor(step, steps, args.decay)
        windows = torch.from_numpy(mixture.next_batch(args.rows))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = network.next_token_loss(model, windows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        step += 1
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if step % 50 == 0:
            rate = (step - first) * args.rows * args.length / (time.monotonic() - started)
            say(f"step {step}/{steps} loss {average:.3f} {rate:.0f} tokens/s")
        if time.monotonic() - saved > args.save_minutes * 60:
            save_checkpoint(checkpoint, model, optimizers, mixture, step)
            saved = time.monotonic()
    save_checkpoint(checkpoint, model, optimizers, mixture, step)
    return model


def add_arguments(parser: argparse.ArgumentParser, tokenizer_required: bool = True) -> None:
    """The settings of a run; the defaults are those of a run from scratch."""
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=tokenizer_required)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--continue-from", type=Path)
    parser.add_argument("--tokens", type=float, default=66e6)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="bound of this run; it can be continued")
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--length", type=int, default=512, help="tokens of a window")
    parser.add_argument("--rows", type=int, default=8, help="windows of a step")
    parser.add_argument(
        "--decay", type=float, default=0.5, help="share of the tokens over which the rate falls to zero"
    )
    parser.add_argument("--chat-share", type=float, default=0.25)
    parser.add_argument("--lexicon-share", type=float, default=0.04)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--bf16", action="store_true", help="autocast; faster only where the CPU has bf16 instructions")
    parser.add_argument("--seed", type=int, default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    pretrain(parser.parse_args())


if __name__ == "__main__":
    main()
