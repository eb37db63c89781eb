"""What one trial does, given the store: train a network, or draw images from one and score them. No Ray, no MLflow.

Every piece of work can be killed at any moment and done again: it goes on from what is in the store.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from edm.config import SPLITS, ClassifierConfig, Split
from edm.data.errors import DataError
from edm.data.prepare import FILES, Dataset, open_prepared, prepare, to_uint8
from edm.data.sources import OnProgress, Origin
from edm.ema import Snapshot, combined, posthoc_coefficients
from edm.features import (
    Classifier,
    Extractor,
    WeightsError,
    extract,
    image_statistics,
    inception_file,
    load_inception,
    train_classifier,
)
from edm.fid import Statistics, frechet_distance
from edm.files import MODEL, load_model, load_tensors, save_model, save_tensors
from edm.generate import Drawn, generate
from edm.network import on_device
from edm.noise import Stream, normals
from edm.pictures import save_grid
from edm.precondition import Denoiser
from edm.train import Computing, TrainingSet, TrainState, averaged_model, train, with_statistics
from edm.validation import VALIDATION_IMAGES, validation_losses
from experiments.checkpoints import SNAPSHOTS, DivergedError, Ledger, read_sealed, write_sealed
from experiments.errors import UserError
from experiments.milestones import GRID_IMAGES, GRID_SAMPLING, LOOK_BATCHES, Milestones
from experiments.plan import DataSource, Evaluation, FeatureSpace, Piece, Subset, Training
from experiments.provenance import provenance
from experiments.store import (
    CONFIG,
    FAILURE,
    GRIDS,
    JOURNAL,
    KIND_OF_PIECE,
    LOG,
    PROGRESS,
    VALIDATION,
    Store,
    replacing,
    write_json,
    write_soon,
)

STATISTICS = "statistics.safetensors"
SAMPLES = "samples.png"

SEGMENT_IMAGES = 1000  # statistics are kept and merged by segments of this size, in order: so to the same bits
PREVIEW_IMAGES = 100
NOISE_IMAGES = 1000
PULSE_S = 0.5  # how often progress is written and a request to stop is looked for
CHECKPOINT_SHARE = 0.02  # at most this share of the time goes into checkpoints


EXPECTED_ERRORS = (UserError, DivergedError, DataError, WeightsError)  # that say all there is to say

log = logging.getLogger("edm_sweep")


Drawer = Callable[[int, int], Iterator[Drawn]]  # images start to stop - 1, a batch at a time


class Stopped(Exception):
    """The run was asked to stop; what there is has been saved."""


@dataclass(frozen=True)
class Setting:
    """Where and how a trial runs; nothing here changes a result on the same kind of machine."""

    session: str
    threads: int = 1
    gpus: float = 0.0
    sampling_batch: int = 250
    checkpoint_s: float = 15.0
    compile: bool | None = None

    @property
    def device(self) -> torch.device:
        """The device that the trial computes on."""
        return torch.device("cuda" if self.gpus > 0 and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended: done, stopped on request, or failed."""

    state: Literal["done", "stopped", "failed"]
    message: str = ""


def perform(store: Store, piece: Piece, setting: Setting) -> Outcome:
    """Do a piece of work, its output in log.txt; a failure is recorded in failure.json and never raised."""
    torch.set_num_threads(setting.threads)
    try:
        with store.lock(
            KIND_OF_PIECE[piece.kind], piece.signature, lambda: _raise_if_stopped(store, setting)
        ) as folder:
            return _perform_locked(store, piece, setting, folder)
    except Stopped:
        return Outcome("stopped")


def _perform_locked(store: Store, piece: Piece, setting: Setting, folder: Path) -> Outcome:
    (folder / FAILURE).unlink(missing_ok=True)
    with _logged(folder / LOG):
        try:
            _raise_if_stopped(store, setting)
            if setting.gpus > 0 and setting.device.type == "cpu":
                log.warning("a GPU was assigned but torch sees none: computing on the CPU")
            if isinstance(piece, Training):
                run_training(store, piece, setting)
            else:
                run_evaluation(store, piece, setting)
        except Stopped:
            log.info("stopped on request")
            raise
        except EXPECTED_ERRORS as error:
            log.error("%s", error)
            return _failed(folder, str(error))
        except Exception as error:
            log.error("%s", traceback.format_exc())
            return _failed(folder, f"{type(error).__name__}: {error}")
        finally:
            (folder / PROGRESS).unlink(missing_ok=True)
    return Outcome("done")


