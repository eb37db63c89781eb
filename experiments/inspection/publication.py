"""A cell as a folder for others, in the layout of Hugging Face's hub: network, configuration, samples and a card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from edm.config import DataConfig, EvaluationConfig, SamplingConfig, extensions_in
from edm.files import MODEL
from experiments.errors import UserError
from experiments.inspection.lookup import NamedTask, find_one, stored_task
from experiments.store.layout import SAMPLES
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.metrics import ERRORS
from experiments.sweep.spec import section_parameters
from experiments.sweep.tasks import Evaluation, Training, called
from experiments.trials.extensions import listing
from reports.metrics import CHANCE_NOTE, METRICS, NORMAL_95, shown, title_of, unscaled_title

CARD, ATTRIBUTES = "README.md", ".gitattributes"
IMAGES = "THESE_IMAGES"  # what a card calls the place of a folder of images
IMAGE_FOLDER = "imagefolder"  # the hub's name for data sets that are folders of images
IN_PYTHON = """

In Python:

    import edm
    denoiser = edm.load("THIS_FOLDER")  # (x, sigma, label) -> denoised"""
TASK = "unconditional-image-generation"  # the hub's name for all that draw from noise


def publish(text: str, store: Store, folder: Path) -> list[Path]:
    """Write the network of the cell that `text` matches into a folder, with all that others need; return its files.

    Raises UserError where the cell is not done, or where its images need a second network.
    """
    named = find_one(text, store)
    evaluation, result = _finished(named, text, store)
    with _filled(folder):
        from experiments.trials.publish import NETWORK_CONFIG, write_network  # heavy

        parameters = write_network(store, evaluation, folder)
        samples = store.folder_of(evaluation) / SAMPLES
        if samples.exists():
            shutil.copyfile(samples, folder / SAMPLES)
        (folder / ATTRIBUTES).write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        training, config = evaluation.training, evaluation.config
        files = listing(extensions_in((training.data.config, training.network, evaluation.sampling, config)), store)
        (folder / CARD).write_text(model_card(named, evaluation, result, parameters, samples.exists(), files))
    names = (MODEL, NETWORK_CONFIG, CARD, ATTRIBUTES, *((SAMPLES,) if samples.exists() else ()))
    return [folder / name for name in names]


def _finished(named: NamedTask, text: str, store: Store) -> tuple[Evaluation, EvaluationResult]:
    if named.evaluation is None:
        raise UserError(f"{text}: is a training; give one of the cells that draw from it")
    evaluation = stored_task("evaluation", named.evaluation, text, store)
    assert isinstance(evaluation, Evaluation)
    result = store.result(EvaluationResult, named.evaluation)
    if result is None:
        raise UserError(f"{text}: is not done yet; run its sweep first")
    if evaluation.guide is not None:
        raise UserError(f"{text}: is drawn with the help of a second network; give a cell without sampling.guide")
    return evaluation, result


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Provide a new or empty folder; if the block fails, what it wrote and the folders made for it are removed."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"--to {folder}: is not empty; give a new folder")
    except OSError as error:
        raise UserError(f"--to {folder}: cannot be made ({error.strerror}); give another folder") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in folder.iterdir():
                path.unlink()
            for path in made:
                path.rmdir()
        raise


# the card -----------------------------------------------------------------------------------------


