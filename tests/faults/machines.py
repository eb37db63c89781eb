"""What machines do to a run besides killing it: suspend it, move its store, take rights away, lose Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from experiments.store.journal import Journal
from tests.faults.cases import PHASES, Case, killed, last_line
from tests.faults.harness import Scene, Wire

LEASE_S = 6.0  # of all runs of a case
NOTICED_S = 2.0  # shorter than that
LOST_S = 20.0  # for a run that has lost Ray to leave

Wakes = Literal["before the lease ends", "while the other run works", "when the other run is done"]
WAKES: tuple[Wakes, ...] = ("before the lease ends", "while the other run works", "when the other run is done")
# stops the other run in a training that it has taken over
OTHER = Wire("other", "experiments.trials.training.checkpoints", "CheckpointManager.record_loss")


def stopped(process: Literal["driver", "trial"], wakes: Wakes) -> Callable[[Scene], str]:
    """Suspend a process in a training by SIGSTOP, let another run take over meanwhile, and let it go on."""

    def disturb(scene: Scene) -> str:
        command = scene.start(*PHASES["training"], lease_s=LEASE_S)
        stands = command.reached()
        pid = command.process.pid if process == "driver" else stands
        os.kill(pid, signal.SIGSTOP)
        command.go()
        other = None
        if wakes == "before the lease ends":
            time.sleep(NOTICED_S)
        else:
            works = wakes == "while the other run works" and process == "trial"
            other = scene.start(*([OTHER] if works else []), lease_s=LEASE_S)
            if works:
                other.reached()
            elif wakes == "when the other run is done":
                assert other.ended() == 0, other.output
            else:  # the workers of a suspended driver go on: the other run does what they do not hold
                other.wait_for(lambda: "done " in other.output, "a task of the other run")
        os.kill(pid, signal.SIGCONT)
        if other is not None:
            other.go()
            assert other.ended() == 0, other.output
        assert command.ended() == 0, command.output
        require_rising_curves(scene)
        return "continued" if other is None else "wrote nothing into what was taken over, and continued"

    return disturb


def require_rising_curves(scene: Scene) -> None:
    """See that no journal has a step twice, and that nothing was damaged."""
    for path in scene.store.glob("trainings/*/*.jsonl"):
        steps = [line["step"] for line in Journal(path).read()]
        assert steps == sorted(set(steps)), path
    assert not (scene.store / "damaged").exists()


# Ray ------------------------------------------------------------------------------------------------


def _end_ray(scene: Scene) -> None:
    """End the processes of a run's Ray, as `ray stop` of anybody of the same account does."""
    for name in ("gcs_server", "raylet", "ray::"):
        for process in scene.processes(name):
            process.kill()


def ray_lost(scene: Scene) -> str:
    """End Ray's processes in the middle of a training."""
    command = scene.start(*PHASES["training"])
    command.reached()
    _end_ray(scene)
    command.go()
    assert command.ended() == 0 and "Ray is started again" in command.output, command.output
    assert "another run" not in command.output
    return "continued; Ray was started again"


def ray_lost_and_interrupted(scene: Scene) -> str:
    """End Ray's processes in the middle of a training, and ask the run to leave at once."""
    command = scene.start(*PHASES["training"])
    command.reached()
    _end_ray(scene)
    command.process.send_signal(signal.SIGINT)
    command.go()
    assert command.ended(within_s=LOST_S) == 130 and "Interrupted: " in command.output, command.output
    assert not scene.processes(), scene.processes()
    return "ended with exit code 130 and left no process"


# stores ---------------------------------------------------------------------------------------------


def moved(scene: Scene) -> str:
    """Kill a run half way, and rename its store."""
    killed("driver", "sampling")(scene)
    scene.sweep_up()
    scene.store = scene.store.rename(scene.store.with_name("moved"))
    return "continued from the store's new place"


def renamed(scene: Scene) -> str:
    """Rename the store of a run in the middle of a training."""
    command, before = scene.start(*PHASES["training"]), scene.store
    command.reached()
    scene.store = before.rename(before.with_name("renamed"))
    command.go()
    code = command.ended()
    assert code == 2 and "was moved or removed while a run worked with it" in command.output, command.output
    assert not before.exists(), list(before.rglob("*"))
    return f"ended with exit code {code}: {last_line(command)}"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount a folder read-only over itself, which only root can do."""
    for options in (["--bind"], ["-o", "remount,ro,bind"]):
        subprocess.run(["mount", *options, str(folder), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def not_writable(scene: Scene) -> str:
    """Run on a store that is mounted read-only."""
    with read_only(scene.store):
        command = scene.start()
        code = command.ended()
    assert code == 2 and "the store cannot be written" in command.output, command.output
    return f"ended with exit code {code}: {last_line(command)}"


# surroundings ---------------------------------------------------------------------------------------


def long_tmpdir(scene: Scene) -> str:
    """A TMPDIR as batch systems make them, too long for Ray's sockets."""
    folder = scene.folder / ("temporary" * 9)
    folder.mkdir()
    scene.variables["TMPDIR"] = str(folder)
    return "continued"


def foreign_packages(scene: Scene) -> str:
    """A current folder that holds other packages of the same names."""
    scene.current = scene.folder / "current"
    for name in ("edm", "experiments", "reports"):
        (scene.current / name).mkdir(parents=True)
        (scene.current / name / "__init__.py").write_text("raise ImportError('another package')\n")
    return "continued"


def slow_ray(scene: Scene) -> str:
    """A Ray whose first start takes longer than Ray itself waits for its node."""
    scene.variables["EDM_FAULTS_SLOW_RAY"] = str(scene.folder / "slow-ray")
    return "continued; Ray was started a second time"


def _all() -> list[Case]:
    cases = [
        Case(f"stopped-{process}, woken {wakes}", stopped(process, wakes))
        for process in ("driver", "trial")
        for wakes in WAKES
    ]
    cases += [Case("ray-lost", ray_lost), Case("ray-lost, and Ctrl-C", ray_lost_and_interrupted)]
    cases += [Case("store-moved between two runs", moved), Case("store-renamed under a run", renamed)]
    cases.append(Case("store-read-only", not_writable, needs="home"))
    cases += [Case("around-a long TMPDIR", long_tmpdir), Case("around-a foreign package", foreign_packages)]
    cases.append(Case("around-a slow start of Ray", slow_ray))
    return cases


MACHINES = _all()
