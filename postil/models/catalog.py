"""Bases that are known to work: their facts, and which of them fits a machine. No torch, no network.

Any other base of a family that transformers knows loads as well; the catalog only knows more about these.
"""

import difflib
from dataclasses import dataclass

from postil.language import say
from postil.models.memory import ModelShape, bytes_to_answer, bytes_to_train

PLANNED_RANK = 16
PLANNED_TOKENS_PER_PACK = 1024
PLANNED_CONTEXT_TOKENS = 2048
CPU_MAX_PARAMETERS = 2_000_000_000
"""Larger bases fit a CPU's memory but take hours where a GPU takes minutes, so none is proposed there."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One base.

    Args:
        id: "starter" or the id on Hugging Face.
        modelscope_id: the id of the same weights on ModelScope.
        family: the architecture's name, as `model_type` in config.json.
        num_parameters: as its authors' files hold them.
        licence: SPDX id, or the licence's own name.
        gated: its authors want a form filled in on Hugging Face first; then a token is needed.
        recommended: proposed to those who ask for nothing in particular.
    """

    id: str
    modelscope_id: str
    family: str
    num_parameters: int
    shape: ModelShape
    licence: str
    gated: bool = False
    recommended: bool = False

    @property
    def name(self) -> str:
        """The id without the organisation: "Qwen3-0.6B"."""
        return self.id.rpartition("/")[2]

    @property
    def description_key(self) -> str:
        """Key of its one-line description in the catalogs of sentences."""
        return "models.about." + self.name.lower().replace(".", "_").replace("-", "_")

    @property
    def description(self) -> str:
        """What it is good for, in the current language."""
        return say(self.description_key)

    def training_bytes(self, dtype_bytes: int) -> int:
        """Memory to train an adapter with the usual rank and pack, weights in `dtype_bytes` each."""
        return bytes_to_train(self.shape, PLANNED_RANK, PLANNED_TOKENS_PER_PACK, dtype_bytes)

    def answering_bytes(self, dtype_bytes: int) -> int:
        """Memory to answer a conversation of 2048 tokens (fewer where it was made for fewer)."""
        context = min(PLANNED_CONTEXT_TOKENS, self.shape.context_tokens)
        return bytes_to_answer(self.shape, context, dtype_bytes)


def _entry(
    model_id: str,
    family: str,
    num_parameters: int,
    shape: ModelShape,
    licence: str,
    *,
    modelscope_id: str | None = None,
    gated: bool = False,
    recommended: bool = False,
) -> CatalogEntry:
    on_modelscope = modelscope_id or model_id
    return CatalogEntry(model_id, on_modelscope, family, num_parameters, shape, licence, gated, recommended)


