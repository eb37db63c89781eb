"""What is done to a run, each time to be followed by the same command again. The matrix, and what is not a matrix."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from experiments.trials.context import TrialContext
from tests.faults.harness import Command, Scene, Wire, fill, flip, kill, shift_times, truncate

# which store a case begins with: empty; with prepared data, classifier and references; with trainings that were killed
# half way; with everything done
Beginning = Literal["empty", "prepared", "halfway", "complete"]

RAYLET_S = 240.0  # for a run to notice that Ray is gone, to start it again, and to finish
LEAVES_S = 30.0  # for a run to save its state and leave

TABLES = Wire("tables", "alembic.runtime.migration", "HeadMaintainer.update_to_step", nth=5)
STARTING = Wire("starting", "experiments.runner.tune", "_execute")
EVALUATING = Wire("sampling", "experiments.trials.progress", "ProgressReporter.beat", nth=3, matching="evaluations/")
PHASES: dict[str, tuple[Wire, ...]] = {
    "planning": (Wire("planning", "experiments.runner.resume", "open_schedule"),),
    "preparing data": (Wire("data", "edm.data.prepare", "_deviation"),),
    "training the classifier": (
        Wire("classifier", "experiments.trials.progress", "ProgressReporter.beat", nth=3, matching="classifiers/"),
    ),
    "measuring real images": (
        Wire("references", "experiments.trials.progress", "ProgressReporter.beat", matching="reference_statistics/"),
    ),
    "scoring real images": (Wire("baselines", "experiments.trials.evaluation.scoring", "_scores_of"),),
    "training": (Wire("training", "experiments.trials.training.checkpoints", "CheckpointManager.record_loss", nth=30),),
    "writing a checkpoint": (
        Wire("checkpoint", "experiments.store.files", "move_into_place", nth=3, matching="checkpoints/"),
    ),
    "sampling": (EVALUATING,),
    "scoring": (Wire("scoring", "experiments.trials.evaluation.scoring", "Scorer.score", nth=2),),
    # a trial stands beside it, so that there is one to kill
    "mirroring": (EVALUATING, Wire("mirroring", "experiments.tracking.mirror", "Mirror._run")),
    "reporting": (Wire("reporting", "reports.folder", "_write", nth=2),),
}
BEFORE_TRAINING = (
    "preparing data",
    "training the classifier",
    "measuring real images",
    "scoring real images",
)  # of an empty store
IN_DRIVER = ("planning", "preparing data", "reporting")  # there is no trial then
PROCESSES = ("driver", "trial", "raylet", "mlflow")


@dataclass(frozen=True)
class Case:
    """`disturb` starts the command, disturbs it and sees it end; it returns what happened, in words for the table.

    Where it disturbs a store or a machine before the command, the repeated one is the only one, and `require` sees what
    has become of the disturbance.
    """

    name: str
    disturb: Callable[[Scene], str]
    beginning: Beginning = "prepared"
    needs: Literal["", "server", "disk", "home"] = ""
    require: Callable[[Scene], None] = lambda _: None


# processes that are killed --------------------------------------------------------------------------


def killed(process: str, phase: str, nth: int | None = None) -> Callable[[Scene], str]:
    """Kill one process of a run while it stands inside a phase."""
    wires = [wire if nth is None else replace(wire, nth=nth) for wire in PHASES[phase]]

    def disturb(scene: Scene) -> str:
        command = scene.start(*wires)
        command.reached()
        stands = command.reached(wires[0].name)
        {"driver": _kill_driver, "trial": _kill_trial, "raylet": _kill_raylet, "mlflow": _kill_server}[process](
            scene, command, stands
        )
        command.go()
        return ENDINGS[process](command, phase)

    return disturb


def _kill_driver(scene: Scene, command: Command, stands: int) -> None:
    del scene, stands
    kill(command.process.pid)


def _kill_trial(scene: Scene, command: Command, stands: int) -> None:
    del scene
    assert stands != command.process.pid, "it stands in the driver"
    kill(stands)


def _kill_raylet(scene: Scene, command: Command, stands: int) -> None:
    del command, stands
    (raylet,) = scene.processes("raylet")
    kill(raylet.pid)


def _kill_server(scene: Scene, command: Command, stands: int) -> None:
    del command, stands
    assert scene.server is not None
    scene.server.kill()


def _driver_ended(command: Command, phase: str) -> str:
    del phase
    assert command.ended() == -signal.SIGKILL
    return "killed"


def _without_trial(command: Command, phase: str) -> str:
    del phase
    code = command.ended()
    assert code == 0 and "trying again" in command.output, command.output
    return "continued; the task was tried again"


def _without_raylet(command: Command, phase: str) -> str:
    del phase
    code = command.ended(within_s=RAYLET_S)
    if code:
        return f"ended with exit code {code}: {last_line(command)}"
    if "Ray is started again" in command.output:
        return "continued; Ray was started again"
    return (
        "continued; the task was tried again"
        if "trying again" in command.output
        else "continued; its workers kept running"
    )


def _without_server(command: Command, phase: str) -> str:
    del phase
    code = command.ended()
    assert code == 0 and "MLflow is not up to date" in command.output, command.output
    return "continued; said that MLflow is not up to date"


ENDINGS = {"driver": _driver_ended, "trial": _without_trial, "raylet": _without_raylet, "mlflow": _without_server}


def last_line(command: Command) -> str:
    """The last line that a command printed, without paths of this machine."""
    lines = command.output.strip().splitlines() or ["nothing was said"]
    return re.sub(r"/\S*/", "…/", lines[-1])


def require_nothing_trained_twice(scene: Scene) -> None:
    """See that no training was begun anew; one whose worker outlived its driver may have come to its end at once."""
    for path in scene.store.glob("trainings/*/log.txt"):
        first, *later = re.findall(r"from step (\d+)", path.read_text())
        assert first == "0" and "0" not in later, path.read_text()


def require_resumed(scene: Scene) -> None:
    """See that a training continued from a checkpoint."""
    require_nothing_trained_twice(scene)
    logs = "".join(path.read_text() for path in scene.store.glob("trainings/*/log.txt"))
    assert re.search(r"from step [1-9]", logs), logs


def driver_killed_everywhere(scene: Scene) -> str:
    """Kill one run after the other, each in a later phase."""
    phases = [phase for phase in PHASES if phase not in BEFORE_TRAINING]
    for phase in phases:
        killed("driver", phase, nth=1)(scene)
        scene.sweep_up()
    return f"killed {len(phases)} times, each time in a later phase"


def driver_killed_at_first_record(scene: Scene) -> str:
    """Kill the driver while MLflow makes the tables of its database, step by step."""
    (scene.store / "mlflow.db").unlink()
    command = scene.start(TABLES)
    command.reached()
    kill(command.process.pid)
    return _driver_ended(command, "")


def raylet_killed_at_start(scene: Scene) -> str:
    """Kill the raylet before it has started any worker."""
    command = scene.start(STARTING)
    command.reached()
    _kill_raylet(scene, command, 0)
    command.go()
    ending = _without_raylet(command, "")
    assert ending == "continued; Ray was started again", command.output
    return ending


# requests to leave ----------------------------------------------------------------------------------


def asked(number: signal.Signals) -> Callable[[Scene], str]:
    """Ask a run to leave while it trains: it saves its state."""

    def disturb(scene: Scene) -> str:
        before = set(scene.store.glob("trainings/*/checkpoints/*"))
        command = scene.start(*PHASES["training"])
        command.reached()
        command.process.send_signal(number)
        command.wait_for(lambda: "Stopping: running tasks save their state" in command.output, "the answer")
        time.sleep(TrialContext.report_s)  # so long a trial may look away
        command.go()
        assert command.ended(within_s=LEAVES_S) == 130, command.output
        assert "Interrupted: " in command.output
        assert set(scene.store.glob("trainings/*/checkpoints/*")) - before, "no state was saved"
        assert not list(scene.store.glob("sessions/*"))
        return "saved its state and ended with exit code 130"

    return disturb


# full disks -----------------------------------------------------------------------------------------

WRITES: dict[str, Wire] = {
    "prepared data": Wire("data", "edm.data.prepare", "_write_images"),
    "classifier": Wire("classifier", "edm.files", "save_tensors", matching="classifiers/"),
    "features of real images": Wire("references", "edm.files", "save_tensors", matching="references/.*/features/"),
    "reference statistics": Wire("statistics", "edm.files", "save_tensors", matching="references/.*statistics"),
    "journal": Wire("journal", "experiments.store.journal", "Journal.append", nth=10, matching=r"/journal\.jsonl"),
    "checkpoint": Wire("checkpoint", "edm.files", "save_tensors", nth=3, matching="checkpoints/"),
    "finished model": Wire("model", "edm.files", "save_model", matching="model.safetensors"),
    "result of a training": Wire("trained", "experiments.store.files", "write_json", matching="trainings/.*result"),
    "features of drawn images": Wire("features", "edm.files", "save_tensors", matching="drawings/.*00000000"),
    "statistics": Wire("scores", "edm.files", "save_tensors", matching="evaluations/.*statistics"),
    "influences": Wire("influences", "edm.files", "save_tensors", matching="evaluations/.*influences"),
    "result of an evaluation": Wire(
        "result", "experiments.store.files", "write_json", nth=2, matching="evaluations/.*result"
    ),
    "MLflow's database": Wire("mlflow", "experiments.tracking.experiment", "MirroredExperiment.create"),
    "report": Wire("report", "reports.folder", "_write", matching=r"results\.csv"),
}
WRITTEN_BEFORE_TRAINING = ("prepared data", "classifier", "features of real images", "reference statistics")


def full(wire: Wire) -> Callable[[Scene], str]:
    """Fill the disk to the last byte just before something is written; make room once that was noticed."""

    def disturb(scene: Scene) -> str:
        command, filler = scene.start(wire), scene.store.parent / "filler"
        command.reached()
        fill(filler)
        command.go()
        paused = command.wait_for_word_or_end("the disk is full")
        filler.unlink()
        code = command.ended()
        if paused:
            assert code == 0, command.output
            return "waited for room, then continued"
        return f"ended with exit code {code}: {last_line(command)}" if code else "continued"

    return disturb


# damage ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """A file to damage, in which store, and what is removed so that the file is needed again.

    trusted: whether it is read only where its time tells that it was touched.
    """

    pattern: str
    beginning: Beginning = "complete"
    removed: tuple[str, ...] = ()
    trusted: bool = False


SCORES, DRAWINGS = "evaluations/*", "drawings/*"
DAMAGES: dict[str, Damage] = {
    "checkpoint": Damage("trainings/*/checkpoints/*.safetensors", "halfway"),
    "journal of half a training": Damage("trainings/*/journal.jsonl", "halfway"),
    "losses on val of half a training": Damage("trainings/*/validation.jsonl", "halfway"),
    "journal": Damage("trainings/*/journal.jsonl", trusted=True),
    "losses on val": Damage("trainings/*/validation.jsonl", trusted=True),
    "finished model": Damage("trainings/*/model.safetensors", removed=(SCORES, DRAWINGS)),
    "result of a training": Damage("trainings/*/result.json", removed=(SCORES,)),
    "result of an evaluation": Damage("evaluations/*/result.json"),
    "statistics": Damage("evaluations/*/statistics.safetensors", trusted=True),
    "influences": Damage("evaluations/*/influences.safetensors", trusted=True),
    "features of drawn images": Damage("drawings/*/*/0*.safetensors", removed=(SCORES,)),
    "features of real images": Damage("references/*/features/*.safetensors", removed=(SCORES,)),
    "reference statistics": Damage("references/*/statistics-*.safetensors", removed=(SCORES,)),
    "classifier": Damage("classifiers/*/model.safetensors", removed=(SCORES, DRAWINGS)),
    "prepared images": Damage("data/*/images.npy", removed=(SCORES, DRAWINGS)),
}


def damaged(damage: Damage, how: Callable[[Path], None]) -> Callable[[Scene], str]:
    """Damage files that a run has left."""

    def disturb(scene: Scene) -> str:
        for pattern in damage.removed:
            for path in scene.store.glob(pattern):
                shutil.rmtree(path)
        files = [path for path in scene.store.glob(damage.pattern) if path.stat().st_size]
        assert files, f"there is no {damage.pattern}"
        for path in files:
            how(path)
            if damage.trusted:
                path.touch()
        return "named the file, set it aside and made it again"

    return disturb


def require_set_aside(damage: Damage) -> Callable[[Scene], None]:
    """See that files of a kind were named in the log of damage, and kept beside."""
    kind, *_, name = damage.pattern.split("/")

    def require(scene: Scene) -> None:
        aside = scene.store / "damaged"
        assert (aside / "log.jsonl").exists(), f"nothing is said of {damage.pattern}"
        lines = [json.loads(line) for line in (aside / "log.jsonl").read_text().splitlines()]
        named = [file for line in lines if line["kind"] == kind for file in line["files"]]
        assert any(fnmatch(Path(file).name, name) for file in named), f"{damage.pattern} is not among {lines}"
        assert list((aside / kind).glob(f"*/*/**/{name}")), f"nothing was kept of {damage.pattern}"

    return require


# clocks and homes -----------------------------------------------------------------------------------


def clock(ahead_s: float) -> Callable[[Scene], str]:
    """A clock that was wrong, and so are the files' times, is put right in the middle of an evaluation."""

    def disturb(scene: Scene) -> str:
        command = scene.start(EVALUATING, clock_ahead_s=ahead_s)
        command.reached()
        shift_times(scene.store, ahead_s)
        (command.place / "clock.go").touch()
        command.go()
        code = command.ended()
        assert code == 0, command.output
        return "continued"

    return disturb


