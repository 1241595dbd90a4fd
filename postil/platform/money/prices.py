"""What training costs here now: the settings' prices, unless an admin has changed them while the service runs.

A change has effect for jobs submitted later only, since every job carries the prices of its submission in its lines.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from postil.errors import UsageError
from postil.platform.settings import ServiceSettings
from postil.platform.store.tables import Machine

if TYPE_CHECKING:
    from postil.platform.service import Service

_KEY = "prices"


class PriceList(BaseModel):
    """Prices and limits in force; amounts are millionths of the currency.

    Args:
        rate_micro: for 1000 trained tokens; 0 where only limits are wanted.
        free_rows_per_month: of one account.
        reserve_factor: what a submitted job holds back, times its estimate.
        account_cap_micro: what an account may owe in a month; None: no cap.
        job_cap_micro: what one job may cost; None: no cap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rate_micro: int = Field(ge=0)
    free_rows_per_month: int = Field(ge=0)
    currency: str = Field(min_length=1, max_length=8)
    reserve_factor: float = Field(ge=1, le=10)
    account_cap_micro: int | None = Field(None, ge=0)
    job_cap_micro: int | None = Field(None, ge=0)


def current_prices(session: Session, settings: ServiceSettings) -> PriceList:
    """The prices that a job submitted now would carry."""
    changed = session.get(Machine, _KEY)
    return PriceList.model_validate(_from_settings(settings) | (changed.value if changed else {}))


def get_prices(service: "Service") -> PriceList:
    """The prices in force."""
    with service.database.reading() as session:
        return current_prices(session, service.settings)


def change_prices(service: "Service", **changes: object) -> PriceList:
    """An admin's change, for jobs that are submitted from now on; the caller has checked the role.

    Args:
        changes: entries of `PriceList`; what is not named stays.

    Raises:
        UsageError: an entry does not exist or does not fit; all are named at once, and nothing is changed.
    """
    with service.database.writing() as session:
        row = session.get(Machine, _KEY)
        values = (row.value if row else {}) | changes
        try:
            prices = PriceList.model_validate(_from_settings(service.settings) | values)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise UsageError("platform.prices.invalid", problems="\n  ".join(lines)) from None
        kept = prices.model_dump(include=set(values))
        _keep(session, row, kept, service.now())
        return prices


def _keep(session: Session, row: Machine | None, value: dict[str, object], now: datetime) -> None:
    if row is None:
        session.add(Machine(key=_KEY, value=value, updated_at=now))
    else:
        row.value, row.updated_at = value, now


def _from_settings(settings: ServiceSettings) -> dict[str, object]:
    return {
        "rate_micro": settings.price_micro_per_1000_tokens,
        "free_rows_per_month": settings.free_rows_per_month,
        "currency": settings.currency,
        "reserve_factor": settings.reserve_factor,
        "account_cap_micro": settings.account_cap_micro,
        "job_cap_micro": settings.job_cap_micro,
    }
