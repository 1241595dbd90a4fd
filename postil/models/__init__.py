"""Base models and adapters: the only room that meets transformers and peft."""

import logging
import sys

# A package of this name fetches compiled code from a hub as soon as bitsandbytes or transformers find it: nobody asked.
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # which says that it would be quicker so
