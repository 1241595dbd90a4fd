"""Texts that are already written in one model's chat template, and so hold no messages of their own."""

_MARKS = {
    "ChatML": ("<|im_start|>",),
    "Llama 3": ("<|start_header_id|>", "<|begin_of_text|>"),
    "Llama 4": ("<|header_start|>",),
    "Llama 2 / Mistral": ("[INST]", "<<SYS>>"),
    "Gemma": ("<start_of_turn>",),
    "Phi / Zephyr": ("<|user|>", "<|assistant|>"),
    "DeepSeek": ("<｜User｜>", "<｜Assistant｜>"),
    "GPT-NeoX": ("<|prompter|>",),
    "Harmony": ("<|start|>",),
    "Alpaca": ("### Instruction:", "### Response:"),
    "Vicuna": ("### Human:", "### Assistant:", "\nASSISTANT:", "\n\nAssistant:"),
}


def find_chat_markup(text: str) -> str | None:
    """The name of the template whose marks stand in `text`."""
    return next((name for name, marks in _MARKS.items() if any(mark in text for mark in marks)), None)
