"""What somebody asks to be trained, checked as a whole before anything else looks at it.

Settings that may be chosen are a list, and everything that is not on it is refused: nothing that names a file, a
folder, a base, a program or a place on the network can be set from outside.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from postil.advice.recommend import PRESETS, Preset
from postil.config import RunConfig, setting_paths
from postil.data.purposes import DATA_PURPOSES, DataPurpose
from postil.errors import UsageError
from postil.language import say
from postil.platform.adapters.names import check_name

MAX_SEED = 2**31 - 1
MAX_TOKEN_CHARS = 200
MAX_SYSTEM_CHARS = 8000
MAX_TARGETS = 50
# Largest values beside those of the settings themselves: what a slip of the finger must not cost the machine.
MOST = {
    "training.epochs": 100,
    "training.max_steps": 1_000_000,
    "training.batch_rows": 4096,
    "training.accumulation": 1024,
    "training.max_tokens_per_pack": 1 << 17,
    "training.keep": 20,
    "training.log_every": 100_000,
    "training.save_every": 100_000,
    "training.warmup_steps": 100_000,
    "evaluation.evaluate_every": 1_000_000,
    "evaluation.max_answers": 500,
    "evaluation.max_new_tokens": 4096,
    "data.max_length_tokens": 1 << 17,
}
SETTINGS = frozenset(
    {
        *MOST,
        *("data.system", "data.too_long", "data.heldout_share", "data.train_on"),
        *("adapter.rank", "adapter.alpha", "adapter.dropout", "adapter.target_modules", "adapter.bias"),
        *("adapter.use_rslora", "adapter.use_dora", "adapter.init"),
        *("training.learning_rate", "training.schedule", "training.weight_decay", "training.betas"),
        *("training.max_grad_norm", "evaluation.num_samples"),
    }
)
"""Settings that a request may choose, by their dotted names."""


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A request for training.

    Args:
        version: of the data set; None takes the newest.
        base: name of a base that may be trained here.
        preset: how thorough the settings are that are chosen from the data.
        settings: dotted settings of the user's own, of `SETTINGS`; None leaves one to the preset.
        name: of the job and its adapter; None takes the data set's.
        kind: what the data are for; None is what was found, or what the data set says.
        seed: the same seed, the same adapter.
        client_token: the same token with the same request within a minute is the same job.
    """

    dataset_id: str
    base: str
    version: int | None = None
    preset: Preset = "recommended"
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    kind: DataPurpose | None = None
    seed: int = 0
    client_token: str | None = None

    def fingerprint(self) -> str:
        """sha256 of all that is asked for, the token left out."""
        asked = asdict(replace(self, client_token=None))
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def check_request(request: JobRequest) -> JobRequest:
    """The request with its name trimmed and open settings left out.

    Raises:
        UsageError: everything that is wrong in it, at once, with the nearest right name for a wrong one.
    """
    problems = [*_plain_problems(request), *_setting_problems(request.settings)]
    name = request.name
    if name is not None:
        try:
            name = check_name(name) if isinstance(name, str) else name
        except UsageError as error:
            problems.append(error.message)
    own = {key: value for key, value in request.settings.items() if value is not None} if not problems else {}
    if not problems:
        try:
            RunConfig().replace(own)
        except UsageError as error:
            problems.append(error.message)
    if problems:
        raise UsageError("platform.requests.wrong", problems="\n  ".join(problems))
    return replace(request, name=name, settings=own)


def _plain_problems(request: JobRequest) -> list[str]:
    """What is wrong beside the settings."""
    wrong = []
    texts = {"dataset_id": request.dataset_id, "base": request.base}
    wrong += [name for name, text in texts.items() if not isinstance(text, str) or not text]
    if request.name is not None and not isinstance(request.name, str):
        wrong.append("name")
    if request.version is not None and (not _is_whole(request.version) or request.version < 1):
        wrong.append("version")
    if request.preset not in PRESETS:
        wrong.append("preset")
    if request.kind is not None and request.kind not in DATA_PURPOSES:
        wrong.append("kind")
    if not _is_whole(request.seed) or not 0 <= request.seed <= MAX_SEED:
        wrong.append("seed")
    token = request.client_token
    if token is not None and (not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_CHARS):
        wrong.append("client_token")
    return [say("platform.requests.bad_value", name=name, allowed=_ALLOWED[name]) for name in wrong]


_ALLOWED = {
    "dataset_id": "ds_...",
    "base": "starter, Qwen/Qwen3-0.6B, ...",
    "name": "text",
    "version": "1, 2, ...",
    "preset": ", ".join(get_args(Preset)),
    "kind": ", ".join(DATA_PURPOSES),
    "seed": f"0 ... {MAX_SEED}",
    "client_token": f"1 ... {MAX_TOKEN_CHARS} characters",
}


def _setting_problems(settings: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in settings.items():
        if name not in SETTINGS:
            found.append(_refuse_setting(str(name)[:100]))
        elif isinstance(value, int | float) and name in MOST and not isinstance(value, bool) and value > MOST[name]:
            found.append(say("platform.requests.too_much", name=name, most=MOST[name]))
        elif isinstance(value, str) and len(value) > MAX_SYSTEM_CHARS:
            found.append(say("platform.requests.too_long", name=name, most=MAX_SYSTEM_CHARS))
        elif isinstance(value, list | tuple) and len(value) > MAX_TARGETS:
            found.append(say("platform.requests.too_long", name=name, most=MAX_TARGETS))
    return found


def _refuse_setting(name: str) -> str:
    if name in setting_paths():
        return say("platform.requests.not_here", name=name)
    near = difflib.get_close_matches(name, sorted(SETTINGS), n=1, cutoff=0.3)
    by_end = difflib.get_close_matches(name.rpartition(".")[2], [s.rpartition(".")[2] for s in sorted(SETTINGS)], n=1)
    suggestion = next((s for s in sorted(SETTINGS) if by_end and s.endswith(f".{by_end[0]}")), "")
    return say("platform.requests.unknown", name=name, suggestion=suggestion or next(iter(near), "training.epochs"))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
