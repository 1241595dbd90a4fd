"""Measures how fast each base trains here while nobody wants the cores: one base at a time, in a child that gives way.

    no job waits or runs for IDLE_SECONDS ─> a base without figures ─> child: recipes/calibrate.py ─> machine_rates.py
    a job comes in meanwhile ─> the child is ended; the base's turn comes again

Runs that finish correct the figures afterwards (rate_learning.py).
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from postil.advice.rates import Rates
from postil.config import RunConfig
from postil.errors import MissingInputError
from postil.platform.bases.bases import list_bases
from postil.platform.bases.this_machine import find_memory
from postil.platform.jobs.jobs import AT_WORK
from postil.platform.jobs.machine_rates import find_rates, keep_rates
from postil.platform.jobs.run_specs import base_settings
from postil.platform.jobs.slots import threads_of_slot
from postil.platform.service import Service
from postil.platform.store.tables import Job
from postil.recipes.launch import run_environment

IDLE_SECONDS = 20.0
MEASURING_SECONDS = 4.0
ROWS = Path(__file__).parents[2] / "demo" / "shop.csv"
"""What is measured with; how fast a base trains hangs little on what the rows say."""
_NICEST = 19
_log = logging.getLogger(__name__)


class Measuring:
    """The measurement that runs, if one does. Call `tick` now and then."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._tried: set[str] = set()
        self._idle_since = time.monotonic()
        self._base = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def tick(self) -> None:
        """Starts, takes up or ends a measurement.

        Raises:
            TryAgainError: the database does not answer.
        """
        if _any_job(self._service):
            self._idle_since = time.monotonic()
            self.close()
        elif self._child is not None:
            if self._child.poll() is not None:
                self._keep(self._child)
        elif time.monotonic() - self._idle_since >= IDLE_SECONDS:
            self._idle_since = time.monotonic()
            if base := self._next_base():
                self._start(base)

    def close(self) -> None:
        """Ends the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _next_base(self) -> str | None:
        device = find_memory().device
        names = [view.name for view in list_bases(self._service) if view.state == "ready" and view.fits == "train"]
        with self._service.database.reading() as session:
            for name in names:
                if name not in self._tried and find_rates(session, self._service.settings, name, device) is None:
                    return name
        return None

    def _start(self, base: str) -> None:
        with self._service.database.reading() as session:
            try:
                settings, _ = base_settings(session, base)
            except MissingInputError:
                self._tried.add(base)
                return
        config = RunConfig().replace({"data.file": str(ROWS), "model.offline": True, **settings})
        threads = threads_of_slot(self._service.settings)
        spec = {"config": config.model_dump(mode="json"), "seconds": MEASURING_SECONDS, "threads": threads}
        self._folder = tempfile.TemporaryDirectory(prefix="postil-rates-")
        folder = Path(self._folder.name)
        (folder / "spec.json").write_text(json.dumps(spec), "utf-8")
        with (folder / "found.json").open("wb") as found:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "postil.recipes.calibrate", str(folder / "spec.json")],
                stdin=subprocess.DEVNULL,
                stdout=found,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=run_environment(),
            )
        os.setpriority(os.PRIO_PROCESS, self._child.pid, _NICEST)
        self._base = base

    def _keep(self, child: subprocess.Popen[bytes]) -> None:
        """Takes what the ended child has found; a base that cannot be measured is not tried again."""
        assert self._folder is not None
        self._tried.add(self._base)
        try:
            found: dict[str, Any] = json.loads((Path(self._folder.name) / "found.json").read_bytes())
            rates, device = Rates.from_dict(found["rates"]), str(found["base"]["device"])
        except (OSError, ValueError, KeyError, TypeError):
            _log.warning("how fast %s trains could not be measured (exit code %s)", self._base, child.returncode)
        else:
            # what it held at its peak is of these rows, whose length memory does hang on
            keep_rates(self._service, self._base, replace(rates, peak_memory_bytes=None), device)
            _log.info("measured how fast %s trains here", self._base)
        self.close()


def _any_job(service: Service) -> bool:
    wanted = ("validating_files", "queued", *AT_WORK)
    with service.database.reading() as session:
        return session.scalar(select(Job.id).where(Job.state.in_(wanted)).limit(1)) is not None