def _failed(folder: Path, message: str) -> Outcome:
    write_json(folder / FAILURE, {"message": message, "time": time.time()})
    return Outcome("failed", message)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send logging, warnings and prints of this process to a file."""
    with path.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.removeHandler(handler)


class Pulse:
    """Tells how far a piece of work is, and raises Stopped where that is asked for, at most twice a second."""

    def __init__(self, store: Store, setting: Setting, folder: Path, unit: str, total: float) -> None:
        self.store, self.setting, self.path = store, setting, folder / PROGRESS
        self.unit, self.total = unit, total
        self.started = time.monotonic()
        self.begun_at: float | None = None
        self.last = -math.inf

    def beat(self, done: float, **more: float) -> bool:
        """Report `done` of the total; True where it is time to look whether to stop."""
        now = time.monotonic()
        if now - self.last < PULSE_S:
            return False
        if self.begun_at is None:
            self.begun_at = done
        self.last = now
        elapsed = now - self.started
        rate = (done - self.begun_at) / elapsed if elapsed > 1 else 0.0
        write_soon(
            self.path, {"done": done, "total": self.total, "unit": self.unit, "rate": rate, "time": time.time(), **more}
        )
        return True

    def raise_if_stopped(self) -> None:
        """Raise Stopped where the run was asked to stop."""
        _raise_if_stopped(self.store, self.setting)


def _raise_if_stopped(store: Store, setting: Setting) -> None:
    if store.stop_requested(setting.session):
        raise Stopped


# prerequisites ------------------------------------------------------------------------------------


def ensure_data(
    store: Store,
    source: DataSource,
    origin: Origin | None = None,
    on_progress: OnProgress = lambda _step, _done, _total: None,
) -> Dataset:
    """A prepared data set, prepared first if it is not there, by default from where Origin.usual says.

    Raises UserError where that is not possible.
    """

    def build(folder: Path) -> dict[str, Any]:
        try:
            made = prepare(source.config, folder, origin or Origin.usual(store.root), on_progress)
        except DataError as error:
            raise UserError(str(error)) from None
        return {**made, "provenance": provenance()}

    result = store.ensure("data", source.signature, build, FILES)
    for name in FILES:
        store.checked("data", source.signature, name)
    return open_prepared(store.folder("data", source.signature), result["sigma_data"])


def check_weights() -> None:
    """Fetch or find Inception's weights, before any work is started that needs them in the end."""
    try:
        inception_file()
    except WeightsError as error:
        raise UserError(str(error)) from None


def ensure_extractor(store: Store, source: DataSource, space: FeatureSpace, device: torch.device) -> Extractor:
    """The feature extractor of a space, on `device`; a classifier is trained first if it is not there."""
    if space.classifier is None:
        return load_inception(device)
    config = ClassifierConfig()

    def build(folder: Path) -> dict[str, Any]:
        data = ensure_data(store, source)
        log.info("training the feature classifier, %d epochs", config.epochs)
        *_, classifier = train_classifier(config, data, source.num_classes)
        save_tensors(classifier.state_dict(), folder / MODEL)
        accuracy = {split: _accuracy(classifier, data, split) for split in SPLITS}
        log.info("its accuracy: %s", accuracy)
        return {"accuracy": accuracy, "config": dataclasses.asdict(config), "provenance": provenance()}

    store.ensure("classifiers", space.classifier, build, [MODEL])
    classifier = Classifier(config, source.channels, source.resolution, source.num_classes)
    classifier.load_state_dict(load_tensors(store.checked("classifiers", space.classifier, MODEL)))
    return on_device(classifier, device).eval()


def _accuracy(classifier: Classifier, data: Dataset, split: Split) -> float:
    images, labels = data.split(split)
    classes = extract(classifier, images)[1]
    assert classes is not None
    return float((classes == labels).double().mean())


def ensure_reference(
    store: Store,
    source: DataSource,
    space: FeatureSpace,
    subset: Subset,
    extractor: Extractor,
    device: torch.device,
) -> Statistics:
    """Statistics of a split's real images, or of images of pure noise, computed first if they are not there."""
    name = space.reference(source, subset)

    def build(folder: Path) -> dict[str, Any]:
        if subset == "noise":
            shape = (source.channels, source.resolution, source.resolution)
            images = to_uint8(normals(0, Stream.BASELINE, torch.arange(NOISE_IMAGES), shape))
        else:
            images = ensure_data(store, source).split(subset)[0]
        log.info("reference statistics of %d images (%s)", len(images), subset)
        save_tensors(image_statistics(extractor, images, device).tensors(), folder / STATISTICS)
        return {"subset": subset, "images": len(images), "features": space.label, "provenance": provenance()}

    store.ensure("references", name, build, [STATISTICS])
    return Statistics.from_tensors(load_tensors(store.checked("references", name, STATISTICS)))


