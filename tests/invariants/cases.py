"""The architectures over which the invariants are held, and what their settings differ in from the tiny ones."""

from postil.testing.tiny import ARCHITECTURES

GEMMA2 = {
    "attn_logit_softcapping": 3.0,
    "final_logit_softcapping": 2.0,
    "sliding_window": 16,
    "query_pre_attn_scalar": 9,
}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
LENGTH_DEPENDENT: tuple[str, dict[str, object]] = (
    "llama",
    {"rope_parameters": LONGROPE | {"original_max_position_embeddings": 24, "factor": 8.0}},
)
"""Its rotary embeddings are other ones for a row of more than 24 tokens."""
CASES: list[tuple[str, dict[str, object]]] = [(name, {}) for name in ARCHITECTURES]
CASES += [("gemma2", GEMMA2), ("granite", {"logits_scaling": 3.0}), LENGTH_DEPENDENT]
CASES += [("cohere", {"logit_scale": 0.25, "layer_norm_eps": 1e-5}), ("gemma3_text", {"sliding_window": 8})]
CASES += [("phi3", {}), ("smollm3", {"no_rope_layers": [1, 0]})]
NAMES = [name + "-longrope" * ("rope_parameters" in settings) for name, settings in CASES]
