"""`postil chat`: base and adapter answer the same question at once, from one model in memory.

What is typed is one conversation until `/new`; every line of a file or a pipe is a question of its own.
"""

import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live

from postil.cli.compare import show_sides, side_by_side
from postil.cli.options import AdapterDir
from postil.cli.screen import Screen, open_screen
from postil.data.conversations import Message
from postil.errors import DataError, UsageError
from postil.language import say
from postil.models.manifest import read_manifest

if TYPE_CHECKING:
    from postil.answering import TunedModel
    from postil.models.generation import Answer, Sampling, Side

END = {"exit", "quit"}
START_OVER = "/new"
COMMAND_SIGN = "/"


@dataclass
class Histories:
    """What each side has said and heard: they part with the first answer."""

    system: str | None
    sides: tuple[str, ...]
    messages: dict[str, list[Message]] = field(default_factory=dict)

    def start_over(self) -> None:
        """Forgets everything but the system message."""
        first = [Message("system", self.system)] if self.system else []
        self.messages = {side: list(first) for side in self.sides}

    def take_back(self) -> None:
        """Forgets the last message of each side."""
        for messages in self.messages.values():
            messages.pop()

    def add(self, role: Any, texts: dict[str, str]) -> None:
        """Adds one message a side."""
        for side, text in texts.items():
            self.messages[side].append(Message(role, text))


def chat(
    adapter: AdapterDir,
    base_only: Annotated[bool, typer.Option("--base-only", help="cli.chat.base_only")] = False,
    tuned_only: Annotated[bool, typer.Option("--tuned-only", help="cli.chat.tuned_only")] = False,
    temperature: Annotated[float, typer.Option("--temperature", metavar="T", help="cli.chat.temperature")] = 0.7,
    top_p: Annotated[float, typer.Option("--top-p", metavar="P", help="cli.chat.top_p")] = 0.9,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", metavar="N", help="cli.chat.max_new_tokens")] = 200,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="cli.chat.seed")] = None,
) -> None:
    """Chats until exit, quit or Ctrl-D.

    Raises:
        UsageError: both sides were switched off, or a number does not fit.
    """
    if base_only and tuned_only:
        raise UsageError("cli.chat.both_only")
    screen = open_screen()
    read_manifest(adapter)  # a wrong folder is said before the seconds that loading takes
    screen.say("cli.chat.loading", "dim", path=adapter)
    from postil.answering import load
    from postil.models.generation import Sampling

    sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    tuned = load(adapter)
    sides = ("base",) if base_only else ("tuned",) if tuned_only else ("base", "tuned")
    histories = Histories(tuned.manifest.system, sides)
    histories.start_over()
    if screen.is_terminal:
        screen.say("cli.chat.ready", "dim")
    is_typed = sys.stdin.isatty()
    for question in _questions(screen, is_typed):
        if question == START_OVER:
            histories.start_over()
            screen.say("cli.chat.new", "dim")
            continue
        if is_typed and question.startswith(COMMAND_SIGN):  # a slip of the hand; the model could not make sense of it
            screen.say("cli.chat.no_such_command", "yellow", name=question.split()[0])
            continue
        if not is_typed:
            histories.start_over()
        histories.add("user", dict.fromkeys(sides, question))
        try:
            histories.add("assistant", _answer(screen, tuned, histories, sampling))
        except DataError as error:  # this question cannot be asked; the next one can
            screen.line(str(error), "red")
            histories.take_back()


def _questions(screen: Screen, typed: bool) -> Iterator[str]:
    """What is typed or piped in, until exit, quit or the end of input; empty lines are passed over."""
    while True:
        try:
            line = screen.console.input(say("cli.chat.prompt"), markup=False) if typed else sys.stdin.readline()
        except EOFError:
            line = ""
            screen.line("")
            return
        if not typed and not line:
            return
        question = line.strip()
        if question.casefold() in END:
            return
        if question:
            if not typed:
                screen.line(say("cli.chat.prompt") + question, "bold")
            yield question


def _answer(screen: Screen, tuned: "TunedModel", histories: Histories, sampling: "Sampling") -> dict[str, str]:
    """Streams the answers onto the screen and returns them whole."""
    texts, unfinished = dict.fromkeys(histories.sides, ""), set[str]()
    pieces = _pieces(tuned, histories, sampling, unfinished)

    def shown() -> dict[str, str]:
        mark = "\n" + say("answering.unfinished")
        return {side: text + mark * (side in unfinished) for side, text in texts.items()}

    if not screen.is_terminal:
        for side, piece in pieces:
            texts[side] += piece
        show_sides(screen, shown())
        return texts
    with Live(console=screen.console, refresh_per_second=12, vertical_overflow="visible") as live:
        for side, piece in pieces:
            texts[side] += piece
            live.update(side_by_side(screen, texts))
        live.update(side_by_side(screen, shown()))
    return texts


def _pieces(
    tuned: "TunedModel", histories: Histories, sampling: "Sampling", unfinished: set[str]
) -> Iterator[tuple[str, str]]:
    """(side, piece of text), both sides in turns; the sides that ran into the limit are left in `unfinished`."""
    messages = histories.messages
    if len(messages) == 2:
        answers = yield from tuned.stream_both(messages["base"], messages["tuned"], sampling=sampling)
        unfinished.update(side for side, answer in answers.items() if not answer.stopped)
        return
    side: Side = "base" if "base" in messages else "tuned"
    answer = yield from _beside(side, tuned.stream(messages[side], sampling=sampling, side=side))
    unfinished.update([] if answer.stopped else [side])


def _beside(side: str, pieces: "Generator[str, None, Answer]") -> "Generator[tuple[str, str], None, Answer]":
    while True:
        try:
            yield side, next(pieces)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
