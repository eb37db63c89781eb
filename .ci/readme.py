"""Prints the README's commands, so that what it promises is what runs: `main`, `tests`, `slow`, or `check` for all."""

import re
import sys
from pathlib import Path

NAMES = {"main": "# the main job", "tests": "# the tests", "slow": "# the slow tests: Ray, kills, browsers"}


def command(name: str) -> str:
    """The README's line that ends in the comment for `name`."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    found = re.findall(rf"^ {{4}}(\S.*?)\s+{re.escape(NAMES[name])}$", readme, re.MULTILINE)
    if len(found) != 1:
        sys.exit(f"README.md: expected one command with the comment '{NAMES[name]}', found {found}")
    return found[0]


if sys.argv[1] == "check":
    print(*map(command, NAMES), sep="\n")
else:
    print(command(sys.argv[1]))
