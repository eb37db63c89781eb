"""A plan in tables and sentences: its trainings, its cells, and what is left to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edm.config import Pretrained
from edm.cost import num_parameters
from experiments.cli.views.tables import TextTable, name, numbers, values
from experiments.runner.data_costs import preparing_s
from experiments.runner.downloads import Download
from experiments.runner.forecast import Forecast
from experiments.runner.schedule import Schedule
from experiments.sweep.jobs import Task
from experiments.sweep.plan import Plan, PlannedCell
from experiments.sweep.preparations import Preparation, WeightsDownload
from experiments.sweep.tasks import DataSource, Training
from experiments.wording import count, duration, shortened_list, shortest_ends, size

MAX_ROWS = 40
IN_STORE = "in the store"
REST = "... and {} more (--json lists all)"


def plan_tables(
    plan: Plan, schedule: Schedule, data: Sequence[DataSource] = (), fetched: Sequence[Download] = ()
) -> list[TextTable]:
    """Return what is to be prepared, the trainings and the cells; one table if every cell has a training of its own.

    data: data sets that the run would prepare. fetched: files that it would download.
    """
    shared = preparations_tables(schedule, data, fetched)
    if len({planned.training.signature for planned in plan.cells}) == len(plan.cells) == len(plan.trained):
        return [*shared, _cells_table(plan, schedule, with_training=True)]
    trained = [trainings_table(plan, schedule)] if plan.trained else []
    return [*shared, *trained, _cells_table(plan, schedule, with_training=False)]


def preparations_tables(schedule: Schedule, data: Sequence[DataSource], fetched: Sequence[Download]) -> list[TextTable]:
    """Return a table of what is left to prepare and how long that takes; none where nothing is."""
    left = [task for task in schedule.of("waiting") if isinstance(task, Preparation)]
    if not left and not data and not fetched:
        return []
    table = TextTable(name("preparation"), *numbers("images", "takes about"))
    for file in fetched:
        table.add(f"download {file.file} ({size(file.num_bytes)})", "", duration(file.seconds))
    for source in data:
        seconds = preparing_s(schedule.plan, source)
        table.add(schedule.plan.names[source.signature], f"{source.images:,}", duration(seconds))
    for task in left:
        title, images = schedule.name(task), f"{task.images:,}"
        if isinstance(task, WeightsDownload):
            title, images = f"download {title} ({size(task.file.bytes)})", ""
        table.add(title, images, duration(schedule.costs.seconds(task)))
    return [table]


def trainings_table(plan: Plan, schedule: Schedule) -> TextTable:
    """Return a row for every training: its size, and how many evaluations depend on it."""
    columns = (name("training"), *numbers("parameters", "kimg", "evaluations"), *values(""))
    table = TextTable(*columns, remark=_rest(len(plan.trained)))
    for signature, training in list(plan.trained.items())[:MAX_ROWS]:
        table.add(
            plan.names[signature],
            f"{num_parameters(training.network):,}",
            f"{training.config.kimg:g}",
            f"{sum(training in evaluation.depends_on for evaluation in plan.evaluations.values()):,}",
            IN_STORE if signature in schedule.present else _begins(training, schedule),
        )
    return table


def _begins(training: Training, schedule: Schedule) -> str:
    """Return where a training begins, if not at the start."""
    kimg = begins_at_kimg(training, schedule)
    return f"from {kimg:g} kimg" if kimg else ""


def begins_at_kimg(training: Training, schedule: Schedule) -> float:
    """Return after how many thousand images a training begins that is not done."""
    return round(schedule.costs.saved_share(training) * training.config.total_kimg, 3)


def _cells_table(plan: Plan, schedule: Schedule, with_training: bool) -> TextTable:
    of_training = ("parameters", "kimg") if with_training else ()
    columns = (name("cell"), *numbers(*of_training, "images", "NFE"), *values(""))
    table = TextTable(*columns, remark=_rest(len(plan.cells)))
    for planned in plan.cells[:MAX_ROWS]:
        evaluation, training = planned.evaluation, planned.training
        size = (f"{num_parameters(training.network):,}", f"{training.config.kimg:g}") if with_training else ()
        drawn = (f"{evaluation.config.images:,}", f"{evaluation.sampling.nfe:,}")
        table.add(plan.cell_name(planned), *size, *drawn, _state(planned, schedule, with_training))
    return table


def _state(planned: PlannedCell, schedule: Schedule, with_training: bool) -> str:
    if planned.evaluation.signature in schedule.present:
        return IN_STORE
    if not with_training:
        return ""
    done = planned.training.signature in schedule.present
    return f"training {IN_STORE}" if done else _begins(planned.training, schedule)


def _rest(rows: int) -> str:
    return REST.format(rows - MAX_ROWS) if rows > MAX_ROWS else ""


def plan_lines(plan: Plan, schedule: Schedule, estimate: Forecast) -> Iterator[str]:
    """Yield the plan in sentences."""
    pretrained = plan.trainings.keys() - plan.trained.keys()
    present = schedule.present - pretrained
    trained, scored = len(present & plan.trainings.keys()), len(present & plan.evaluations.keys())
    given = f", {count(len(pretrained), 'pretrained network')}" if pretrained else ""
    yield (
        f"{plan.sweep.name}: {count(len(plan.cells), 'cell')} from {count(len(plan.trained), 'training')} "
        f"({trained:,} in the store){given} and {count(len(plan.evaluations), 'evaluation')} "
        f"({scored:,} in the store)"
    )
    yield from plan.equivalences
    yield from _left_lines(plan, schedule, estimate)
    for warning in plan.warnings:
        yield f"Warning: {warning}"


def _left_lines(plan: Plan, schedule: Schedule, estimate: Forecast) -> Iterator[str]:
    left = schedule.of("waiting")
    if not left:
        yield "Nothing is left to do."
        return
    yield from _start_line(plan, left)
    yield from _shorter_line(plan, schedule)
    basis = "based on measurements" if estimate.measured else "a rough guess: nothing has been measured here yet"
    yield f"{count(len(left), 'task')} left, about {duration(estimate.wall_s)} ({basis})"


def _start_line(plan: Plan, left: Sequence[Task]) -> Iterator[str]:
    """Yield a sentence on the trainings that begin with networks of files or of other trainings."""
    starts = [task.start for task in left if isinstance(task, Training)]
    files = [start.path for start in starts if isinstance(start, Pretrained)]
    if files:
        verb = "begins" if len(files) == 1 else "begin"
        names = [*shortest_ends(files).values()]
        yield f"{count(len(files), 'training')} {verb} with the weights of {shortened_list(names)}"
    others = [start for start in starts if isinstance(start, Training)]
    if others:
        verb = "begins" if len(others) == 1 else "begin"
        yield f"{count(len(others), 'training')} {verb} with the network of another, which is trained first"


def _shorter_line(plan: Plan, schedule: Schedule) -> Iterator[str]:
    """Yield a sentence on what is not trained, as trainings begin where shorter ones end."""
    left = [task for task in schedule.of("waiting") if isinstance(task, Training) and task.signature in plan.trained]
    saved_kimg = {task.signature: begins_at_kimg(task, schedule) for task in left}
    begin = sum(signature in schedule.continuing for signature in saved_kimg)
    if begin:
        whole = sum(task.config.total_kimg for task in left)
        verb = "begins where a shorter one ends" if begin == 1 else "begin where shorter ones end"
        kimg = f"{whole - sum(saved_kimg.values()):,g} of {whole:,g} kimg"
        yield f"{count(begin, 'training')} {verb}: {kimg} are left to train"
