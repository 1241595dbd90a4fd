"""The service from Python, without torch: `postil.Client`.

    client = postil.Client("http://127.0.0.1:8321", "pk_...")
    data = client.check(client.upload("faq.xlsx"))
    job = client.train(data)
    for job in client.watch(job.id):
        print(job.state, job.progress.percent)
    print(client.chat(client.adapter(job.adapter_id).model_name, "Do you ship abroad?"))

Errors are those of errors.py, in the service's own words.
"""

from postil.client.service import Client

__all__ = ["Client"]