def model_card(
    named: NamedTask,
    evaluation: Evaluation,
    result: EvaluationResult,
    parameters: int,
    has_samples: bool,
    files: Sequence[str] = (),
) -> str:
    """Return README.md: metadata for the hub, then what a reader needs to know and to draw the images again.

    files: of extensions, as a sweep file lists them.
    """
    title = f"{named.sweep}: {named.name}" if named.sweep else named.name
    header = yaml.safe_dump(_metadata(title, evaluation, result), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{header}---",
        f"# {title}",
        _description(evaluation, parameters),
        *(["![Samples](samples.png)"] if has_samples else []),
        "## Scores",
        "\n".join(_table(result)),
        _scores_note(evaluation, result),
        "## Draw from it",
        _commands(evaluation, files),
        "## Where it comes from",
        _origin(evaluation, result),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(title: str, evaluation: Evaluation, result: EvaluationResult) -> dict[str, object]:
    data = evaluation.training.data.config
    metrics = [
        {"type": metric, "name": _metric_name(metric, evaluation), "value": result.metrics[metric]}
        for metric in _metrics(result)
    ]
    kind = IMAGE_FOLDER if data.name == "folder" else str(data.name)
    own = {"task": {"type": TASK}, "dataset": {"type": kind, "name": data.title}, "metrics": metrics}
    return {
        "library_name": "edm-sweep",
        "pipeline_tag": TASK,
        "tags": ["diffusion", "edm", str(evaluation.training.network.architecture)],
        "datasets": [kind],
        "model-index": [{"name": title, "results": [own]}],
    }


def _metric_name(metric: str, evaluation: Evaluation) -> str:
    """A metric as the hub lists it, beside those of other models: an FID means nothing without its features."""
    title = unscaled_title(metric)
    return f"{title} ({evaluation.features.label})" if METRICS[metric].split else title


def _metrics(result: EvaluationResult) -> Iterator[str]:
    return (metric for metric in METRICS if metric in result.metrics)


def _description(evaluation: Evaluation, parameters: int) -> str:
    training, network = evaluation.training, evaluation.training.network
    classes = f"in {network.num_classes} classes" if network.num_classes else "without classes"
    return (
        f"A diffusion model (EDM, [Karras et al. 2022](https://arxiv.org/abs/2206.00364)) of {network.resolution}x"
        f"{network.resolution} images of {training.data.config.title}, {classes}. The network "
        f"(`{network.architecture}`, {parameters:,} parameters) {_trained(training)}."
    )


def _trained(training: Training) -> str:
    """How a network came about, as the end of a sentence."""
    if training.pretrained is not None:
        return f"was not trained here: it is that of {called(training.pretrained)}"
    trained = f"was trained on {training.config.total_kimg:g} thousand images"
    start = training.start
    return trained if start is None else f"{trained}, beginning with the network of {called(start)}"


def _table(result: EvaluationResult) -> Iterator[str]:
    yield "| metric | value |"
    yield "| --- | ---: |"
    for metric in _metrics(result):
        error = result.metrics.get(f"{metric}{ERRORS[0]}")
        yield f"| {title_of(metric)} | {shown(metric, result.metrics[metric], error and NORMAL_95 * error)} |"


def _scores_note(evaluation: Evaluation, result: EvaluationResult) -> str:
    drawn, sampling = result.images or evaluation.config.images, evaluation.sampling
    chance = f" {CHANCE_NOTE}" if any(METRICS[metric].by_chance for metric in _metrics(result)) else ""
    return (
        f"Of {drawn:,} images; {evaluation.features.label}. ± is half of a 95% interval. Drawn by `{sampling.sampler}` "
        f"in {sampling.steps} steps ({sampling.nfe} network evaluations per image) at guidance {sampling.guidance:g}."
        f"{chance}"
    )


def _commands(evaluation: Evaluation, files: Sequence[str]) -> str:
    data, config = evaluation.training.data.config, replace(evaluation.config, statistics=None)
    images = {"path": IMAGES} if data.name == "folder" else {}  # where they are is nobody else's business
    needed = [f"where {IMAGES} is the folder of the images that it was trained on"] if images else []
    belong = "belongs to it and is" if len(files) == 1 else "belong to it and are"
    together = " and ".join(filter(None, (", ".join(files[:-1]), *files[-1:])))
    needed += [f"beside {together}, which {belong} not published here"] if files else []
    note = "".join(f", {each}" for each in needed)
    extensions = f"\n    extensions: [{', '.join(files)}]" if files else ""
    return f"""\
In a sweep file of edm-sweep, whose rows then draw the images above again, bit for bit on the same kind of device{note}:

    name: published{extensions}
    data:       {_given("data", data, ("name",), **images)}
    model:      {{from: THIS_FOLDER}}
    sampling:   {_given("sampling", evaluation.sampling, ("sampler", "steps"))}
    evaluation: {_given("evaluation", config, ("images", "features"))}

    edm-sweep run published.yaml{"" if any(extensions_in(evaluation.training.network)) else IN_PYTHON}"""


def _given(
    section: str, config: DataConfig | SamplingConfig | EvaluationConfig, always: tuple[str, ...], **instead: str
) -> str:
    """Return a section as a sweep file has it: some fields always, others if they differ from their defaults.

    instead: values to write in place of the configuration's.
    """
    default, given = section_parameters(section, type(config)()), dict[str, Any]()
    for parameter, value in section_parameters(section, config).items():
        *around, name = parameter.split(".")[1:]  # such as sampler_options, weight
        if parameter in default and value == default[parameter] and name not in always:
            continue
        place = given
        for key in around:
            place = place.setdefault(key, {})
        place[name] = value
    written = json.loads(json.dumps({**given, **instead}))
    return yaml.safe_dump(written, sort_keys=False, default_flow_style=True, width=10_000).strip()


def _origin(evaluation: Evaluation, result: EvaluationResult) -> str:
    made = result.provenance
    commit = f", at commit {made.git_commit}" if made.git_commit else ""
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items() if version)
    return (
        f"Made by `{made.command or 'edm-sweep'}`{commit}. Training {evaluation.training.signature}, evaluation "
        f"{evaluation.signature}. Packages: {packages or 'not recorded'}."
    )