# training -----------------------------------------------------------------------------------------


def run_training(store: Store, training: Training, setting: Setting) -> None:
    """Train a network from its last checkpoint, or from nothing, to the end; the caller holds its lock."""
    if store.result("trainings", training.signature) is not None:
        return
    folder = store.folder("trainings", training.signature)
    _write_config(folder, training)
    device, config = setting.device, training.config
    data = ensure_data(store, training.data)
    computing = Computing.choose(config, device, setting.compile)
    state = TrainState(training.network, config, data.sigma_data, training.seed, device, computing)
    ledger = Ledger(folder, state)
    examples = TrainingSet.of(data, device)
    log.info(
        "training %s on %s, %d threads, %s, from step %d",
        *(training.signature, device, setting.threads, computing, state.step),
    )
    lookout = Lookout(folder, ledger, data, examples)
    _train_to_the_end(lookout, Pulse(store, setting, folder, "kimg", _total_kimg(state)), setting)
    val_loss = lookout.finish()
    result = {
        "kimg": state.kimg,
        "loss": ledger.last_loss,
        "val_loss": val_loss,
        "seconds": ledger.seconds + ledger.other_seconds,
        "flops": training.flops,
        "device": _device_name(device),
        "threads": setting.threads,
        "computing": dataclasses.asdict(computing),
        "parameters": sum(p.numel() for p in state.denoiser.parameters()),
        "provenance": provenance(),
    }
    files = [MODEL, JOURNAL, VALIDATION, *ledger.permanent_files()]
    store.finish("trainings", training.signature, result, files)
    ledger.drop_checkpoints()
    log.info("done in %.1f s", result["seconds"])


def _total_kimg(state: TrainState) -> float:
    return state.config.num_steps * state.config.batch_size / 1000


class Lookout:
    """Looks at a training along the way, and keeps of it what its configuration asks for."""

    def __init__(self, folder: Path, ledger: Ledger, data: Dataset, examples: TrainingSet) -> None:
        self.folder, self.ledger, self.state, self.examples = folder, ledger, ledger.state, examples
        self.milestones = Milestones.of(self.state.config)
        rows = torch.as_tensor(data.splits["val"][:VALIDATION_IMAGES])
        self.images, self.labels = data.images[rows], data.labels[rows]

    def look(self) -> bool:
        """Do what is due after this step; True where the state ought to be saved as well."""
        due, step = self.milestones, self.state.step
        if step in due.snapshot:
            self.ledger.keep_snapshot()
        if step == self.state.config.num_steps:
            return False
        if step in due.validate | due.grid | due.keep:
            model = averaged_model(self.state, self.examples, LOOK_BATCHES)
            if step in due.validate:
                self._validate(model)
            if step in due.grid:
                self._draw_grid(model)
            if step in due.keep:
                self.ledger.keep_checkpoint()
        return step in due.save

    def finish(self) -> float:
        """Save the finished model, look at it once more, and return its loss on the val split."""
        began = time.monotonic()
        model = averaged_model(self.state, self.examples)
        with replacing(self.folder / MODEL) as temporary:
            save_model(model, temporary)
        self.ledger.validation.keep(lambda line: line["step"] < self.state.step)  # of a kill since
        self._draw_grid(model)
        loss = self._validate(model)
        self.ledger.other_seconds += time.monotonic() - began
        return loss

    def _validate(self, model: Denoiser) -> float:
        return self.ledger.note_validation(validation_losses(model, self.images, self.labels))

    def _draw_grid(self, model: Denoiser) -> None:
        sampling = GRID_SAMPLING
        if self.state.config.label_dropout == 1:
            sampling = dataclasses.replace(sampling, guidance=0.0)
        drawn = next(generate(model, sampling, 0, GRID_IMAGES, GRID_IMAGES))
        folder = self.folder / GRIDS
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"kimg{self.state.kimg:012.3f}.png") as temporary:
            save_grid(drawn.images, temporary, columns=8)


