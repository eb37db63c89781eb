"""Files that hold what something printed or wrote, to be compared with what it does now.

EDM_SWEEP_UPDATE_SNAPSHOTS=1 rewrites them; read what `git diff` then shows.
"""

import os
from pathlib import Path

UPDATE = "EDM_SWEEP_UPDATE_SNAPSHOTS" in os.environ


def require_same(text: str, path: Path) -> None:
    """Assert that a text is what a file holds."""
    if UPDATE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()
