"""The service over each database: written, read, rolled back."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.store.tables import Machine
from tests.platform.conftest import Clock


def test_times_and_json_come_back_as_they_went_in(service: Service, clock: Clock) -> None:
    with service.database.writing() as session:
        session.add(Machine(key="prices", value={"每千": [1, 2.5, None]}, updated_at=service.now()))
    clock.go(days=1)
    with service.database.reading() as session:
        row = session.get_one(Machine, "prices")
        assert row.value == {"每千": [1, 2.5, None]}
        assert service.now() - row.updated_at == timedelta(days=1)


def test_an_error_takes_everything_back(service: Service) -> None:
    def fail_in_the_middle() -> None:
        with service.database.writing() as session:
            session.add(Machine(key=new_id("req"), value={}, updated_at=service.now()))
            session.flush()
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_in_the_middle()
    with service.database.reading() as session:
        assert session.scalars(select(Machine)).all() == []
