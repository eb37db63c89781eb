"""What MLflow shows as the description of a run: the numbers of a finished task, with intervals, and its picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from experiments.store.folders import listed
from experiments.store.layout import DENOISING, GRIDS, PAIRS, SAMPLES
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.sweep.metrics import headlines
from experiments.sweep.tasks import Evaluation, Training, called
from experiments.wording import duration
from reports.metrics import METRICS, NORMAL_95, common_decimals, is_rounding, metric_info, shown, title_of

Row = tuple[str, ...]


def artifact_link(run_id: str, path: str) -> str:
    """Return the address of a run's file, after that of the server and a slash."""
    return f"get-artifact?{urlencode({'path': path, 'run_uuid': run_id})}"


def describe_evaluation(evaluation: Evaluation, result: EvaluationResult, run_id: str, folder: Path) -> str:
    """Return the scores of an evaluation and its pictures, as Markdown. folder: with its files."""
    drawn = f"{result.images or evaluation.config.images:,} images"
    if result.stopped_at is not None:
        drawn = f"stopped after {result.stopped_at:,} images, as another cell was clearly better"
    first = ", ".join(
        f"{title_of(name)} {shown(name, value, _margin(name, result.metrics))}"
        for name, value in headlines(result.metrics).items()
    )
    pictures = {
        SAMPLES: "Samples",
        DENOISING: "The first samples from noise to image, step by step",
        PAIRS: "Drawn images and the training images closest to them",
    }
    samples, *others = (
        _picture(title, run_id, name) if (folder / name).exists() else "" for name, title in pictures.items()
    )
    notes = "\n".join(f"- {note}" for note in result.notes)
    parts = [f"**{first or 'No scores'}** ({drawn}; {result.label})", samples, _scores_table(result.metrics), notes]
    return "\n\n".join(part for part in (*parts, *others) if part)


def describe_training(training: Training, result: TrainingResult, run_id: str, folder: Path) -> str:
    """Return what a training came to and its newest sample grid, as Markdown. folder: with its files."""
    if training.pretrained is not None:
        origin = ("Network that was trained elsewhere", called(training.pretrained))
        return _table(("", ""), [origin, ("Parameters", f"{result.parameters:,}")])
    losses = {"Loss": result.loss, "Loss on the val split": result.val_loss}
    rows = [(name, f"{value:.4f}") for name, value in losses.items() if value is not None]
    rows += [("Parameters", f"{result.parameters:,}"), ("Images seen", f"{result.kimg:,g} thousand")]
    if training.start is not None:
        rows.append(("Began with the network of", called(training.start)))
    if result.continues:
        rows.append(("Began where this training ended", result.continues))
    rows.append(("Training took", f"{duration(result.seconds)} on {result.device}"))
    parts = [_table(("", ""), rows)]
    grids = listed(folder / GRIDS, "[!.]*.png")
    parts += [_picture("Samples at the end", run_id, f"{GRIDS}/{path.name}") for path in grids[-1:]]
    return "\n\n".join(parts)


def _scores_table(metrics: Mapping[str, float]) -> str:
    rows = [_score_row(name, metrics) for name in METRICS if name in metrics]
    used = [column for column in range(5) if any(row[column] for row in rows)]
    heads = ("", "Score", "95% interval", "Real images", "Pure noise")
    return _table([heads[column] for column in used], [[row[column] for column in used] for row in rows])


def _score_row(name: str, metrics: Mapping[str, float]) -> Row:
    margin, info = _margin(name, metrics), metric_info(name)
    decimals = common_decimals([metrics[name]], [margin] if margin else [], info.scale, info.unit)
    found = [metrics.get(each) for each in (f"{name}_low", f"{name}_high", f"real_{name}", f"noise_{name}")]
    low, high, real, noise = (shown(name, value, decimals=decimals) if value is not None else "" for value in found)
    interval = f"{low} to {high}" if low and high else ""
    return (title_of(name), shown(name, metrics[name], margin), interval, real, noise)


def _margin(name: str, metrics: Mapping[str, float]) -> float | None:
    """Return half of a metric's 95% interval as tables show it, if it has one that is not but a rounding error wide.

    It is taken from the standard error: the ends of a share's interval stop at 0 and 1.
    """
    error = metrics.get(f"{name}_se")
    return None if error is None or is_rounding(error, (metrics[name],)) else NORMAL_95 * error


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = [*heads]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if head else ""


def _picture(title: str, run_id: str, path: str) -> str:
    return f"![{title}]({artifact_link(run_id, path)})"
