"""How fast each base trains on this machine: measured once (measuring.py), kept, and looked up by every estimate.

Where nothing has been measured yet, the count of operations and a guess at the processor stand in, marked as such.
"""

from sqlalchemy.orm import Session

from postil.advice.cards import Card, rates_of_card
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.rates import Rates
from postil.platform.jobs.slots import threads_of_slot
from postil.platform.service import Service
from postil.platform.settings import ServiceSettings
from postil.platform.store.tables import Machine

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


def _key(settings: ServiceSettings, base: str, device: str) -> str:
    return f"rates:{device}:{threads_of_slot(settings)}:{base}"
