"""Times training of the study's 35 M and 80 M networks at 128x128, and EDM's batch of 512 with augmentation."""

from benchmarks.gpu.cases import LONG_KIMG, edm_network, network
from benchmarks.gpu.measure import ceilings
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training import compare
from edm.config import PresetName, TrainingConfig

BATCH = 64  # the study's on CelebA
CASES: tuple[tuple[str, PresetName], ...] = (("35 M", "tiny"), ("80 M", "small"))


def run(setting: Setting, report: Report) -> None:
    """Time each beside the plain loop; compiling the large ones takes minutes."""
    limits = ceilings(setting.torch_device, setting.tiny)
    config = TrainingConfig(kimg=LONG_KIMG, batch_size=4 if setting.tiny else BATCH)
    for name, preset in CASES[:1] if setting.tiny else CASES:
        shape = network(preset, 128, setting.tiny, channels=3, classes=0)
        compare(setting, report, f"{name}, 128x128", shape, config, limits, compiles=False)
    shape, own = edm_network(setting.tiny)
    compare(setting, report, "with EDM's options, 5 M, 32x32", shape, own, limits, compiles=not setting.tiny)
