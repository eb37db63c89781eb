"""Other code than this checkout's: copies of edm/ in which something is edited, and the tool pointed at them."""

import shutil
from pathlib import Path

import pytest

from experiments.sweep import code_parts
from experiments.sweep.code_parts import EdmCode
from tests import ROOT

HEUN = ("edm/samplers.py", "(step.here.slope + there.slope) / 2\n", "(step.here.slope + there.slope) / 2.1\n")
UNIPC = ("edm/samplers.py", "return multistep(step, order=min(UNIPC_ORDER, step.left))", "return euler(step)")
EULER = (
    "edm/samplers.py",
    "(step.to - step.here.sigma) * step.here.slope",
    "(step.to - step.here.sigma) * 1.1 * step.here.slope",
)
NETWORK = ("edm/networks/unet.py", "return self.conv_out(x)", "return 2 * self.conv_out(x)")
TRAINING = ("edm/train.py", "COMPILE_STEPS = 10_000", "COMPILE_STEPS = 10_001")
FRECHET = ("edm/metrics/fid.py", "TOLERANCE = 1e-8", "TOLERANCE = 1e-9")
KARRAS = ("edm/schedules.py", "top, bottom = sigma_max **", "top, bottom = 1.0 * sigma_max **")
DIGITS = ("edm/data/loaders.py", "(255 / 16)", "(254 / 16)")
COMMENT = ("edm/samplers.py", "import math\n", "import math  # a comment\n")

Edit = tuple[str, str, str]  # file, what stands there, and what is to


def copy_with(folder: Path, *edits: Edit) -> Path:
    """Copy edm/ into a folder and edit it; return the copy."""
    shutil.copytree(ROOT / "edm", folder / "edm", ignore=shutil.ignore_patterns("__pycache__"))
    for file, before, after in edits:
        path = folder / file
        text = path.read_text()
        assert before in text, f"{file}: does not have {before!r}"
        path.write_text(text.replace(before, after))
    return folder / "edm"


def point_at(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the tool count a folder as the code that it runs."""
    patch.setattr(code_parts, "_THIS", EdmCode(folder))
