"""Runs edm-sweep itself with Ray and MLflow: undisturbed, then stopped by Ctrl-C and kill -9 and run again."""

import csv
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import zip_longest
from pathlib import Path

from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting

NEEDED = ("ray", "mlflow", "pydantic", "pandas", "typer", "rich", "yaml", "psutil", "sklearn", "jinja2")
SWEEP = """\
name: gpu_check
model:      {{preset: nano, channels: {channels}}}
training:   {{kimg: {kimg}, batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1, label_dropout: 0.1}}
sampling:   {{steps: 3}}
evaluation: {{images: 300, features: classifier}}
grid:
  model.attention: {attention}
  sampling.sampler: [euler, heun]
resources:  {{gpus: {gpus}, cpus: {cpus}, sampling_batch: 100, checkpoint_s: 0.3}}
"""
SHARED = ("data", "classifiers", "references")  # folders of the first store that the second one begins with
COMMAND = [sys.executable, "-c", "from experiments.cli.main import main; main()", "run"]
STOPS = ((signal.SIGINT, "trainings"), (signal.SIGKILL, "trainings"), (signal.SIGKILL, "evaluations"))
POLL_S = 0.05
MEASURED = ("training_s", "gpu_hours")  # columns of a table that say how fast a machine was
# of a score of one training from another of the same seed: a GPU adds in no fixed order, and trainings drift apart
DRIFT = 0.25


def run(setting: Setting, report: Report) -> None:
    """Compare the table of an undisturbed run with that of one that was stopped twice."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        report.skip("edm-sweep run", f"{', '.join(absent)} cannot be imported here; carry the wheels (README).")
        return
    with report.attempt("edm-sweep run, undisturbed"):
        first = Run(setting, "undisturbed", "0.5" if setting.is_gpu else "0")
        report.check("exit code of an undisturbed run, half a GPU for a trial", first.finish(report), 0)
    with report.attempt("edm-sweep run, stopped"):
        second = Run(setting, "stopped", "auto" if setting.is_gpu else "0")
        second.share(first)
        stops = ((signal.SIGKILL, "trainings"),) if setting.tiny else STOPS
        for number, kind in stops:
            code = second.stop(number, kind)
            report.measure(f"exit code after {number.name} amid {kind}", code, "")
        report.check("exit code of the run after that, gpus: auto", second.finish(report), 0)
        compare(setting, report, first.results(), second.results())


class Run:
    """A sweep file and a store, and the command that runs it."""

    def __init__(self, setting: Setting, name: str, gpus: str) -> None:
        self.folder = setting.scratch / name
        self.folder.mkdir()
        self.file, self.store = self.folder / "gpu_check.yaml", self.folder / "store"
        kimg, channels, attention = (3, 8, "[false]") if setting.tiny else (40, 32, "[false, true]")
        cpus = 1 if setting.tiny else "null"  # the same for trainings and evaluations, so that these share workers
        text = SWEEP.format(gpus=gpus, cpus=cpus, kimg=kimg, channels=channels, attention=attention)
        self.file.write_text(text)
        hidden = {} if setting.is_gpu else {"CUDA_VISIBLE_DEVICES": ""}
        self.environment = {**os.environ, **hidden}

    def share(self, other: "Run") -> None:
        """Begin with the data set, the classifier and the statistics of another run, which are the same."""
        for name in SHARED:
            shutil.copytree(other.store / name, self.store / name)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command; its output goes to this section's log."""
        command = [*COMMAND, str(self.file), "--store", str(self.store)]
        return subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL)

    def finish(self, report: Report) -> int:
        """Run to the end; return the exit code."""
        process = self.start()
        try:
            return process.wait(max(report.time_left, 1.0))
        finally:
            process.kill()

    def stop(self, number: signal.Signals, kind: str) -> int:
        """Run until a task of a kind has made progress, then send a signal; return the exit code."""
        process = self.start()
        while process.poll() is None and not self.is_amid(kind):
            time.sleep(POLL_S)
        process.send_signal(number)
        return process.wait()

    def is_amid(self, kind: str) -> bool:
        """Return whether a task of a kind has saved something and is not done."""
        saved = "checkpoints" if kind == "trainings" else "progress.json"
        return any(not (path.parent / "result.json").exists() for path in self.store.glob(f"{kind}/*/{saved}"))

    def results(self) -> Path:
        """Return the path of the table."""
        return self.store / "reports" / "gpu_check" / "results.csv"


def compare(setting: Setting, report: Report, first: Path, second: Path) -> None:
    """Compare two tables: on a CPU all but measured times; on a GPU the same cells, and scores that are close."""
    tables = [list(csv.DictReader(path.read_text().splitlines())) for path in (first, second)]
    if not setting.is_gpu:
        differing = [
            f"{a['cell']}: {name} is {a[name]}, then {b.get(name)}"
            for a, b in zip_longest(*tables, fillvalue={"cell": "a row too many"})
            for name in a
            if name not in MEASURED and a[name] != b.get(name)
        ]
        print(*differing, sep="\n")  # into the log, which shows what to look for
        report.check("numbers that differ in a byte", len(differing), 0)
        return
    report.check("cells of one table that the other lacks", abs(len(tables[0]) - len(tables[1])), 0)
    scores = [name for name in tables[0][0] if name.startswith("fid_") and not name.endswith(("_se", "_low", "_high"))]
    pairs = [(float(a[name]), float(b[name])) for a, b in zip(*tables, strict=True) for name in scores]
    worst = max(abs(a - b) / a for a, b in pairs)
    report.check(f"largest relative difference of {len(pairs)} scores", worst, DRIFT)
