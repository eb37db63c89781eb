"""Commands that are stopped inside a function, what they consist of, and what they leave: all that the cases need."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import mlflow
import psutil

from experiments.store.store import Store
from experiments.tracking.database import embedded_uri
from experiments.tracking.metric_names import LOSSES
from experiments.tracking.overview import REPORT
from tests.commandline import EDM_SWEEP, environment
from tests.experiments.tracking.test_server import Server
from tests.planning import load_sweep, plan_sweep
from tests.table import reproducible
from tests.waiting import until

PLACE = "EDM_FAULTS_PLACE"  # marks every process of a case, whoever started it
WIRES = Path(__file__).parent / "tripwire"
REACHED_S, ENDED_S = 600.0, 600.0  # generous: a loaded machine decides no case


@dataclass(frozen=True)
class Wire:
    """A function that stops on its nth call, over all processes; `matching` is looked for in its arguments."""

    name: str
    module: str
    function: str
    nth: int = 1
    matching: str = ""


@dataclass
class Command:
    """A running edm-sweep whose output goes to a file, with wires laid in all of its processes."""

    process: subprocess.Popen[bytes]
    place: Path
    wires: Sequence[Wire]
    log: Path

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so, while the command runs."""
        until(condition, REACHED_S, [self.process], lambda: f"{what}\n{self.output}")

    def wait_for_word_or_end(self, word: str) -> bool:
        """Wait until it prints something; False where it ends without."""
        until(lambda: self.process.poll() is not None or word in self.output, ENDED_S, told=lambda: self.output)
        return word in self.output

    def reached(self, *names: str) -> int:
        """Wait until processes stand at these wires, by default at all; the process number of the last."""
        pid = 0
        for name in names or [wire.name for wire in self.wires]:
            file = self.place / f"{name}.reached"
            self.wait_for(file.exists, name)
            pid = int(file.read_text())
        return pid

    def go(self) -> None:
        """Let everything go on."""
        for wire in self.wires:
            (self.place / f"{wire.name}.go").touch()

    def ended(self, within_s: float = ENDED_S) -> int:
        """Wait for the end; the exit code. No traceback may be on the terminal."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {within_s:.0f} s\n{self.output}") from None
        assert "Traceback" not in self.output, self.output
        return code


@dataclass
class Scene:
    """A sweep file, a store, and the command that one case repeats."""

    folder: Path
    file: Path
    store: Path
    server: Server | None = None
    read_only: Path | None = None  # an empty disk
    variables: dict[str, str | None] = field(default_factory=dict)  # None takes one away
    commands: list[Command] = field(default_factory=list)
    current: Path | None = None  # where the command is given

    def start(self, *wires: Wire, clock_ahead_s: float = 0.0, lease_s: float = 0.0) -> Command:
        """Start the command; `wires` stop it. lease_s: after which a silent process counts as dead; 0 leaves it."""
        number = len(self.commands) + 1
        place = self.folder / f"wires-{number}"
        place.mkdir()
        asked = {"folder": str(place), "wires": [asdict(wire) for wire in wires], "clock_ahead_s": clock_ahead_s}
        asked["lease_s"] = lease_s
        variables: dict[str, str | None] = {**environment(), **self.variables}
        paths = [str(WIRES), *filter(None, [variables.get("PYTHONPATH")])]
        variables |= {"PYTHONPATH": ":".join(paths), "EDM_TRIPWIRE": json.dumps(asked), PLACE: str(self.folder)}
        log = self.folder / f"output-{number}.txt"
        target = ["--tracking-uri", self.server.uri] if self.server else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(EDM_SWEEP), "run", str(self.file), "--store", str(self.store), "--cpus-per-trial", "1", *target],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.current,
                env={name: value for name, value in variables.items() if value is not None},
                start_new_session=True,
            )
        self.commands.append(Command(process, place, wires, log))
        return self.commands[-1]

    def again(self) -> str:
        """The same command to its end, which must be a good one; its output."""
        command = self.start()
        code = command.ended()
        assert code == 0, f"exit code {code}\n{command.output}"
        return command.output

    @property
    def results(self) -> str:
        """results.csv as it is now, without measured times."""
        return reproducible(self.store / "reports" / self.file.stem / "results.csv")

    def processes(self, name: str = "") -> list[psutil.Process]:
        """The processes of this case, by a part of their name."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if name in process.name() and process.environ().get(PLACE) == str(self.folder):
                    found.append(process)
        return found

    def sweep_up(self) -> None:
        """End whatever a killed command has left."""
        deadline = time.monotonic() + 30
        while (left := self.processes()) and time.monotonic() < deadline:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        for command in self.commands:
            command.process.wait(30)


def kill(pid: int) -> None:
    """SIGKILL, and wait until the process is gone."""
    process = psutil.Process(pid)
    process.send_signal(signal.SIGKILL)
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, seconds=30)


# records --------------------------------------------------------------------------------------------


def require_whole_record(scene: Scene) -> None:
    """MLflow has one finished run for every task and the report, and every point of their curves once."""
    uri = scene.server.uri if scene.server is not None else embedded_uri(Store(scene.store))
    plan, client = plan_sweep(load_sweep(scene.file)), mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(plan.sweep.name)
    assert experiment is not None, "MLflow has no such experiment"
    runs = client.search_runs([experiment.experiment_id])
    names = Counter(run.data.tags["edm.signature"] for run in runs)
    assert names == Counter([*plan.trainings, *plan.evaluations, REPORT])
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        for key in LOSSES:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), f"{key} of {run.info.run_name} has points twice"


# disks ----------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path | None]:
    """A file system in memory at a folder; None where this user may not mount one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(filler: Path) -> None:
    """Write a file until the disk has no room for one byte more."""
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def shift_times(folder: Path, seconds: float) -> None:
    """Let all files of a folder be older, or newer, by so much."""
    for path in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):  # what is running may remove some
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + int(seconds * 1e9)))


# damage ---------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    """Cut a file in the middle, as a power cut or a copy that broke off may."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Turn one bit in the middle of a file, as a disk does: the file's times do not tell."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
