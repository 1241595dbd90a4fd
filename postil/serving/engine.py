"""Answers many requests at once from one base in memory, in a thread of its own.

    submit -> queue -> prompt read -> one token a step, all rows together -> deliver, deliver, finished
                 ^ between two steps: new rows join, finished and cancelled ones leave, adapters come and go

Only the thread `_run` touches the model. Other threads leave rows and commands for it.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import torch

from postil.data.conversations import Message
from postil.data.row_checks import Tools
from postil.errors import ConflictError, MissingInputError, PostilError, UnavailableError, UsageError
from postil.models.adapter_checks import CheckedAdapter, read_adapter
from postil.models.adapter_set import AdapterSet
from postil.models.answer_rows import AnswerRow, advance, computes_by_row, prefill
from postil.models.decoding import (
    answer_budget,
    choose_tokens,
    context_length,
    evaluating,
    make_draw,
    penalize,
)
from postil.models.generation import AnswerText
from postil.models.loading import Base
from postil.serving.requests import Delivery, Failed, Finished, Piece, Row, Ticket, Wish
from postil.serving.scheduler import Limits, Scheduler
from postil.serving.shelf import LoadedAdapters, ServedAdapter, Shelf, open_adapter

T = TypeVar("T")


class Engine:
    """One base and its adapters, answering.

    Args:
        base: loaded; belongs to the engine from now on.
        limits: how much at once.
    """

    def __init__(self, base: Base, limits: Limits):
        self.base, self.limits = base, limits
        self._adapters = AdapterSet(base.model)
        self._layers = self._adapters.layer_shapes
        self._shelf = Shelf(base.name)
        self._loaded = LoadedAdapters(self._adapters, limits.max_loaded_adapters)
        self._loaded_keys: frozenset[str] = frozenset()
        self._scheduler: Scheduler[Row] = Scheduler(limits)
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        self._num_answered = 0
        self._thread = threading.Thread(target=self._run, name="postil-engine", daemon=True)

    # Called from any thread.

    def start(self) -> None:
        """Begins to answer."""
        computes_by_row(self.base.model)  # tried out now, while no adapter is on
        self._thread.start()

    @property
    def is_answering(self) -> bool:
        """False before `start`, after `close`, and should its thread ever die."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Ends every answer and the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        self._thread.join()

    def attach(self, adapter_id: str, directory: Path, name: str | None = None) -> dict[str, Any]:
        """Takes an adapter in; when this returns, it answers. The same id again takes the place of the old one.

        Raises:
            MissingInputError, DataError: see `open_adapter`.
            ConflictError: the name belongs to the base or to another adapter.
        """
        name = name or adapter_id
        with self._wake:
            self._shelf.check_name(adapter_id, name)
        served, checked = open_adapter(self.base, self._layers, adapter_id, name, directory, int(time.time()))
        self._in_loop(lambda: self._load(served, lambda: checked))
        try:
            with self._wake:
                self._shelf.check_name(adapter_id, name)  # another may have come meanwhile
                before = self._shelf.put(served)
        except ConflictError:
            self._in_loop(lambda: self._forget_unused(served))
            raise
        if before is not None:
            self._in_loop(lambda: self._forget_unused(before))
        return served.as_dict(is_loaded=True)

    def detach(self, adapter_id: str) -> bool:
        """Takes an adapter away: answers that are being written go on to their end, all others are refused."""
        with self._wake:
            taken = self._shelf.take(adapter_id)
        if taken is None:
            return False
        self._in_loop(lambda: self._forget_unused(taken))
        return True

    def adapters(self) -> list[ServedAdapter]:
        """Those that can be asked, in the order of their coming."""
        with self._wake:
            return self._shelf.all()

    def find_adapter(self, name: str) -> ServedAdapter | None:
        """The adapter of this id or name."""
        with self._wake:
            return self._shelf.find(name)

    def state(self) -> dict[str, Any]:
        """What GET /control/state says."""
        with self._wake:
            return {
                "base": self.base.name,
                "device": self.base.device,
                "dtype": self.base.dtype,
                "adapters": [a.as_dict(a.key in self._loaded_keys) for a in self._shelf.all()],
                "num_running": self._scheduler.num_running,
                "num_queued": self._scheduler.num_waiting,
                "max_running": self.limits.max_running,
                "max_queued": self.limits.max_queued,
                "cache_tokens": self.limits.cache_tokens,
                "cache_tokens_used": self._scheduler.cache_tokens_used,
                "num_answered": self._num_answered,
                "pid": os.getpid(),
            }

    def encode(self, adapter: ServedAdapter | None, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """Token ids of a prompt, in the adapter's chat format or the base's, with the system message of training.

        Raises:
            DataError: the template cannot write these messages.
            UsageError: the template knows no tools and would leave them out in silence.
        """
        chat_format = adapter.chat_format if adapter else self.base.chat_format
        if adapter and adapter.system and not any(m.role == "system" for m in messages):
            messages = [Message("system", adapter.system), *messages]
        # an empty system message asks for none
        asked = [m for m in messages if m.role != "system" or m.content]
        prompt = chat_format.prompt_ids(asked, tools)
        if tools and prompt == chat_format.prompt_ids(asked):
            raise UsageError("serving.tools_unknown", name=adapter.name if adapter else self.base.name)
        return prompt

    def submit(
        self, adapter: ServedAdapter | None, prompt: Sequence[int], wish: Wish, deliver: Callable[[Delivery], None]
    ) -> Ticket:
        """Puts a request into the queue.

        Args:
            deliver: called from the engine's thread with every piece, and once for each choice when it ends.

        Raises:
            UsageError: the prompt does not fit into the context or the caches.
            TooManyError: too many wait already.
            UnavailableError: the engine is closing.
        """
        budget = self._budget(len(prompt), wish)
        chat_format = adapter.chat_format if adapter else self.base.chat_format
        ticket = Ticket(len(prompt), deliver)
        for index in range(wish.num_choices):
            seed = None if wish.sampling.seed is None else wish.sampling.seed + index
            text = AnswerText(chat_format, more_stops=wish.stops)
            ticket.rows.append(Row(index, adapter, prompt, budget, wish, text, make_draw(seed), ticket))
        with self._wake:
            if self._is_closing:
                raise UnavailableError("serving.stopping")
            self._scheduler.enqueue(ticket.rows, len(prompt) + budget)
            self._wake.notify_all()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for this any more: its rows leave before the next step."""
        with self._wake:
            ticket.is_over = True
            self._wake.notify_all()

    def _budget(self, num_prompt_tokens: int, wish: Wish) -> int:
        wanted = wish.max_new_tokens or self.limits.max_answer_tokens
        budget = answer_budget(num_prompt_tokens, context_length(self.base.model), wanted)
        if num_prompt_tokens >= self.limits.cache_tokens:
            raise UsageError("generation.prompt_too_long", tokens=num_prompt_tokens, limit=self.limits.cache_tokens)
        return min(budget, self.limits.cache_tokens - num_prompt_tokens)

    def _in_loop(self, command: Callable[[], T]) -> T:
        """Runs a command between two steps, and waits for it."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(command())
            except BaseException as error:  # it belongs to whoever asked
                future.set_exception(error)

        with self._wake:
            if self._is_closing:
                raise UnavailableError("serving.stopping")
            self._commands.append(run)
            self._wake.notify_all()
        return future.result()

    # Called from the engine's thread only.

    def _run(self) -> None:
        with evaluating(self.base.model):
            while self._wait():
                while self._commands:
                    self._commands.popleft()()
                with self._wake:
                    self._drop_cancelled()
                    admitted = self._scheduler.admit()
                    rows = [row for row, _ in self._scheduler.running.values()]
                for row in admitted:
                    self._welcome(row)
                self._read_prompts([row for row in rows if row.num_unread])
                self._write([row for row in rows if not row.num_unread and not row.is_over])
        self._end_all()

    def _wait(self) -> bool:
        """Sleeps until there is something to do; False when the engine closes."""
        with self._wake:
            while not (self._is_closing or self._commands or self._scheduler.running or self._scheduler.waiting):
                self._wake.wait()
            return not self._is_closing

    def _end_all(self) -> None:
        with self._wake:
            rows = [row for row, _ in (*self._scheduler.running.values(), *self._scheduler.waiting)]
            commands = list(self._commands)
        for command in commands:
            command()
        for row in rows:
            self._fail([row], UnavailableError("serving.stopping"))

    def _drop_cancelled(self) -> None:
        everyone = [row for row, _ in (*self._scheduler.running.values(), *self._scheduler.waiting)]
        for row in everyone:
            if row.ticket.is_over:
                self._leave(row)

    def _leave(self, row: Row, seconds: float | None = None) -> None:
        with self._wake:
            self._scheduler.leave(row, seconds)
        row.is_over, row.cache = True, AnswerRow()
        if row.adapter is not None:
            self._forget_unused(row.adapter)

    def _welcome(self, row: Row) -> None:
        """Loads what the row needs; an adapter that was taken away meanwhile is not found."""
        row.started = time.monotonic()
        adapter = row.adapter
        if adapter is None:
            return
        with self._wake:
            is_there = self._shelf.holds(adapter)
        try:
            if not is_there:
                raise MissingInputError("serving.no_such_model", name=adapter.name)
            self._load(adapter, lambda: read_adapter(adapter.directory, self._layers))
        except OSError:
            self._fail([row], MissingInputError("serving.no_such_model", name=adapter.name))
        except Exception as error:  # this row's; the others go on
            self._fail([row], _as_known(error))

    def _load(self, adapter: ServedAdapter, read: Callable[[], CheckedAdapter]) -> None:
        self._loaded.load(adapter.key, read, self._keys_in_use())
        self._loaded_keys = self._loaded.keys

    def _keys_in_use(self) -> set[str]:
        with self._wake:
            return {row.key for row, _ in self._scheduler.running.values() if row.key is not None}

    def _forget_unused(self, adapter: ServedAdapter) -> None:
        """Puts an adapter out of memory that nobody can ask for any more, once its last answer is written."""
        with self._wake:
            is_wanted = self._shelf.holds(adapter) or adapter.key in self._keys_in_use()
        if not is_wanted:
            self._loaded.forget(adapter.key)
            self._loaded_keys = self._loaded.keys

    def _read_prompts(self, rows: Sequence[Row]) -> None:
        left = self.limits.prefill_tokens
        for row in rows:
            if left <= 0:
                return
            if row.is_over or row.ticket.is_over:
                continue
            start = row.cache.num_tokens
            # parts of a fixed size, so that where a prompt is split does not depend on who else is there
            part = row.prompt[start : start + self.limits.prefill_tokens]
            left -= len(part)
            try:
                with self._adapters.answering([row.key]):
                    logits = prefill(self.base.model, row.cache, part)
                if not row.num_unread:
                    self._take_tokens([row], logits)
            except Exception as error:  # this row's; the others go on
                self._fail([row], _as_known(error))

    def _write(self, rows: Sequence[Row]) -> None:
        ready = [row for row in rows if not row.ticket.is_over]
        mixed = [row for row in ready if self._adapters.is_mixable(row.key)]
        batches = [sorted(mixed, key=_by_key)] if mixed else []
        # what PEFT computes is computed a row at a time: in its larger batches a row changes with its neighbours
        batches += [[row] for row in ready if not self._adapters.is_mixable(row.key)]
        for batch in batches:
            try:
                with self._adapters.answering([row.key for row in batch]):
                    logits = advance(self.base.model, [r.cache for r in batch], [r.last_token for r in batch])
                self._take_tokens(batch, logits)
            except Exception as error:  # out of memory, say: these end, the server goes on
                self._fail(batch, _as_known(error))

    def _take_tokens(self, rows: Sequence[Row], logits_BV: torch.Tensor) -> None:
        for row, logits_V in zip(rows, logits_BV, strict=True):
            penalize(logits_V, row.written, row.wish.presence_penalty, row.wish.frequency_penalty)
        samplings, draws = [row.wish.sampling for row in rows], [row.draw for row in rows]
        for row, token in zip(rows, choose_tokens(logits_BV, samplings, draws), strict=True):
            if isinstance(token, UnavailableError):
                self._fail([row], token)
            else:
                self._take_token(row, token)

    def _take_token(self, row: Row, token: int) -> None:
        row.last_token = token
        row.written[token] += 1
        piece = row.text.feed(token)
        is_full = row.text.num_tokens >= row.budget
        if is_full and not row.text.stopped:
            piece += row.text.finish()
        if piece:
            row.ticket.hand_over(Piece(row.index, piece))
        if row.text.stopped or is_full:
            self._leave(row, time.monotonic() - row.started)
            self._num_answered += 1
            row.ticket.hand_over(Finished(row.index, "stop" if row.text.stopped else "length", row.text.num_tokens))

    def _fail(self, rows: Sequence[Row], error: PostilError) -> None:
        for ticket in {id(row.ticket): row.ticket for row in rows}.values():
            if not ticket.is_over:
                ticket.is_over = True
                ticket.hand_over(Failed(error))
            for row in ticket.rows:
                self._leave(row)


def _by_key(row: Row) -> str:
    return row.key or ""


def _as_known(error: Exception) -> PostilError:
    if isinstance(error, PostilError):
        return error
    return UnavailableError("serving.failed", kind=type(error).__name__, detail=" ".join(str(error).split())[:300])
