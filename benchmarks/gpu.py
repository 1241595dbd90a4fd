"""What benchmarks/gpu.sh runs beside `benchmarks.step`: exactness on a GPU, and the step of a model of 8B's shape (B8).

    python -m benchmarks.gpu exactness [--json FILE]
    python -m benchmarks.gpu b8 [--tokens 32768] [--pack 8192] [--json FILE]

Exactness compares loss and gradient of Postil's first step with plain PEFT's, a row at a time, in fp32 and bf16, with a
shared prompt and without. B8 trains rows of 512 tokens that share nothing, half of them supervised, on random weights
made on the GPU; MFU is told of the card's nominal rate and of the rate of its matrix products in the same run.
"""

import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arms.postil_loop import examples_of, run_config, run_loop
from benchmarks.arms.recording import Figures, peak_bytes
from benchmarks.figures import Figure, parser_of, tell
from benchmarks.flops import gemm_rate, minimal_work
from benchmarks.prefix import NUM_ROWS, RANK, RATE, SEED, exactness, in_turns, make_task
from benchmarks.workload import B1, B2, CACHE, IGNORED, Lengths, Row, Shape, make_rows

LLAMA_8B = Shape(layers=32, hidden=4096, heads=32, key_heads=8, ffn=14336, vocabulary=128256)
TINY = Shape(layers=2, hidden=64, heads=4, key_heads=2, ffn=128, vocabulary=512)
ROW_TOKENS, STEPS, MFU_BAR = 512, 4, 0.5
NOMINAL_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bf16, as their makers say."""


def exact(device: str, layers: int) -> list[Figure]:
    """Both precisions, with a prompt and without."""
    figures = []
    for dtype in ("fp32", "bf16"):
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            task = make_task(Shape().at_depth(layers), dtype, device, Path(folder))
            for lengths in (B2, B1, Lengths(600)):
                rows = make_rows(NUM_ROWS, lengths, Path(task.model_dir))
                (found,) = in_turns(task, [rows], Path(folder))
                name = f"{dtype}, {lengths.prompt} prompt tokens"
                figures += exactness(name, task, rows, found)
                print(name, found.remarks or "", flush=True)
    return figures


def random_rows(num_rows: int, tokens: int, vocabulary: int) -> list[Row]:
    """Nothing shared, the second half supervised."""
    rng = random.Random(SEED)
    rows = []
    for _ in range(num_rows):
        ids = [rng.randrange(vocabulary) for _ in range(tokens)]
        rows.append(Row([], ids, [IGNORED] * (tokens // 2) + ids[tokens // 2 :]))
    return rows


def big_step(shape: Shape, device: str, tokens: int, pack: int) -> list[Figure]:
    """B8."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from postil.models.adapter import add_adapter

    rows = random_rows(tokens // ROW_TOKENS, ROW_TOKENS, shape.vocabulary)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        task = make_task(Shape().at_depth(1), "bf16", device, Path(folder))
        config = run_config(task).replace(
            {
                "adapter.rank": RANK,
                "training.batch_rows": len(rows),
                "training.max_steps": STEPS,
                "training.max_tokens_per_pack": pack,
                "training.learning_rate": RATE,
            }
        )
        wanted = AutoConfig.for_model(
            "llama",
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_heads,
            head_dim=shape.head_size,
            intermediate_size=shape.ffn,
            vocab_size=shape.vocabulary,
            bos_token_id=None,
            eos_token_id=None,
        )
        with torch.device(device):
            base = AutoModelForCausalLM.from_config(wanted, dtype=torch.bfloat16)
        base = base.requires_grad_(False).eval()
        model, figures = add_adapter(base, config.adapter, SEED), Figures()
        run_loop(model, examples_of(rows), config.training, Path(folder), figures)
    work = minimal_work(shape, rows, RANK)
    seconds = statistics.median(figures.seconds[1:])
    rate = gemm_rate(shape, "bf16", work, device)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    nominal = next((flops for card, flops in NOMINAL_FLOPS.items() if card in name), None)
    remark = f"{name}; {seconds:.2f} s a step of {figures.tokens[-1]:,} tokens, packs of {pack:,}"
    found = [
        Figure("B8: tokens a second", figures.tokens[-1] / seconds, "", remark=remark),
        Figure("B8: MFU of its matrix products", work.flops / seconds / rate, "", remark=f"{rate / 1e12:.1f} TFLOP/s"),
        Figure("B8: peak memory", peak_bytes(device) / 1e9, "GB"),
    ]
    if nominal:
        share = work.flops / seconds / nominal
        found.append(Figure("B8: MFU of the nominal rate", share, "", MFU_BAR, at_least=True))
    return found


def main(given: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=("exactness", "b8"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--layers", type=int, default=2, help="of the model for exactness")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--pack", type=int, default=8192)
    parser.add_argument("--tiny", action="store_true", help="b8 with a toy's shape: tries the script where no GPU is")
    arguments = parser.parse_args(given)
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False  # fp32 is meant as fp32
    CACHE.mkdir(parents=True, exist_ok=True)
    if arguments.what == "exactness":
        return tell(exact(arguments.device, arguments.layers), arguments.json)
    shape = TINY if arguments.tiny else LLAMA_8B
    return tell(big_step(shape, arguments.device, arguments.tokens, arguments.pack), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
