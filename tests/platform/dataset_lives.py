"""What tests of data sets share: accounts, files, and a check that is done before it comes back."""

from pathlib import Path

from postil.platform.datasets.checks import check_dataset
from postil.platform.datasets.uploads import start_upload
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.store.tables import Account

SHARED = Path(__file__).parents[3] / "shared" / "data"
QUESTIONS = 6


def new_account(service: Service, language: str | None = "en") -> str:
    """The identifier of an account that nobody can sign in to."""
    account_id = new_id("acc")
    row = Account(
        id=account_id,
        name=account_id,
        name_key=account_id,
        password_hash="",
        role="user",
        language=language,
        created_at=service.now(),
    )
    with service.database.writing() as session:
        session.add(row)
    return account_id


def pairs(count: int = QUESTIONS) -> bytes:
    """A small CSV file, every row different."""
    topics = ["delivery", "returns", "opening hours", "payment", "sizes", "gift wrapping", "warranty", "parking"]
    rows = [f"What about {topics[i % 8]} {i}?,We answer {topics[i % 8]} with rule number {i}." for i in range(count)]
    return "\n".join(["question,answer", *rows, ""]).encode()


def upload(service: Service, account_id: str, data: bytes, file_name: str = "faq.csv") -> DatasetView:
    """Uploads and checks a file."""
    made = start_upload(service, account_id, file_name, [data])
    check_dataset(service, made.id)
    return get_dataset(service, account_id, made.id)
