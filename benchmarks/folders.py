"""How long a folder of 100,000 images takes: listing it, identifying its content, preparing it; and the peak memory.

    uv run python benchmarks/folders.py [NUMBER]

Makes that many 32x32 PNG files (100,000 by default, about 300 MB) in 100 classes, and a zip archive of them. Every step
runs in a process of its own. Prints its wall time, CPU time and peak memory beside those of reading the bytes alone.
"""

import io
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 100
STEPS = {
    "read all bytes (the floor)": "for path in sorted(Path(place).rglob('*.png')): path.read_bytes()",
    "list": "facts(config)",
    "list and identify (what plan does)": "facts(config), source_fingerprint(config)",
    "list, identify and prepare": "prepare(config, Path(out))",
}
SETUP = """\
import sys
from pathlib import Path
from edm.config import DataConfig
from edm.data.catalogue import facts, source_fingerprint
from edm.data.prepare import prepare
place, out = sys.argv[1:]
config = DataConfig("folder", path=place, resolution=32)
"""


def make_folder(root: Path, number: int) -> None:
    """Write `number` small pictures into folders of their classes."""
    rng = np.random.default_rng(0)
    for name in range(CLASSES):
        (root / f"class{name:03d}").mkdir(parents=True)
    for i in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(buffer, "PNG", compress_level=1)
        (root / f"class{i % CLASSES:03d}" / f"{i:06d}.png").write_bytes(buffer.getvalue())


def pack(folder: Path, archive: Path) -> None:
    """Pack a folder into a zip archive without compression, as NVlabs' dataset_tool does."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for path in sorted(folder.rglob("*.png")):
            opened.write(path, path.relative_to(folder))


def measure(code: str, place: Path, out: Path) -> tuple[float, float, float]:
    """Return wall time and CPU time in seconds, and peak memory in GiB, of one step in a process of its own."""
    last = "\nprint(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"  # in KiB
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code + last, str(place), str(out)], capture_output=True, text=True, check=True
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(done.stdout) / 2**20


def main() -> None:
    """Make the files, measure every step and print a line for each."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as temporary:
        folder, archive = Path(temporary, "images"), Path(temporary, "images.zip")
        make_folder(folder, number)
        pack(folder, archive)
        print(f"{number:,} images in {CLASSES} classes")
        for place in (folder, archive):
            for step, code in STEPS.items():
                if place == archive and step.startswith("read"):
                    continue
                wall, cpu, memory = measure(code, place, Path(temporary))
                kind = "zip" if place == archive else "folder"
                print(f"{kind + ':':7} {step:36} {wall:6.1f} s, {cpu:6.1f} s CPU, {memory:.2f} GiB")


if __name__ == "__main__":
    main()
