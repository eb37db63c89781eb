"""Print what an installation downloads and how large it is: `uv sync && uv run python docs/scripts/install_size.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

ROOT = Path(__file__).parents[2]
GB, GIB = 1e9, 2**30


def main() -> None:
    """Add up the wheels of uv.lock that are installed here, and the files of the environment."""
    listed = subprocess.run(["uv", "pip", "list", "--format", "json"], capture_output=True, check=True, cwd=ROOT)
    installed = {(entry["name"].lower(), entry["version"]) for entry in json.loads(listed.stdout)}
    preference = {str(tag): rank for rank, tag in enumerate(sys_tags())}
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    sizes = [wheel_size(p, preference) for p in packages if (p["name"], p.get("version")) in installed]
    print(f"{sum(1 for size in sizes if size)} packages, {sum(sizes) / GB:.1f} GB to download")
    files = (path for path in Path(sys.prefix).rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{sum(path.stat().st_blocks * 512 for path in files) / GIB:.1f} GiB on disk in {sys.prefix}")


def wheel_size(package: dict, preference: dict[str, int]) -> int:
    """The size of the wheel that suits this interpreter best; 0 where there is none."""
    suitable: list[tuple[int, int]] = []
    for wheel in package.get("wheels", []):
        name = wheel["url"].rpartition("/")[2].replace("%2B", "+")
        try:
            ranks = [preference[str(tag)] for tag in parse_wheel_filename(name)[3] if str(tag) in preference]
        except InvalidWheelFilename:
            continue
        suitable += [(min(ranks), wheel.get("size", 0))] if ranks else []
    return min(suitable)[1] if suitable else 0


if __name__ == "__main__":
    main()
