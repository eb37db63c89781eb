"""Where a number comes from: commit, versions, hardware, command. Recorded with every result, never in a signature."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from experiments import hardware
from experiments.store.files import write_bytes
from experiments.store.store import Store

PACKAGES = ("edm-sweep", "torch", "torchvision", "numpy", "ray", "mlflow", "pytorch-fid")
CODE = ("edm", "experiments", "reports")
PLAIN_DIFF = ("--no-ext-diff", "--no-color")
DIFFS = "diffs"  # folder of a store: changes against a commit, each under its SHA-256
DIGITS = 20  # of that which make a file's name


@dataclass(frozen=True)
class RunInfo:
    """What a run says of itself to those who do its work, maybe on other machines.

    tags: a person's own. code: the commit and what differs from it, of the driver, whose code it is.
    """

    command: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_this_process(cls, store: Store, tags: Mapping[str, str]) -> RunInfo:
        """What this command says; changes of the code since its commit are kept in the store."""
        return cls(command_line(), dict(tags), {**_code(), "git_diff": keep_diff(store)})


def command_line() -> str:
    """This process's command, as it could be given again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def provenance(told: RunInfo = RunInfo(), began: float | None = None) -> dict[str, Any]:
    """The code, the packages, the machine and the command behind a result, and when it was begun and finished.

    git_diff: the SHA-256 of the changes since the commit, which are in the store's `diffs`.
    """
    return {
        **(told.code or _code()),
        "command": told.command or command_line(),
        "tags": dict(told.tags),
        **_machine(),
        "began": _iso(began) if began is not None else None,
        "time": _iso(time.time()),
    }


def diff_path(store: Store, digest: str) -> Path:
    """Where the changes of that SHA-256 are kept."""
    return store.root / DIFFS / f"{digest[:DIGITS]}.patch"


def keep_diff(store: Store) -> str | None:
    """Write down how the code differs from its commit; the SHA-256 of that, None where it does not."""
    diff = _difference().encode()
    if not diff:
        return None
    digest = hashlib.sha256(diff).hexdigest()
    path = diff_path(store, digest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, diff)
    return digest


def _difference() -> str:
    """How the code differs from its commit: what is tracked, and the packages' modules that are not."""
    tracked = _git("diff", "HEAD", *PLAIN_DIFF) or ""
    new = (_git("diff", "--no-index", *PLAIN_DIFF, "--", os.devnull, path, differs=1) or "" for path in _new_modules())
    return tracked + "".join(new)


def _new_modules() -> list[str]:
    listed = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *(f"{name}/*.py" for name in CODE))
    return [path for path in (listed or "").split("\0") if path]


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@cache
def _code() -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD")
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no") or _new_modules()) if commit else None
    return {"git_commit": (commit or "").strip() or None, "git_dirty": dirty}


@cache
def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "gpus": ", ".join(hardware.gpu_names()) or None,
        "gpu_driver": hardware.gpu_driver(),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str, differs: int = 0) -> str | None:
    """What git says of the checkout this code is in; None where it is installed without one, or git fails.

    differs: what it exits with, beside 0, where all is well.
    """
    git, here = shutil.which("git"), Path(__file__).parents[2]
    if git is None or not (here / ".git").exists():
        return None
    done = subprocess.run([git, "-C", str(here), *arguments], capture_output=True, check=False)
    return done.stdout.decode(errors="replace") if done.returncode in (0, differs) else None
