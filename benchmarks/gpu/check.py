"""Check on a GPU that edm is right and fast, section by section; benchmarks/gpu/README.md says how.

    python benchmarks/gpu/check.py [--minutes 12] [--out DIR] [--device cuda|cpu] [--tiny] [--only SECTION ...]

It needs torch, numpy, safetensors, jaxtyping and this checkout, nothing else. Results come to DIR/results.json and
DIR/table.md after every section, so that a check that is cut off still counts. Exits with 0 only if all that ran is
right.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # in place of this folder, whose modules are no top-level ones
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))

from benchmarks.gpu.process import Section, prepare_server, run_sections  # noqa: E402
from benchmarks.gpu.report import BAD, Row, markdown, number, write_whole  # noqa: E402
from benchmarks.gpu.setting import Setting, find_data  # noqa: E402
from experiments.hardware import gpu_driver, gpu_names  # noqa: E402

# what is compared runs beside others, what is timed runs alone; the most valuable first
LOTS = (
    (Section("ceilings", 15, "measures what the machine can do at most"),),
    (
        Section("compiling", 90, "compiles the networks of later sections, all at once"),
        Section("exactness", 15, "compares noise, network, gradient, samplers and scores with the CPU"),
        Section("steps", 40, "looks for steps that wait, resumes a training, recomputes batch-norm statistics"),
        Section("team", 35, "trains one network by two processes on one GPU"),
    ),
    (
        Section("graph", 30, "compares trainings as CUDA graphs with trainings without"),
        Section("curves", 40, "compares loss curves in bf16, fp16 and compiled with those in fp32"),
        Section("drawing", 40, "compares images across precisions, batch sizes and shards"),
        Section("real", 30, "trains, draws and scores the study's three networks on FashionMNIST"),
    ),
    (Section("training", 75, "times training of the 5.0 M network beside the plain loop"),),
    (Section("sampling", 50, "times sampling of the 5.0 M network, guided and not, beside the plain loop"),),
    (Section("large", 75, "times training of 35 M and 80 M networks at 128x128, and EDM's batch of 512"),),
    (Section("scores", 60, "times features, distances and images from noise to three FIDs"),),
    (Section("classifier", 20, "times the training of the feature classifier on 50,000 images"),),
    (Section("attention", 15, "times attention by each of torch's kernels"),),
    (Section("memory", 20, "runs out of memory and goes on"),),
    (Section("whole", 120, "runs edm-sweep with Ray and MLflow, interrupts it and runs it again"),),
)
SECTIONS = tuple(section for lot in LOTS for section in lot)
MINUTES = 12.0  # for the whole check; sections get shares of it, and what a lot leaves over is there for the next
LEAST_S = 10.0  # with fewer seconds left, a section does not begin
TINY_S = 600.0  # for a section that runs on next to nothing, on a busy machine


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Check on a GPU that edm is right and fast.")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for the whole check (default 12)")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the results")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="run all code on next to nothing; figures mean nothing")
    parser.add_argument("--data", type=Path, help="folder of FashionMNIST's idx files, gzipped or not")
    names = [section.name for section in SECTIONS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="SECTION", help=f"of {', '.join(names)}")
    return parser.parse_args()


class Results:
    """All rows so far, in results.json and table.md."""

    def __init__(self, out: Path, facts: dict[str, str]) -> None:
        self.out, self.facts = out, facts
        self.done: list[Row] = []

    def show(self, running: Sequence[Row] = ()) -> None:
        """Write both files, with the rows of the section that is running."""
        rows = [*self.done, *running]
        content = {"facts": self.facts, "rows": [asdict(row) for row in rows]}
        write_whole(self.out / "results.json", json.dumps(content, indent=1))
        write_whole(self.out / "table.md", markdown(self.facts, rows))

    def add(self, rows: Sequence[Row]) -> None:
        """Add the rows of a section that has ended."""
        self.done += rows
        self.show()
        for row in rows:
            limit = "" if row.tolerance is None else f" (at most {number(row.tolerance)})"
            ratio = "" if row.ratio is None else f", {number(row.ratio)} times the plain loop"
            floor = "" if row.over_floor is None else f", {number(row.over_floor)} times the floor"
            value = f"{number(row.value)} {row.unit}{limit}{ratio}{floor}".strip()
            print(f"{row.status:9s} {row.section:10s} {row.what}: {value} {row.note}".rstrip(), flush=True)


def facts_of_machine(device: str, minutes: float, tiny: bool) -> dict[str, str]:
    """Return what the results were measured on."""
    packages = {name: _version(name) for name in ("torch", "triton", "numpy")}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    card = f"{', '.join(gpu_names()) or 'none'}, driver {gpu_driver() or 'none'}" if device == "cuda" else "none"
    return {
        "device": device,
        "card": card,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **packages,
        "commit": commit.stdout.strip() or "unknown",
        "date": time.strftime("%Y-%m-%d"),
        "size": "tiny: the figures mean nothing" if tiny else f"{minutes:g} minutes",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def main() -> int:
    """Run the sections; return the exit code."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    scratch = Path(tempfile.mkdtemp(prefix="edm-gpu-"))
    # empty unless a cache is given, so that compiling is timed whole
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(scratch / "inductor"))
    chosen = [section for section in SECTIONS if not options.only or section.name in options.only]
    names = tuple(section.name for section in chosen)
    setting = Setting(options.device, options.tiny, scratch, out, find_data(options.data, ROOT), names)
    results = Results(out, facts_of_machine(options.device, options.minutes, options.tiny))
    (out / "log.txt").write_text("")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the section that runs, as Ctrl-C does
    try:
        run_all(chosen, setting, options.minutes, results)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    wrong = [row for row in results.done if row.status in BAD]
    print(f"{len(wrong)} of {len(results.done)} rows are wrong or failed; see {out / 'table.md'}")
    return 1 if wrong else 0


def run_all(chosen: Sequence[Section], setting: Setting, minutes: float, results: Results) -> None:
    """Run lots of sections one after the other, each as long as it may take, until the time is up."""
    deadline, context = time.monotonic() + 60 * minutes, prepare_server(setting)
    lots = [sections for lot in LOTS if (sections := [section for section in lot if section in chosen])]
    for sections in lots:
        share = sum(section.seconds for section in sections) / sum(section.seconds for section in chosen)
        seconds = TINY_S if setting.tiny else min(share * 60 * minutes, deadline - time.monotonic())
        if seconds >= LEAST_S:
            results.add(run_sections(context, sections, setting, seconds, results.out / "log.txt", results.show))
        else:
            results.add([time_is_up(section) for section in sections])


def time_is_up(section: Section) -> Row:
    """Return a row that says so."""
    return Row(section.name, section.about, "skipped", note=f"the time was up; run it with --only {section.name}.")


if __name__ == "__main__":
    sys.exit(main())
