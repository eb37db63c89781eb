"""Files of extensions as tests write them, and the sweeps that use them."""

from pathlib import Path

DAMPED = """\
from dataclasses import dataclass

from edm import extend


@dataclass(frozen=True)
class DampedOptions:
    damping: float = 0.9
    order: int = 1


@extend.sampler("damped", options=DampedOptions)
def damped(step, options):
    \"\"\"Euler's step, a little shorter.\"\"\"
    return step.here.x + scaled(options.damping) * (step.to - step.here.sigma) * step.here.slope


def scaled(damping):
    return damping


def unrelated():
    return 1
"""
SWEEP = """\
name: mine
extensions: [ideas.py]
model:      {preset: nano, channels: 8}
training:   {kimg: 0.64, batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1, label_dropout: 0.1}
sampling:   {steps: 3}
evaluation: {images: 120, features: classifier}
grid:
  sampling.sampler: [euler, damped]
resources:  {sampling_batch: 40}
"""


def write_sweep(folder: Path, sweep: str = SWEEP, ideas: str = DAMPED) -> Path:
    """Write a sweep file and its extensions; return the path of the first."""
    (folder / "ideas.py").write_text(ideas)
    (folder / "mine.yaml").write_text(sweep)
    return folder / "mine.yaml"
