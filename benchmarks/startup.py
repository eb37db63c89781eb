"""How much CPU time the answers cost that a person waits for: --help, a wrong file, a plan.

    uv run python benchmarks/startup.py

Prints each beside the floor (an interpreter that does nothing) and beside `import torch`, measured in the same run.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
EDM_SWEEP = str(Path(sys.executable).parent / "edm-sweep")
REPEATS = 5


def cpu_seconds(command: list[str]) -> float:
    """The median CPU time, user and system, of a command; a first run only warms the disk's cache."""
    times = []
    for _ in range(REPEATS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(times[1:])


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(folder) / "wrong.yaml"
        wrong.write_text("model: {preset: tny}\n")
        commands = {
            "python -c pass (the floor)": [sys.executable, "-c", "pass"],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
            "edm-sweep --help": [EDM_SWEEP, "--help"],
            "edm-sweep plan wrong.yaml": [EDM_SWEEP, "plan", str(wrong)],
            "edm-sweep plan sweeps/digits.yaml": [EDM_SWEEP, "plan", "sweeps/digits.yaml", "--store", folder],
        }
        times = {name: cpu_seconds(command) for name, command in commands.items()}
    torch = times["python -c 'import torch'"]
    for name, seconds in times.items():
        print(f"{name:36s} {seconds:6.2f} s of CPU time, {seconds / torch:5.2f} of importing torch")


if __name__ == "__main__":
    main()
