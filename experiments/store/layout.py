"""The names of folders and files in a store."""

from __future__ import annotations

from typing import Literal

StoreKind = Literal[
    "data",
    "classifiers",
    "references",
    "reference_statistics",
    "scales",
    "trainings",
    "drawings",
    "segments",
    "exact",
    "evaluations",
    "probes",
    "extensions",
    "weights",
]
# in the folder of any task
RESULT = "result.json"
CONFIG = "config.yaml"
LOG = "log.txt"
PROGRESS = "progress.json"
FAILURE = "failure.json"
ACCEPTED = "accepted.json"  # who vouches that other code would make the same result
BEGUN_WITH = "code.json"  # the digests of the code that an unfinished task has been computed with

# of a training
JOURNAL = "journal.jsonl"
VALIDATION = "validation.jsonl"
CURVES = (JOURNAL, VALIDATION)  # a training that lost lines of these is not trained again
CHECKPOINTS, KEPT, SNAPSHOTS = "checkpoints", "kept", "snapshots"  # folders
GRIDS = "samples"  # folder of pictures that were drawn from the same noise along the way
PRUNE = "prune"  # asks a training to end early
PRUNED = "pruned.json"  # says where it did
CONTINUES = "continues.json"  # says at the end of which shorter training it began

# of a data set
DECODED = "decoded"  # folder of what is decoded, while it is prepared

# of an evaluation
STATISTICS = "statistics.safetensors"  # of a published reference as well
INFLUENCES = "influences.safetensors"  # of every image on every metric that has an error
SAMPLES = "samples.png"
DENOISING = "denoising.png"  # how the first images came out of noise, step by step
PAIRS = "closest.png"  # images and their nearest training images

# of a classifier
STATE = "state"  # stem of its checkpoint, which is there until it is done

# in the folder of a store
MLFLOW_DATABASE = "mlflow.db"
MIRROR = "mirror"  # folder of what the mirrors in MLflow know and tell each other
DAMAGED = "damaged"  # folder of what was set aside
REPLACED = "replaced"  # folder of results that are made again, as other code made them
CODE = "code"  # folder: what each part of the code consisted of, by its digest
RUNS = "sessions"  # folder of active runs; its name is from when runs were called sessions
STOP, CANCEL = "stop", "cancel-"  # ask a run to stop, or to leave the task whose signature follows
