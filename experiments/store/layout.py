"""The names of folders and files in a store."""

from __future__ import annotations

from typing import Literal

StoreKind = Literal[
    "data",
    "classifiers",
    "references",
    "scales",
    "trainings",
    "drawings",
    "segments",
    "exact",
    "evaluations",
    "probes",
]
FOLDER_OF_TASK: dict[str, StoreKind] = {"training": "trainings", "evaluation": "evaluations", "probe": "probes"}
RESULT = "result.json"
CONFIG = "config.yaml"
JOURNAL = "journal.jsonl"
VALIDATION = "validation.jsonl"
STATISTICS = "statistics.safetensors"
INFLUENCES = "influences.safetensors"  # of every image on every metric that has an error
SAMPLES = "samples.png"
PAIRS = "closest.png"  # images and their nearest training images
CHECKPOINTS, KEPT, SNAPSHOTS = "checkpoints", "kept", "snapshots"  # folders of a training
GRIDS = "samples"  # folder of a training: pictures from the same noise as it went on
PROGRESS = "progress.json"
FAILURE = "failure.json"
LOG = "log.txt"
RUNS = "sessions"  # folder of runs that go on
STOP, CANCEL = "stop", "cancel-"  # ask a run to stop; to leave the task whose signature follows
PRUNE = "prune"  # asks a training to end early
PRUNED = "pruned.json"  # where it did
DAMAGED = "damaged"  # folder of what was set aside
CURVES = (JOURNAL, VALIDATION)  # a training that lost lines of these is not trained again
