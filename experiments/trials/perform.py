"""Does one task, given the store, and reports how it ended. No Ray, no MLflow.

Every task can be killed at any moment and done again: it continues from what is in the store. Torch is loaded once a
task has begun, so that `status` can show "loading torch".
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from experiments.extensions import place_of_error
from experiments.store.fencing import discard
from experiments.store.layout import FAILURE, LOG, PROGRESS
from experiments.store.leases import Held, LeaseLost
from experiments.store.progress import LOADING_TORCH
from experiments.store.provenance import working_for
from experiments.store.store import Store
from experiments.sweep.jobs import Job, Outcome, Task
from experiments.sweep.preparations import ExactSolution, FeatureClassifier, ReferenceStatistics, WeightsDownload
from experiments.sweep.tasks import DataSource, Evaluation, Training
from experiments.trials.context import Interrupted, Pruned, TrialContext
from experiments.trials.extensions import require_loaded
from experiments.trials.logs import logging_to, prints_to
from experiments.trials.memory import return_freed_memory
from experiments.trials.progress import PhaseReporter

log = logging.getLogger("edm_sweep")


def perform_job(store: Store, job: Job, context: TrialContext) -> Iterator[tuple[str, Outcome]]:
    """Do a trial's tasks one after the other; yield each one's signature and how it ended."""
    for task in job.tasks:
        began = time.monotonic()
        outcome = help_with(store, task, context) if job.helps else perform(store, task, context)
        return_freed_memory()
        yield task.signature, replace(outcome, seconds=time.monotonic() - began)
        if outcome.failure is not None and outcome.failure.kind == "device":
            return  # this process may compute wrong values from now on


def perform(store: Store, task: Task, context: TrialContext) -> Outcome:
    """Do a task, its output in log.txt; a failure is recorded in failure.json and never raised."""
    kind = task.store_kind
    try:
        with working_for(context.run_info), store.try_lock(kind, task.signature) as folder:
            return _perform_locked(store, task, context, folder)
    except Held as held:
        return Outcome("elsewhere", str(held))
    except LeaseLost:
        return _moved(store) or Outcome("elsewhere", "it took over while this worker did not respond")
    except Interrupted:
        return Outcome("interrupted")
    except Pruned as pruned:
        return Outcome("pruned", str(pruned))
    except OSError as error:  # of the lock or the log: there is no place to write more of it down
        from experiments.trials.failures import failure_of  # heavy

        folder = store.folder(kind, task.signature)
        return _moved(store) or Outcome.failed(failure_of(error, folder / LOG, f"{folder}: cannot be written"))


def _moved(store: Store) -> Outcome | None:
    """Return how a task ends whose store is gone; None where it is there."""
    return None if store.root.is_dir() else Outcome("elsewhere", f"{store.root} was moved or removed")


def help_with(store: Store, evaluation: Task, context: TrialContext) -> Outcome:
    """Draw parts of an evaluation that another trial works on; whatever goes wrong is left to that one."""
    from experiments.trials.evaluation.draw import help_draw  # heavy
    from experiments.trials.failures import failure_of  # heavy

    assert isinstance(evaluation, Evaluation)
    context.limit_threads()
    try:
        require_loaded(evaluation, store)
        with working_for(context.run_info):
            help_draw(store, evaluation, context)
    except (Interrupted, LeaseLost):
        return Outcome("interrupted")
    except Exception as error:
        return Outcome.failed(failure_of(error, store.folder_of(evaluation) / LOG))
    return Outcome("done")


def _perform_locked(store: Store, task: Task, context: TrialContext, folder: Path) -> Outcome:
    for earlier in (FAILURE, PROGRESS):
        (folder / earlier).unlink(missing_ok=True)
    with logging_to(folder / LOG), prints_to(folder / LOG):
        try:
            if store.stop_requested(context.run_id, task.signature):
                raise Interrupted
            if not isinstance(task, WeightsDownload | DataSource):
                _load_torch(context, folder)
            if not isinstance(task, WeightsDownload):
                require_loaded(task, store)
            _run_task(store, task, context)
        except (Held, LeaseLost):
            raise
        except Interrupted:
            log.info("interrupted on request")
            raise
        except Pruned as pruned:
            log.info("%s", pruned)
            raise
        except Exception as error:
            return _record_failure(folder, error)
        except SystemExit as error:
            if not place_of_error(error):  # not of an extension: the worker is asked to leave
                raise
            return _record_failure(folder, error)
        finally:
            discard(folder / PROGRESS)
    return Outcome("done")


def _load_torch(context: TrialContext, folder: Path) -> None:
    """Load what takes seconds: of a worker's tasks, the first one waits for it."""
    if "torch" not in sys.modules:
        PhaseReporter(folder)(LOADING_TORCH)
    context.limit_threads()
    from experiments.trials.spare_compiler import spare_compiler  # heavy

    spare_compiler()
    if context.gpus > 0 and context.device.type == "cpu":
        log.warning("a GPU was assigned but torch sees none: computing on the CPU")


def _run_task(store: Store, task: Task, context: TrialContext) -> None:
    if isinstance(task, WeightsDownload):
        from experiments.trials.downloads import run_download  # heavy

        run_download(store, task, context)
        return
    if isinstance(task, DataSource):
        from experiments.trials.datasets import run_preparation

        run_preparation(store, task, context)
        return
    from experiments.trials.classifier import run_classifier  # heavy
    from experiments.trials.evaluation.context import forget_models  # heavy
    from experiments.trials.evaluation.evaluate import run_evaluation  # heavy
    from experiments.trials.evaluation.prepare import run_references  # heavy
    from experiments.trials.evaluation.solution import run_solution  # heavy
    from experiments.trials.probe import run_probe  # heavy
    from experiments.trials.training.train import run_training  # heavy

    if isinstance(task, Evaluation):
        run_evaluation(store, task, context)
        return
    if isinstance(task, ExactSolution):
        run_solution(store, task, context)
        return
    if isinstance(task, ReferenceStatistics):
        run_references(store, task, context)
        return
    forget_models()  # a training may need all memory
    if isinstance(task, Training):
        run_training(store, task, context)
    elif isinstance(task, FeatureClassifier):
        run_classifier(store, task, context)
    else:
        run_probe(store, task, context)


def _record_failure(folder: Path, error: BaseException) -> Outcome:
    from experiments.trials.failures import PLAIN_KINDS, failure_of  # heavy

    failure = failure_of(error, folder / LOG)
    log.error("%s", error if failure.kind in PLAIN_KINDS else "".join(traceback.format_exception(error)))
    with suppress(OSError):  # of a full disk; the outcome carries the same
        failure.write(folder)
    return Outcome.failed(failure)
