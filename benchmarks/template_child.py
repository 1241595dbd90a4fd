"""What rendering a chat template in its own limited process costs.

    python -m benchmarks.template_child --templates DIR

DIR holds templates (*.jinja), none of which is taken for a known one here: each is rendered in the child. Times are
processor time of the child and of this process together, so that other load on the machine does not count, and the
time that passed. Linux only. Ends with 1 where a rendering costs more than the bar.
"""

import argparse
import os
import time
from datetime import date
from pathlib import Path

from postil.data.conversations import Message
from postil.data.template_child import CHILD
from postil.data.template_renderer import Rendering, render_all
from postil.data.template_sandbox import TemplateRefusal

RENDERINGS = 1600
BAR_MICROSECONDS = 300
_DAY = date(2024, 1, 1)
_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
_CHAT = (Message("user", "How long does it take?"), Message("assistant", "Two days, and four to the islands."))
_CHATS = ((Message("system", "You are a shop."), *_CHAT), _CHAT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=Path, required=True)
    costs = []
    for path in sorted(parser.parse_args().templates.glob("*.jinja")):
        source = path.read_text(encoding="utf-8") + "{# of nobody #}"
        cost, passed = measure(source)
        costs.append(cost)
        print(f"{path.stem:28} {cost:5.0f} us of processor time, {passed:5.0f} us passed", flush=True)
    print(f"the dearest of {len(costs)}: {max(costs):.0f} us; bar {BAR_MICROSECONDS} us")
    return int(max(costs) > BAR_MICROSECONDS)


def measure(source: str) -> tuple[float, float]:
    """(processor time, time passed) of one rendering, asked for one at a time, in microseconds."""
    rendering = [Rendering(_usable_chat(source))]
    before, started = _processor_seconds(), time.perf_counter()
    for _ in range(RENDERINGS):
        render_all(source, rendering, _TOKENS, _DAY)
    passed = time.perf_counter() - started
    return (_processor_seconds() - before) / RENDERINGS * 1e6, passed / RENDERINGS * 1e6


def _usable_chat(source: str) -> tuple[Message, ...]:
    """With a system message, unless the template refuses one. Also starts the child and compiles the template."""
    try:
        render_all(source, [Rendering(_CHATS[0])], _TOKENS, _DAY)
    except TemplateRefusal:
        render_all(source, [Rendering(_CHATS[1])], _TOKENS, _DAY)
        return _CHATS[1]
    return _CHATS[0]


def _processor_seconds() -> float:
    """Of the child and of this process."""
    numbers = Path(f"/proc/{CHILD.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()


if __name__ == "__main__":
    raise SystemExit(main())
