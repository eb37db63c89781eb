"""Print a command of README.md or CONTRIBUTING.md, so that CI runs what they say: main, tests, slow, or all (check)."""

import re
import sys
from pathlib import Path

COMMANDS = {
    "main": ("README.md", "# the main job"),
    "tests": ("README.md", "# the tests"),
    "slow": ("CONTRIBUTING.md", "# the slow tests: Ray, kills, browsers"),
}


def command(name: str) -> str:
    """Return the one line that ends in the comment for `name`; exit with a message if there is not exactly one."""
    file, comment = COMMANDS[name]
    text = (Path(__file__).parent.parent / file).read_text()
    found = re.findall(rf"^ {{4}}(\S.*?)\s+{re.escape(comment)}$", text, re.MULTILINE)
    if len(found) != 1:
        sys.exit(f"{file}: expected one command with the comment '{comment}', found {found}")
    return found[0]


if sys.argv[1] == "check":
    print(*map(command, COMMANDS), sep="\n")
else:
    print(command(sys.argv[1]))
