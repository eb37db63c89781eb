"""Where the command begins: it answers Ctrl-C while the command line itself is being loaded."""

from __future__ import annotations

import sys

from experiments.cli.output import INTERRUPTED


def main() -> None:
    """Load the command line and run it."""
    try:
        from experiments.cli.main import main as run
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    run()