def home(name: str | None) -> Callable[[Scene], str]:
    """Another HOME: the root of a disk that is read-only, a folder that is not there and cannot be made, or none."""

    def disturb(scene: Scene) -> str:
        assert scene.read_only is not None
        scene.variables["HOME"] = None if name is None else str(scene.read_only / name)
        return "continued"

    return disturb


# all of them ----------------------------------------------------------------------------------------


REQUIRED = {("driver", "training"): require_nothing_trained_twice, ("trial", "training"): require_resumed}


def _matrix() -> list[Case]:
    cases = []
    for process in PROCESSES:
        for phase in PHASES:
            if process in ("trial", "raylet") and phase in IN_DRIVER:
                continue
            beginning: Beginning = "empty" if phase in BEFORE_TRAINING else "prepared"
            needs = "server" if process == "mlflow" else ""
            require = REQUIRED.get((process, phase), lambda _: None)
            cases.append(Case(f"{process}-{phase}", killed(process, phase), beginning, needs, require))
    return cases


def _all() -> list[Case]:
    cases = _matrix()
    cases.append(Case("driver-everywhere", driver_killed_everywhere))
    cases.append(Case("driver-first record", driver_killed_at_first_record))
    cases.append(Case("raylet-start", raylet_killed_at_start))
    cases += [Case(f"asked-{number.name}", asked(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    for name, wire in WRITES.items():
        cases.append(
            Case(f"full-{name}", full(wire), "empty" if name in WRITTEN_BEFORE_TRAINING else "prepared", "disk")
        )
    for name, damage in DAMAGES.items():
        for how in (truncate, flip):
            own = damaged(damage, how), damage.beginning
            cases.append(Case(f"{how.__name__}-{name}", *own, require=require_set_aside(damage)))
    cases += [Case("clock-a day back", clock(86400.0)), Case("clock-a day forward", clock(-86400.0))]
    cases += [Case("home-read-only", home(""), needs="home"), Case("home-missing", home("nobody"), needs="home")]
    cases.append(Case("home-unset", home(None), needs="home"))
    return cases


CASES = _all()
# what is killed or full; what else may happen has tests of its own in CI: test_terminal.py and test_shared_store.py for
# drivers, test_server.py for servers, test_store.py and test_perform.py for damage
QUICK = ("trial-sampling", "full-result of a training")
