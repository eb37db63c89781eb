"""Collects where a number comes from: commit, versions, hardware, command. In every result, never in a signature."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from edm.config import extensions_in
from experiments import hardware
from experiments.environment import inherited
from experiments.names import PACKAGES, require_part
from experiments.redaction import redacted_command
from experiments.store.files import write_bytes
from experiments.store.folders import make_inside
from experiments.store.results import OWN_PACKAGE, CodeVersion, Provenance
from experiments.store.store import Store
from experiments.wording import utc_text

RECORDED = (OWN_PACKAGE, "torch", "torchvision", "numpy", "ray", "mlflow", "pytorch-fid")

PLAIN_DIFF = ("--no-ext-diff", "--no-color")
DIFFS = "diffs"  # folder of a store: changes against a commit, each under its SHA-256
DIGITS = 20  # of a SHA-256 that make a file's name


@dataclass(frozen=True)
class RunInfo:
    """What a run says of itself to the trials that work for it, which may be on other machines.

    tags: a person's own. code: the driver's, which its trials use; None of a trial that belongs to no run.
    """

    command: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    code: CodeVersion | None = None

    @classmethod
    def of_this_process(cls, store: Store, tags: Mapping[str, str]) -> RunInfo:
        """Describe this command, and keep the changes of the code since its commit in the store."""
        return cls(command_line(), dict(tags), replace(code_version(), git_diff=keep_diff(store)))


def command_line() -> str:
    """Return this process's command, as it could be given again, without secrets."""
    return redacted_command([Path(sys.argv[0]).name, *sys.argv[1:]])


_run: ContextVar[RunInfo] = ContextVar("run")  # that this thread works for


@contextmanager
def working_for(run: RunInfo) -> Iterator[None]:
    """Let all that this thread finishes within the block say that it was made for a run, whatever made it."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def provenance(began: float | None = None, of: object = None) -> Provenance:
    """Return where a result that is finished now comes from: this process, and the run that it works for.

    began: when its task did, in seconds since 1970. of: the task, whose extensions are recorded.
    """
    run, extensions = _run.get(RunInfo()), list(extensions_in(of))
    machine = _machine()
    used = {name: _version_of(name) for extension in extensions for name in extension.uses if "." not in name}
    return Provenance(
        **asdict(run.code or code_version()),
        **{**machine, "packages": {**used, **machine["packages"]}},
        command=run.command or command_line(),
        tags=dict(run.tags),
        began=utc_text(began) if began is not None else None,
        time=utc_text(time.time()),
        extensions={extension.name: extension.code for extension in extensions},
    )


@cache
def code_version() -> CodeVersion:
    """Return the commit of this code and whether it was changed since, without keeping the changes."""
    commit = _git("rev-parse", "HEAD")
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no") or _new_modules()) if commit else None
    return CodeVersion((commit or "").strip() or None, dirty)


def diff_path(store: Store, digest: str) -> Path:
    """Return where the store keeps the changes with that SHA-256. Raises ValueError where it is not one."""
    return store.root / DIFFS / f"{require_part(digest[:DIGITS])}.patch"


def keep_diff(store: Store) -> str | None:
    """Keep the changes of the code since its commit, and return their SHA-256; None where there are none."""
    diff = _difference().encode()
    if not diff:
        return None
    digest = hashlib.sha256(diff).hexdigest()
    path = diff_path(store, digest)
    if not path.exists():
        make_inside(store.root, path.parent)
        write_bytes(path, diff)
    return digest


def _difference() -> str:
    """Return the changes since the commit: of tracked files, and the packages' modules that are not tracked."""
    tracked = _git("diff", "HEAD", *PLAIN_DIFF) or ""
    new = (_git("diff", "--no-index", *PLAIN_DIFF, "--", os.devnull, path, differs=1) or "" for path in _new_modules())
    return tracked + "".join(new)


def _new_modules() -> list[str]:
    listed = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *(f"{name}/*.py" for name in PACKAGES))
    return [path for path in (listed or "").split("\0") if path]


@cache
def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in RECORDED},
        "gpus": ", ".join(hardware.gpu_names()) or None,
        "gpu_driver": hardware.gpu_driver(),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def _version_of(module: str) -> str | None:
    """Return the version of the package that a module belongs to."""
    return _version(_distributions().get(module, (module,))[0])


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return importlib.metadata.packages_distributions()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str, differs: int = 0) -> str | None:
    """Return what git prints about this code's checkout; None where there is no checkout, or git fails.

    differs: an exit code, beside 0, that is no failure.
    """
    git, here = shutil.which("git"), Path(__file__).parents[2]
    if git is None or not (here / ".git").exists():
        return None
    try:
        done = subprocess.run([git, "-C", str(here), *arguments], env=inherited(), capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout.decode(errors="replace") if done.returncode in (0, differs) else None
