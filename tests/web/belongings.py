"""One of everything that an account can own, made through the service itself where that is quick."""

from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

from postil.platform.adapters.trials import start_trial
from postil.platform.datasets.checks import check_dataset
from postil.platform.service import Service
from tests.platform.adapters.test_adapters import publish, write_adapter
from tests.platform.dataset_lives import pairs

ALIAS = "shop-bot@prod"
CSV = {"content-type": "application/octet-stream"}


@dataclass(frozen=True)
class Belongings:
    """Identifiers of what an account owns."""

    account_id: str
    dataset_id: str
    upload_id: str
    job_id: str
    adapter_id: str
    trial_id: str
    key_id: str

    def as_parameters(self) -> dict[str, str]:
        """Path parameter -> the identifier that stands for it."""
        return {
            "dataset_id": self.dataset_id,
            "job_id": self.job_id,
            "adapter_id": self.adapter_id,
            "trial_id": self.trial_id,
            "place": "0",
            "key_id": self.key_id,
            "account_id": self.account_id,
            "account": "berta",
            "name": ALIAS,
            "model": self.adapter_id,
        }


def upload(client: TestClient, service: Service, num_rows: int = 60, file_name: str = "faq.csv") -> str:
    """A data set that has been checked; its identifier."""
    reply = client.post("/api/datasets", params={"file_name": file_name}, content=pairs(num_rows), headers=CSV)
    assert reply.status_code == 201, reply.text
    check_dataset(service, reply.json()["id"])
    return str(reply.json()["id"])


def make_belongings(client: TestClient, service: Service, folder: Path) -> Belongings:
    """One of everything for the account that `client` has signed in.

    Args:
        folder: is made; holds the adapter's files.
    """
    account_id = client.get("/api/account").json()["id"]
    dataset_id = upload(client, service)
    job = client.post("/api/jobs", json={"dataset_id": dataset_id})
    assert job.status_code == 201, job.text
    folder.mkdir()
    write_adapter(folder)
    adapter_id = publish(service, account_id, folder)
    assert client.put(f"/api/aliases/{ALIAS}", json={"adapter_id": adapter_id}).status_code == 200
    return Belongings(
        account_id=account_id,
        dataset_id=dataset_id,
        upload_id=client.post("/api/uploads", json={"file_name": "half.csv"}).json()["id"],
        job_id=job.json()["id"],
        adapter_id=adapter_id,
        trial_id=start_trial(service, account_id, adapter_id, "Do you ship?").id,
        key_id=client.post("/api/keys", json={"name": "mine"}).json()["id"],
    )
