"""How fast each base trains on this machine: measured once in a child process, kept, and looked up by every estimate.

Where nothing has been measured yet, the count of operations and a guess at the processor stand in, marked as such.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from postil.advice.cards import Card, rates_of_card
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.rates import Rates
from postil.config import RunConfig
from postil.errors import UnavailableError
from postil.platform.jobs.slots import threads_of_slot
from postil.platform.service import Service
from postil.platform.settings import ServiceSettings
from postil.platform.store.tables import Machine

MEASURING_SECONDS = 4.0
LONGEST_SECONDS = 660.0
# Of one core that computes in fp32 with eight numbers at once, twice a cycle: what such cores can do at most. Training
# has reached between a twentieth and the half of it; a guess, until a base has been measured here.
CORE_TERAFLOPS, CORE_EFFICIENCY = 0.1, (0.05, 0.5)
CPU_BYTES_PER_SECOND = 2.0e10
SOME_GPU = Card("GPU", 165.0, 0, 1.0e12, (0.1, 1.0))
"""Any card, before one run on it has shown what it does."""


def find_rates(session: Session, settings: ServiceSettings, base: str, device: str = "cpu") -> Rates | None:
    """What was measured for a base on this machine's device, with this many threads; None before."""
    row = session.get(Machine, _key(settings, base, device))
    return None if row is None else Rates.from_dict(row.value["rates"])


def keep_rates(service: Service, base: str, rates: Rates, device: str = "cpu") -> None:
    """Keeps what was measured, in place of an earlier measurement."""
    with service.database.writing() as session:
        value = {"rates": rates.as_dict()}
        session.merge(Machine(key=_key(service.settings, base, device), value=value, updated_at=service.now()))


def guess_rates(settings: ServiceSettings, base: BaseFacts, data: DataFacts, rank: int) -> Rates | None:
    """Rates out of the count of operations, marked as not measured; None where the base's shape is not known."""
    if base.shape is None:
        return None
    if base.device == "cuda":
        return rates_of_card(SOME_GPU, base, data, rank)
    threads = threads_of_slot(settings)
    name = f"cpu, {threads}"
    return rates_of_card(
        Card(name, CORE_TERAFLOPS * threads, 0, CPU_BYTES_PER_SECOND, CORE_EFFICIENCY), base, data, rank
    )


def measure_rates(service: Service, config: RunConfig) -> Rates:
    """Takes a few real steps in a child and keeps what they took. Ten seconds for the starter, minutes for large bases.

    Args:
        config: with a data file and a base that is on this machine.

    Raises:
        UnavailableError: the child could not; `reason` says why.
    """
    with tempfile.TemporaryDirectory(prefix="postil-rates-") as folder:
        spec = Path(folder) / "spec.json"
        settings = config.model_dump(mode="json")
        threads = threads_of_slot(service.settings)
        spec.write_text(json.dumps({"config": settings, "seconds": MEASURING_SECONDS, "threads": threads}), "utf-8")
        command = [sys.executable, "-m", "postil.recipes.calibrate", str(spec)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LONGEST_SECONDS,
                check=False,
                cwd=folder,
                env=_environment(),
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError("platform.rates.not_measured", base=config.model.base, reason="timeout") from None
    found = _read(done.stdout, config.model.base)
    rates = Rates.from_dict(found["rates"])
    keep_rates(service, config.model.base, rates, str(found["base"]["device"]))
    return rates


def _read(output: bytes, base: str) -> dict[str, Any]:
    try:
        found = json.loads(output)
    except ValueError:
        found = {"error": {"message": "no answer"}}
    if "error" in found:
        raise UnavailableError("platform.rates.not_measured", base=base, reason=str(found["error"]["message"])[:500])
    return dict(found)


def _environment() -> dict[str, str]:
    """Enough to find Python and what is installed; nothing secret."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "HF_HOME",
        "XDG_CACHE_HOME",
        "LD_LIBRARY_PATH",
    )
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HF_HUB_OFFLINE": "1"}


def _key(settings: ServiceSettings, base: str, device: str) -> str:
    return f"rates:{device}:{threads_of_slot(settings)}:{base}"
