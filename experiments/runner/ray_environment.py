"""Settings that Ray and its workers read from the environment: import this module before Ray."""

import os
from pathlib import Path

SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would start workers through uv and upload the folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    # no workers before there are trials: theirs have another environment, so that Ray would start them anew, and where
    # no worker can start, ray.init would wait for the first one for minutes, without letting Ctrl-C through
    "RAY_prestart_worker_first_driver": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the older output prints nothing
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # runner/run.py stops trials itself, after they have saved
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # the searcher itself hands out no more than there is room for, and one
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # nothing depends on Tune's own state
}
# The C library (glibc) of a worker keeps memory that tensors free, for the next ones. By default it returns large
# blocks to the system, which clears every page of the next tensor: half the time of an element-wise operation on a CPU.
# The library reads this as a process starts; at the end of a task a worker returns what it kept (trials/memory.py)
KEPT_MEMORY = {
    "MALLOC_ARENA_MAX": "1",  # a thread's own arena would return it all the same
    "MALLOC_MMAP_THRESHOLD_": str(2**32),  # bytes of a block
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
# A worker's threads wait for each other in a loop for some milliseconds before they sleep (libgomp's default). Where
# other processes want the cores, that keeps the awaited thread from running: two runs with two threads each, on two
# busy cores, trained 3.6 times as fast with this many rounds; alone, a network of 8x8 pixels lost 7%
SHORT_WAITS = {"GOMP_SPINCOUNT": "10000"}
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

os.environ.update(
    {name: value for name, value in (SETTINGS | KEPT_MEMORY | SHORT_WAITS).items() if name not in os.environ}
)
if any(name in os.environ for name in TOKENS) or Path("~/.ray/auth_token").expanduser().exists():
    # 'ray start' asks for a token where there is one; a cluster that asks for none admits who shows one as well
    os.environ.setdefault("RAY_AUTH_MODE", "token")
