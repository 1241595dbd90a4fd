"""Environments for the programs that Postil is measured against, each with the versions it asks for.

    python -m benchmarks.environments [trl] [llamafactory]

They are made under build/bench, once; a folder that is whole is left alone. torch is one exact version of the CPU's: an
open range would take gigabytes of CUDA. LLaMA-Factory is installed without asking for what it needs for pictures,
sound and its own pages: torchvision's binaries want another torch, and torchaudio is only imported, so it gets an
empty module of that name.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1] / "build" / "bench"
TORCH = "torch==2.13.0"
_MARK = ".installed"


@dataclass(frozen=True)
class Environment:
    """What is installed, and how.

    Args:
        packages: with all that they need.
        bare: without.
        empty_modules: made as empty files, since they are imported and never used.
    """

    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()
    empty_modules: tuple[str, ...] = ()


ENVIRONMENTS = {
    "trl": Environment(
        (TORCH, "transformers==5.23.0", "peft==0.21.2", "accelerate==1.15.0", "datasets==5.2.0", "trl==1.16.0")
    ),
    "llamafactory": Environment(
        (
            *(TORCH, "transformers==5.6.0", "peft==0.18.1", "accelerate==1.11.0", "datasets==4.0.0", "trl==0.24.0"),
            *("torchdata==0.11.0", "numpy<3", "pandas", "scipy", "einops", "fire", "omegaconf", "packaging"),
            *("protobuf", "pydantic", "pyyaml", "safetensors", "sentencepiece", "tiktoken", "tyro<0.9.0", "matplotlib"),
            *("pillow", "av<=16.0.0", "hf-transfer", "modelscope", "fastapi", "uvicorn", "sse-starlette"),
        ),
        bare=("llamafactory==0.9.5",),
        empty_modules=("torchaudio",),
    ),
}


def python_of(name: str) -> Path:
    """The interpreter of an environment, which may not be there yet."""
    return ROOT / name / "bin" / "python"


def is_whole(name: str) -> bool:
    """True when everything was installed to the end."""
    return (ROOT / name / _MARK).exists()


def make_environment(name: str) -> None:
    """Raises subprocess.CalledProcessError where something cannot be installed; the next call goes on."""
    wanted = ENVIRONMENTS[name]
    if not python_of(name).exists():
        subprocess.run([sys.executable, "-m", "venv", str(ROOT / name)], check=True)
    install = [str(python_of(name)), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*install, *wanted.packages], check=True)
    for package in wanted.bare:
        subprocess.run([*install, "--no-deps", package], check=True)
    site = next((ROOT / name / "lib").glob("python*/site-packages"))
    for module in wanted.empty_modules:
        (site / f"{module}.py").write_text("", "utf-8")
    (ROOT / name / _MARK).touch()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(ENVIRONMENTS), help="all of them where none is named")
    for name in parser.parse_args().names:
        if not is_whole(name):
            print(f"{name}: installing into build/bench/{name}", flush=True)
            make_environment(name)
        print(f"{name}: ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
