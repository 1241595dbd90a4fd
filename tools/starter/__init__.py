"""How the starter base model inside the package was made: one module per stage, one command for all of them.

    corpus.py      rows of text and chats -> token streams, with the held-out rows kept away
    tokenizer.py   the bilingual byte-level BPE
    network.py     the architecture, its loss, and the two optimizers
    pretrain.py    the training loop, with checkpoints and bit-exact resume
    export.py      a checkpoint -> safetensors in the gauge where usual LoRA learning rates work
    evaluate.py    bits per byte by kind and language

`python -m tools.starter --corpus DIR --out DIR` runs them in order. Nothing here is shipped in the wheel.
"""
