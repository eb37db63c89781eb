"""What a task logs and prints, where it cannot be written."""

import logging
import os
import sys
from pathlib import Path

import pytest

from experiments.trials.logs import logging_to, prints_to

FULL = Path("/dev/full")  # every write to it fails as on a full disk


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
def test_a_full_disk_makes_neither_an_error_nor_output(capfd: pytest.CaptureFixture[str]) -> None:
    with FULL.open("w") as file, pytest.raises(OSError, match="No space left"):
        os.write(file.fileno(), b"x")
    with logging_to(FULL), prints_to(FULL):
        logging.getLogger("edm_sweep").error("not written")
        print("nor this", flush=True)
        print("nor that", file=sys.stderr)
    assert capfd.readouterr() == ("", "")
