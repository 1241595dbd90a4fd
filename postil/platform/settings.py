"""Every setting of the service: frozen, checked, explained where it is declared.

Read from `settings.yaml` in the data folder, then from the environment (`POSTIL_<NAME>` in capitals), later ones win.
Prices and switches that an admin changes while the service runs lie in the table `machine`.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from postil.errors import UsageError


class ServiceSettings(BaseModel):
    """How one service runs. Sizes are bytes, times seconds, amounts millionths of the currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(description="Everything that the service keeps: database, files, runs, keys.")
    database_url: str | None = Field(
        None, description="PostgreSQL's address; None is a SQLite file in the data folder."
    )
    storage_url: str | None = Field(
        None, description="Where files lie, such as s3://bucket/path; None is the data folder."
    )
    host: str = Field("127.0.0.1", description="Address to listen on; others than loopback need an admin.")
    port: int = Field(8321, ge=0, le=65535, description="Port of the pages and of /v1; 0 takes a free one.")
    allowed_hosts: tuple[str, ...] = Field((), description="Host names besides loopback that requests may carry.")
    is_sign_up_open: bool = Field(True, description="Anybody who reaches the service may make an account.")

    max_upload_bytes: int = Field(200 << 20, ge=1, description="Largest file that is taken.")
    max_account_bytes: int = Field(5 << 30, ge=1, description="What one account's files may take.")
    max_queued_jobs: int = Field(20, ge=1, description="Jobs of one account that may wait or run.")
    check_seconds: int = Field(120, ge=1, description="Longest check of one file, in its own process.")
    check_memory_bytes: int = Field(1 << 30, ge=1, description="Memory of a check.")

    cpu_slots: int = Field(1, ge=0, description="Runs at a time on the CPU.")
    threads: int = Field(
        0, ge=0, description="Threads of a run; 0 shares the cores but one. Part of what a result depends on."
    )
    fake_slots: int = Field(0, ge=0, description="Slots that train nothing real; for tests.")
    run_nice: int = Field(10, ge=0, le=19, description="How far runs give way to pages and answers.")
    poll_seconds: float = Field(0.2, gt=0, description="How often the supervisor looks for work.")
    retry_seconds: tuple[float, ...] = Field(
        (10, 60, 300), description="Waits before the tries after a machine's failure."
    )
    crash_loop_failures: int = Field(3, ge=1, description="Failures of a run's own at one step that end the job.")
    kill_after_seconds: float = Field(
        30, gt=0, description="From the asking to the ending of a run that does not stop."
    )

    currency: str = Field("CNY", description="Of every amount.")
    price_micro_per_1000_tokens: int = Field(30_000, ge=0, description="0.03 for 1000 trained tokens.")
    free_rows_per_month: int = Field(1000, ge=0, description="Rows of an account and month that cost nothing.")
    reserve_factor: float = Field(1.2, ge=1, description="What a submitted job holds back, times its estimate.")
    account_cap_micro: int | None = Field(None, ge=0, description="What an account may owe in a month; None: no cap.")
    job_cap_micro: int | None = Field(None, ge=0, description="What one job may cost; it stops at a checkpoint.")

    serving_base: str = Field("starter", description="The base that stays in memory to answer.")
    answer_threads: int = Field(1, ge=1, description="Threads of the process that answers.")
    max_waiting_answers: int = Field(64, ge=1, description="Questions that may wait before new ones get 429.")

    @property
    def resolved_database_url(self) -> str:
        """Where the database is."""
        return self.database_url or f"sqlite:///{self.data_dir / 'postil.db'}"


def default_data_dir() -> Path:
    """The data folder where none is named: POSTIL_DATA_DIR, else a folder of this user's in the usual place."""
    if named := os.environ.get("POSTIL_DATA_DIR"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "postil"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "postil"


def load_settings(data_dir: Path, changes: Mapping[str, Any] | None = None) -> ServiceSettings:
    """Reads the settings of a data folder.

    Args:
        changes: what the command line says; it wins.

    Raises:
        UsageError: everything that is wrong in them, at once.
    """
    values: dict[str, Any] = {}
    file = data_dir / "settings.yaml"
    if file.exists():
        try:
            loaded = yaml.safe_load(file.read_text("utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError("platform.settings.not_yaml", path=file, reason=" ".join(str(error).split())) from None
        if not isinstance(loaded, dict):
            raise UsageError("platform.settings.not_yaml", path=file, reason="a list or a single value, not settings")
        values.update(loaded)
    for name in ServiceSettings.model_fields:
        text = os.environ.get(f"POSTIL_{name.upper()}")
        if text is not None and name != "data_dir":
            values[name] = (
                yaml.safe_load(text) if text and name not in ("database_url", "storage_url") else text or None
            )
    values |= {name: value for name, value in (changes or {}).items() if value is not None}
    try:
        return ServiceSettings.model_validate(values | {"data_dir": data_dir.absolute()})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UsageError("platform.settings.invalid", problems="\n  ".join(lines)) from None
