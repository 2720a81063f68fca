"""What a result rests on beside its networks: commit, versions, machine."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

from fixtures import task, training


@cache
def versions() -> dict[str, str]:
    """Return the versions that values may depend on."""
    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


@cache
def machine(device: str) -> dict[str, str]:
    """Return the models of CPU and GPU, on which last bits may depend."""
    model = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        lines = [line for line in info.read_text().splitlines() if "model name" in line]
        model = lines[0].partition(":")[2].strip() if lines else model
    gpu = {"gpu": training.gpu(device)} if device != "cpu" else {}
    return {"cpu": model, **task.machine(), **gpu}


def commit(folder: Path) -> str:
    """Return the commit of the code that ran, "" if there is none or it was changed."""
    try:
        run = ["git", "-C", str(folder)]
        changed = _output(*run, "status", "--porcelain")
        head = _output(*run, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return "" if changed.strip() else head.strip()


def _output(*command: str) -> str:
    return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
