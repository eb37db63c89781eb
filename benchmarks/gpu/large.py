"""Times training of the study's 35 M and 80 M networks at 128x128, and EDM's batch of 512 with augmentation."""

from benchmarks.gpu.cases import LONG_KIMG, edm_network, network
from benchmarks.gpu.measure import ceilings
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training import Case, compare, compare_compiled
from edm.config import PresetName, TrainingConfig

BATCH = 64  # the study's on CelebA
PRESETS: tuple[tuple[str, PresetName], ...] = (("35 M", "tiny"), ("80 M", "small"))


def run(setting: Setting, report: Report) -> None:
    """Time each beside the plain loop; compiling the large ones takes minutes."""
    limits = ceilings(setting.torch_device, setting.tiny)
    config = TrainingConfig(kimg=LONG_KIMG, batch_size=4 if setting.tiny else BATCH)
    for name, preset in PRESETS[:1] if setting.tiny else PRESETS:
        shape = network(preset, 128, setting.tiny, channels=3, classes=0)
        compare(setting, report, Case.of(setting, f"{name}, 128x128", shape, config), limits)
    case = Case.of(setting, "with EDM's options, 5 M, 32x32", *edm_network(setting.tiny))
    plain = compare(setting, report, case, limits)
    if not setting.tiny:
        compare_compiled(setting, report, case, limits, plain)