def _train_to_the_end(lookout: Lookout, pulse: Pulse, setting: Setting) -> None:
    """The loop around the loop: journal, looks, progress, checkpoints, stopping."""
    ledger, state = lookout.ledger, lookout.state
    before = last_saved = time.monotonic()
    interval = setting.checkpoint_s
    for loss in train(state, lookout.examples):
        now = time.monotonic()
        ledger.seconds += now - before
        ledger.note(loss)
        save = lookout.look()
        before = time.monotonic()
        ledger.other_seconds += before - now
        beat = pulse.beat(state.kimg, loss=ledger.last_loss)
        stopping = beat and pulse.store.stop_requested(setting.session)
        if save or stopping or (beat and now - last_saved > interval):
            began = time.monotonic()
            ledger.checkpoint()
            last_saved = before = time.monotonic()
            interval = max(setting.checkpoint_s, (last_saved - began) / CHECKPOINT_SHARE)
        if stopping:
            raise Stopped


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _write_config(folder: Path, piece: Piece) -> None:
    """config.yaml: for people, and for those who name a piece of work later (experiments/names.py)."""
    content = json.loads(json.dumps(dataclasses.asdict(piece)))
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False))


# evaluation ---------------------------------------------------------------------------------------


def run_evaluation(store: Store, evaluation: Evaluation, setting: Setting) -> None:
    """Draw an evaluation's images and score them, or only score them where they were drawn before."""
    done = store.result("evaluations", evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    _write_config(store.folder("evaluations", evaluation.signature), evaluation)
    extractor = ensure_extractor(store, evaluation.training.data, evaluation.features, setting.device)
    if done is None:
        drawn, splits = _draw_and_measure(store, evaluation, extractor, setting), evaluation.config.splits
    else:
        drawn, splits = done["drawn"], (*evaluation.config.splits, *done["splits"])
        store.checked("evaluations", evaluation.signature, STATISTICS)
    metrics = _score(store, evaluation, drawn, tuple(split for split in SPLITS if split in splits), extractor, setting)
    result = {
        "metrics": metrics,
        "label": evaluation.features.label,
        "splits": [split for split in SPLITS if split in splits],
        "seconds": drawn["seconds"],
        "flops": evaluation.flops,
        "device": drawn["device"],
        "drawn": drawn,
        "provenance": provenance(),
    }
    store.finish("evaluations", evaluation.signature, result, [STATISTICS, SAMPLES])
    log.info("done: %s", metrics)


def _score(
    store: Store,
    evaluation: Evaluation,
    drawn: dict[str, Any],
    splits: tuple[Split, ...],
    extractor: Extractor,
    setting: Setting,
) -> dict[str, float]:
    """Every metric of images that have been drawn and measured."""
    source, space = evaluation.training.data, evaluation.features
    statistics = Statistics.from_tensors(load_tensors(store.folder("evaluations", evaluation.signature) / STATISTICS))
    references: dict[Split, Statistics] = {
        split: ensure_reference(store, source, space, split, extractor, setting.device) for split in splits
    }
    noise = ensure_reference(store, source, space, "noise", extractor, setting.device)
    metrics = {f"fid_{split}": frechet_distance(statistics, reference) for split, reference in references.items()}
    if drawn["correct"] is not None:
        metrics["class_accuracy"] = drawn["correct"] / drawn["images"]
    return metrics | _scale(references, noise)


def _scale(references: Mapping[Split, Statistics], noise: Statistics) -> dict[str, float]:
    """Distances to read a score by: those of pure noise, and of the real train split to the other splits."""
    scale = {f"noise_fid_{split}": frechet_distance(noise, reference) for split, reference in references.items()}
    if "train" in references:
        real = references["train"]
        scale |= {f"real_fid_{split}": frechet_distance(real, r) for split, r in references.items() if split != "train"}
    return scale


def _draw_and_measure(store: Store, evaluation: Evaluation, extractor: Extractor, setting: Setting) -> dict[str, Any]:
    """Draw all images by segments, each kept when it is done; leaves statistics and a sample grid in the folder."""
    folder = store.folder("evaluations", evaluation.signature)
    segments, total = folder / "segments", evaluation.config.images
    draw_images = drawer(store, evaluation, setting)
    pulse = Pulse(store, setting, folder, "images", total)
    log.info("drawing %d images on %s, %d threads", total, setting.device, setting.threads)
    statistics: Statistics | None = None
    correct, seconds, preview = 0, 0.0, None
    for start in range(0, total, SEGMENT_IMAGES):
        stop = min(start + SEGMENT_IMAGES, total)
        tensors = _segment(
            segments, start, lambda a=start, b=stop: _draw_segment(draw_images, a, b, extractor, setting, pulse)
        )
        part = Statistics.from_tensors(tensors)
        statistics = part if statistics is None else statistics.merge(part)
        correct, seconds = correct + int(tensors["correct"]), seconds + float(tensors["seconds"])
        preview = tensors["preview"] if preview is None else preview
    assert statistics is not None and preview is not None
    with replacing(folder / STATISTICS) as temporary:
        save_tensors(statistics.tensors(), temporary)
    with replacing(folder / SAMPLES) as temporary:
        save_grid(preview, temporary)
    for path in segments.glob("*"):
        path.unlink()
    segments.rmdir()
    knows = (
        extractor.knows_classes and evaluation.training.network.num_classes > 0 and evaluation.sampling.guidance != 0
    )
    return {
        "images": total,
        "correct": correct if knows else None,
        "seconds": seconds,
        "device": _device_name(setting.device),
        "threads": setting.threads,
    }


def _segment(folder: Path, start: int, draw: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """A segment's tensors, drawn now if they were not kept."""
    for path in folder.glob(f"{start:08d}-*.safetensors"):
        tensors = read_sealed(path)
        if tensors is not None:
            return tensors
    tensors = draw()
    write_sealed(folder, f"{start:08d}", tensors)
    return tensors


def drawer(store: Store, evaluation: Evaluation, setting: Setting) -> Drawer:
    """What draws any slice of an evaluation's images, its networks loaded."""
    sampling, device = evaluation.sampling, setting.device
    model = load_averaged(store, evaluation.training, sampling.ema, device)
    guide = None
    if evaluation.guide is not None and sampling.guide is not None:
        guide = load_averaged(store, evaluation.guide, sampling.guide.ema, device)
    return lambda start, stop: generate(model, sampling, start, stop, setting.sampling_batch, guide=guide)


def load_averaged(store: Store, training: Training, width: float | None, device: torch.device) -> Denoiser:
    """A finished training's model; of a `width`, the power-function average made from its snapshots (EDM2, 3.2)."""
    name = training.signature
    model = load_model(store.checked("trainings", name, MODEL), device)
    if width is None:
        return model
    files = [file for file in (store.result("trainings", name) or {})["files"] if file.startswith(f"{SNAPSHOTS}/")]
    snapshots = [
        Snapshot(int(Path(file).name.split("-")[0]), kept) for file in files for kept in training.config.power_ema
    ]
    end = Snapshot(training.config.num_steps, width)
    coefficients = dict(zip(snapshots, posthoc_coefficients(snapshots, end), strict=True))

    def parts() -> Iterator[tuple[float, dict[str, Tensor]]]:
        for file in files:
            averages = load_tensors(store.checked("trainings", name, file))
            for full_name, value in averages.items():
                kept, _, parameter = full_name.partition("/")
                yield coefficients[Snapshot(int(Path(file).name.split("-")[0]), float(kept))], {parameter: value}

    model.load_state_dict(combined(parts()), strict=False)
    log.info("averaged to a relative width of %g from %d snapshots", width, len(files))
    examples = TrainingSet.of(ensure_data(store, training.data), device)
    return with_statistics(model, examples, training.config, training.seed, end.step)


def _draw_segment(
    draw_images: Drawer, start: int, stop: int, extractor: Extractor, setting: Setting, pulse: Pulse
) -> dict[str, Tensor]:
    """Draw images start to stop - 1: their statistics, how many show the asked class, and the first few of them."""
    began = time.monotonic()
    images, labels = [], []
    done = start
    pulse.raise_if_stopped()
    for drawn in draw_images(start, stop):
        images.append(drawn.images)
        labels.append(drawn.labels.cpu())
        done += len(drawn.images)
        if pulse.beat(done):
            pulse.raise_if_stopped()
    pictures = torch.cat(images)
    features, classes = extract(extractor, pictures, setting.device)
    correct = 0 if classes is None else int((classes == torch.cat(labels)).sum())
    return {
        **Statistics.of(features).tensors(),
        "correct": torch.tensor(correct),
        "seconds": torch.tensor(time.monotonic() - began, dtype=torch.float64),
        "preview": pictures[:PREVIEW_IMAGES].cpu(),
    }