# fmt: off
# shape: hidden, layers, heads, kv heads, head width, intermediate, vocabulary, tied, context (from each config.json)
CATALOG: tuple[CatalogEntry, ...] = (
    _entry("starter", "qwen3", 5_411_008, ModelShape(192, 8, 3, 1, 64, 576, 10240, True, 2048), "Apache-2.0"),
    _entry("HuggingFaceTB/SmolLM2-360M-Instruct", "llama", 361_821_120,
           ModelShape(960, 32, 15, 5, 64, 2560, 49152, True, 8192), "Apache-2.0"),
    _entry("Qwen/Qwen2.5-0.5B-Instruct", "qwen2", 494_032_768,
           ModelShape(896, 24, 14, 2, 64, 4864, 151936, True, 32768), "Apache-2.0", recommended=True),
    _entry("Qwen/Qwen3-0.6B", "qwen3", 596_049_920,
           ModelShape(1024, 28, 16, 8, 128, 3072, 151936, True, 40960), "Apache-2.0", recommended=True),
    _entry("google/gemma-3-1b-it", "gemma3_text", 999_885_952,
           ModelShape(1152, 26, 4, 1, 256, 6912, 262144, True, 32768), "Gemma",
           modelscope_id="LLM-Research/gemma-3-1b-it", gated=True),
    _entry("meta-llama/Llama-3.2-1B-Instruct", "llama", 1_235_814_400,
           ModelShape(2048, 16, 32, 8, 64, 8192, 128256, True, 131072), "Llama 3.2 Community",
           modelscope_id="LLM-Research/Llama-3.2-1B-Instruct", gated=True),
    _entry("Qwen/Qwen2.5-1.5B-Instruct", "qwen2", 1_543_714_304,
           ModelShape(1536, 28, 12, 2, 128, 8960, 151936, True, 32768), "Apache-2.0", recommended=True),
    _entry("HuggingFaceTB/SmolLM2-1.7B-Instruct", "llama", 1_711_376_384,
           ModelShape(2048, 24, 32, 32, 64, 8192, 49152, True, 8192), "Apache-2.0"),
    _entry("Qwen/Qwen3-1.7B", "qwen3", 1_720_574_976,
           ModelShape(2048, 28, 16, 8, 128, 6144, 151936, True, 40960), "Apache-2.0", recommended=True),
    _entry("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "qwen2", 1_777_088_000,
           ModelShape(1536, 28, 12, 2, 128, 8960, 151936, False, 131072), "MIT"),
    _entry("Qwen/Qwen2.5-3B-Instruct", "qwen2", 3_085_938_688,
           ModelShape(2048, 36, 16, 2, 128, 11008, 151936, True, 32768), "Qwen Research"),
    _entry("meta-llama/Llama-3.2-3B-Instruct", "llama", 3_212_749_824,
           ModelShape(3072, 28, 24, 8, 128, 8192, 128256, True, 131072), "Llama 3.2 Community",
           modelscope_id="LLM-Research/Llama-3.2-3B-Instruct", gated=True),
    _entry("Qwen/Qwen3-4B", "qwen3", 4_022_468_096,
           ModelShape(2560, 36, 32, 8, 128, 9728, 151936, True, 40960), "Apache-2.0", recommended=True),
    _entry("Qwen/Qwen2.5-7B-Instruct", "qwen2", 7_615_616_512,
           ModelShape(3584, 28, 28, 4, 128, 18944, 152064, False, 32768), "Apache-2.0", recommended=True),
    _entry("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2", 7_615_616_512,
           ModelShape(3584, 28, 28, 4, 128, 18944, 152064, False, 131072), "MIT"),
    _entry("Qwen/Qwen3-8B", "qwen3", 8_190_735_360,
           ModelShape(4096, 36, 32, 8, 128, 12288, 151936, False, 40960), "Apache-2.0", recommended=True),
    _entry("Qwen/Qwen2.5-14B-Instruct", "qwen2", 14_770_033_664,
           ModelShape(5120, 48, 40, 8, 128, 13824, 152064, False, 32768), "Apache-2.0", recommended=True),
)
# fmt: on
STARTER_ENTRY = CATALOG[0]


def find_entry(name: str) -> CatalogEntry | None:
    """The entry whose id (on either hub) or short name this is, upper and lower case being the same."""
    wanted = name.casefold()
    return next((e for e in CATALOG if wanted in {n.casefold() for n in (e.id, e.modelscope_id, e.name)}), None)


def nearest_name(name: str) -> str:
    """The catalog's id that looks most like `name`: a suggestion for a misspelt one."""
    short_names = {entry.name.casefold(): entry.id for entry in CATALOG}
    near = difflib.get_close_matches(name.rpartition("/")[2].casefold(), short_names, n=1, cutoff=0.3)
    return short_names[near[0]] if near else STARTER_ENTRY.id


def best_base_for(memory_bytes: int, dtype_bytes: int = 2, device: str = "cuda") -> CatalogEntry:
    """The largest recommended base on which an adapter trains within `memory_bytes`; the starter when none does.

    Args:
        memory_bytes: what is free on the device.
        dtype_bytes: of one weight there: 2 for bf16, 4 for fp32.
        device: "cuda", "mps" or "cpu"; on a CPU bases above two billion parameters are left out for their time.
    """
    fitting = [
        entry
        for entry in CATALOG
        if entry.recommended
        and entry.training_bytes(dtype_bytes) <= memory_bytes
        and (device != "cpu" or entry.num_parameters <= CPU_MAX_PARAMETERS)
    ]
    return max(fitting, key=lambda entry: entry.num_parameters, default=STARTER_ENTRY)
