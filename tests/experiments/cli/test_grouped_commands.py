"""The help of the whole command line lists every command in its group, with all of its first paragraph."""

import subprocess
import sys

from experiments.cli.main import PANELS, help_of
from tests.commandline import invoke


def test_every_command_is_listed_under_its_group() -> None:
    text = invoke("--help").stdout
    starts = [text.index(f"\n{title}:\n") for title in PANELS]
    for start, end, commands in zip(starts, [*starts[1:], len(text)], PANELS.values(), strict=True):
        block = " ".join(text[start:end].split())
        for command in commands:
            assert " ".join(help_of(command).split("\n\n")[0].split()) in block


def test_the_help_loads_no_rich() -> None:
    code = "import sys\nfrom experiments.cli.main import app\napp(['run', '--help'], standalone_mode=False)\n"
    done = subprocess.run([sys.executable, "-c", code + "print('rich' in sys.modules)"], capture_output=True, text=True)
    assert done.stdout.endswith("False\n"), done.stderr
