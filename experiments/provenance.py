"""Where a number comes from: commit, versions, hardware. Recorded with every result, never part of a signature."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("edm-sweep", "torch", "torchvision", "numpy", "ray", "mlflow", "pytorch-fid")


@cache
def provenance() -> dict[str, Any]:
    """The code, the packages and the machine of this process, and when it asked."""
    commit = _git("rev-parse", "HEAD")
    return {
        "git_commit": commit,
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of the checkout this code is in; None where it is installed without one."""
    git, here = shutil.which("git"), Path(__file__).parent
    if git is None or not (here.parent / ".git").exists():
        return None
    done = subprocess.run([git, "-C", str(here), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
