"""The code that pages show is run as it stands: by a shell, by Python, by curl, against a service with real runs."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import postil
from postil.config import check_config
from postil.web.pages.code import curl_snippet, python_call, python_snippet, python_value, yaml_snippet
from tests.web.pages.page_fields import codes_of, fields_of
from tests.web.running import Running, run_service

ROWS = [f'Do you sell teapot {n}?,"Yes, teapot {n} is ours."' for n in range(1, 17)]
CHANGED = {
    "preset": "quick",
    "kind": "customer_service",
    "seed": "3",
    "name": "Tea 'n' 茶",
    "set.training.epochs": "1",
    "set.training.batch_rows": "4",
    "set.training.betas": "0.9, 0.99",
    "set.adapter.rank": "4",
    "set.adapter.use_rslora": "yes",
    "set.evaluation.max_answers": "2",
    "set.data.system": 'It\'s "kind" $HOME\nand 茶',
}
CHOSEN = {
    "training.epochs": 1.0,
    "training.batch_rows": 4,
    "training.betas": [0.9, 0.99],
    "adapter.rank": 4,
    "adapter.use_rslora": True,
    "evaluation.max_answers": 2,
    "data.system": 'It\'s "kind" $HOME\nand 茶',
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with real runs that answers nobody."""
    with run_service(tmp_path_factory.mktemp("service") / "data", answers=False) as running:
        yield running


def run(command: list[str], folder: Path, **variables: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POSTIL_LANG": "en", "PYTHONUTF8": "1", **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_code_of_the_settings_runs(running: Running, tmp_path: Path) -> None:
    key = running.key("anna")
    file = tmp_path / "tea shop.csv"
    file.write_text("\n".join(["question,answer", *ROWS, "Do you ship abroad?,", ""]), "utf-8")
    with running.client("anna") as browser, postil.Client(running.address, key) as client:
        data = client.check(client.upload(file))
        data = client.check(client.leave_out(data, [18]))
        assert (data.state, data.rows) == ("ready", 16)
        page = f"/data/{data.id}/settings"
        form = fields_of(browser.get(page, params={"base": "starter"}).text)
        shown = browser.post(page, data={**form, **CHANGED})
        assert shown.status_code == 200
        for_shell, for_python, for_curl = codes_of(shown.text)

        made = json.loads(run(["bash", "-c", for_curl], tmp_path, POSTIL_API_KEY=key))
        assert_asked_for(made, data.id)
        client.cancel(made["id"])

        told = run([sys.executable, "-c", for_python], tmp_path, POSTIL_API_KEY=key).splitlines()
        assert told[-1].split()[0] == "succeeded"
        newest = client.jobs().jobs[0]
        assert newest.id != made["id"] and newest.adapter_id is not None
        assert_asked_for(client.job(newest.id).model_dump(), data.id)

        # the shell's run stands beside the corrected file, which the page of the data gives out
        corrected = client.corrected_file(data.id, tmp_path)
        settings = yaml.safe_load(for_shell)
        assert settings["data"]["file"] == corrected.name
        (tmp_path / "run.yaml").write_text(for_shell, "utf-8")
        program, *arguments = shlex.split(for_shell.splitlines()[0].removeprefix("# "))
        assert program == "postil"
        run([sys.executable, "-m", program, *arguments, "--quiet"], tmp_path)
        adapters = list(tmp_path.glob("runs/*/adapter/adapter_model.safetensors"))
        assert len(adapters) == 1
        used = yaml.safe_load((adapters[0].parents[1] / "run.yaml").read_text("utf-8"))
        flat = {f"{part}.{name}": value for part, values in used.items() for name, value in values.items()}
        assert {name: flat[name] for name in CHOSEN} == CHOSEN
        assert (flat["training.seed"], flat["data.kind"]) == (3, "customer_service")


def assert_asked_for(job: dict[str, Any], dataset_id: str) -> None:
    spec = job["spec"]
    assert (job["dataset_id"], job["base"], job["name"]) == (dataset_id, "starter", "Tea 'n' 茶")
    assert (spec["preset"], spec["kind"], spec["seed"]) == ("quick", "customer_service", 3)
    assert spec["chosen"] == CHOSEN


def test_a_call_of_python_is_python() -> None:
    wish = {"settings": {"a": [1, 2.5, None, True], "b": 'it\'s "so"\n茶'}, "name": "x" * 80}
    line = python_call("f", "ds", **wish)
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert {word.arg: ast.literal_eval(word.value) for word in call.keywords} == wish
    assert max(map(len, line.splitlines())) < 100 and line.count("\n") == 4
    assert python_call("f", 1, a=None) == "f(1, a=None)" and python_value((1, 2)) == "[1, 2]"
    name, text = python_snippet("http://here:1", "for job in client.jobs().jobs:\n    print(job.id)")
    assert name == "Python" and text.endswith("\n    for job in client.jobs().jobs:\n        print(job.id)")
    compile(text, "snippet", "exec")


def test_a_call_of_curl_keeps_every_character() -> None:
    body = {"name": "it's $(touch hacked) `x` \\ 茶\n"}
    name, text = curl_snippet("http://here:1", "POST", "/api/x?a=1&b=2", body)
    assert name == "curl"
    words = shlex.split(re.sub(r"^#.*\n", "", text).replace("\\\n", ""))
    assert words[:4] == ["curl", "-X", "POST", "http://here:1/api/x?a=1&b=2"]
    assert json.loads(words[words.index("-d") + 1]) == body
    assert " -X " not in curl_snippet("http://here:1", "GET", "/api/bases")[1]


def test_settings_as_yaml_are_settings() -> None:
    name, text = yaml_snippet(
        {"data.file": "客服.csv", "training.betas": (0.9, 0.95)}, "postil train --config run.yaml"
    )
    assert name == "YAML" and text.startswith("# postil train --config run.yaml\ndata:\n  file: 客服.csv\n")
    config = check_config(yaml.safe_load(text))
    assert config.training.betas == (0.9, 0.95)
