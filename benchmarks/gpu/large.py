"""Times training of the study's 35 M and 80 M networks at 128x128, and EDM's batch of 512 with augmentation."""

from collections.abc import Callable

from benchmarks.gpu.cases import LONG_KIMG, edm_network, network
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training import Case, compare_all, programs_of
from edm.config import PresetName, TrainingConfig

BATCH = 64  # the study's on CelebA
PRESETS: tuple[tuple[str, PresetName], ...] = (("35 M", "tiny"), ("80 M", "small"))


def run(setting: Setting, report: Report) -> None:
    """Time each beside the plain loop, then again compiled."""
    compare_all(setting, report, cases(setting))


def cases(setting: Setting) -> list[Case]:
    """Return the trainings that are timed."""
    config = TrainingConfig(kimg=LONG_KIMG, batch_size=4 if setting.tiny else BATCH)
    shapes = [
        (f"{name}, 128x128", network(preset, 128, setting.tiny, channels=3, classes=0), config)
        for name, preset in (PRESETS[:1] if setting.tiny else PRESETS)
    ]
    shapes.append(("with EDM's options, 5 M, 32x32", *edm_network(setting.tiny)))
    return [Case.of(setting, *shape) for shape in shapes]


def programs(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return what compiles the network of each, by name."""
    return programs_of(setting, cases(setting))
