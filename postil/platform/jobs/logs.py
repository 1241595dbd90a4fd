"""What a job's processes have printed, for its owner: the end of it, without paths of this machine."""

from postil.platform.jobs.backends import LocalBackend
from postil.platform.jobs.jobs import run_folder
from postil.platform.jobs.views import get_job
from postil.platform.service import Service


def read_log(service: Service, account_id: str, job_id: str, attempt: int | None = None) -> str:
    """Output of one attempt, its last 64 KB; "" where there is none.

    Args:
        attempt: counted from 1; None takes the last.

    Raises:
        MissingInputError: the account has no such job.
    """
    job = get_job(service, account_id, job_id)
    data_dir = service.settings.data_dir
    text = LocalBackend(data_dir).logs(run_folder(service, job.id), attempt or job.attempt)
    return text.replace(str(data_dir), "DATA")
