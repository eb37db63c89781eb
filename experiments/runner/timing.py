"""How long a run waits for what; tests wait less."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of waiting.

    look_s: between looks at what other runs on the store do. disk_pause_s: before work is tried again where a full disk
    seems to have room, as with a quota; doubled each time up to longest_disk_pause_s. interrupt_grace_s and
    terminate_grace_s: from Ctrl-C or SIGTERM until workers are taken away. mirror_s: for MLflow to catch up in the end.
    ray_look_s: between looks at a Ray of our own. ray_silence_s: without a sign of life before it is given up.
    slow_worker_s: until it is said that the first worker has not started. stillborn_s: without a worker, where those
    before ended as they started, until the run ends with the reason.
    """

    look_s: float = 2.0
    disk_pause_s: float = 5.0
    longest_disk_pause_s: float = 300.0
    interrupt_grace_s: float = 10.0
    terminate_grace_s: float = 25.0
    mirror_s: float = 60.0
    ray_look_s: float = 2.0
    ray_silence_s: float = 20.0
    slow_worker_s: float = 20.0
    stillborn_s: float = 6.0
