"""What is known of a folder of code without reading it: digests in the user's cache, and what developers vouch for."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

DIGESTING = ("code.py", "code_modules.py", "scopes.py", "syntax.py", "sweep/code_parts.py")  # files of this package
EQUIVALENT = "equivalent_code.json"  # file of edm/

Digests = dict[str, str | None]  # by part; None of a part that the code does not have


@dataclass(frozen=True)
class CodeCache:
    """Keeps the digests of a folder of code in the user's cache, for as long as none of its files changes."""

    folder: Path

    def read(self) -> Digests:
        """Return the digests that are kept; none if any file has changed since."""
        try:
            kept = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def keep(self, digests: Digests) -> None:
        """Keep digests for other processes; a cache that cannot be written is done without."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_suffix(f".{os.getpid()}.part")
            temporary.write_text(json.dumps(digests))
            temporary.replace(self._path)
        except (OSError, RuntimeError):  # the latter where there is no home
            pass

    @cached_property
    def _path(self) -> Path:
        """A file whose name holds the size and time of every file that decides the digests."""
        own = [Path(__file__).parent / name for name in DIGESTING]
        stamp = [
            [str(path), (status := path.stat()).st_size, status.st_mtime_ns]
            for path in [*sorted(self.folder.rglob("*.py")), *own]
        ]
        name = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:20]
        cache = os.environ.get("XDG_CACHE_HOME")
        return (Path(cache) if cache else Path.home() / ".cache") / "edm-sweep" / f"code-{name}.json"


def read_vouched(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what equivalent_code.json in a folder of edm/ says of each part: digests of the same outputs, grouped."""
    try:
        return json.loads((folder / EQUIVALENT).read_bytes())
    except FileNotFoundError:
        return {}
