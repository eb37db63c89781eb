"""What parts of edm/ compute from small fixed inputs on the CPU, to compare to the last bit (equivalent_code.py)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edm import augment, ema
from edm.batches import TrainingSet
from edm.config import ClassifierConfig, DataConfig, ModelConfig, NetworkConfig, SamplingConfig, TrainingConfig
from edm.data.dataset import Dataset, to_uint8
from edm.data.prepare import FILES, prepare
from edm.generate import draw, generate, labels_of
from edm.metrics.classifier import ClassifierTraining, train_classifier
from edm.metrics.features import Classifier, extract
from edm.metrics.fid import Reference, Statistics, frechet, frechet_distance
from edm.metrics.fid_infinity import fid_infinity
from edm.metrics.kid import kernel_distance
from edm.metrics.memorisation import memorisation, pixel_rows
from edm.metrics.neighbours import prdc, squared_radii
from edm.metrics.truncation import final_images, truncation_error
from edm.metrics.uncertainty import interval, standard_error, within_classes
from edm.networks.build import start
from edm.networks.initialise import initialise
from edm.noise import Stream, generator, normals, permutation
from edm.precondition import Denoiser
from edm.samplers import sample
from edm.schedules import noise_levels
from edm.train import TrainState, averaged_model, train
from edm.transfer import transfer
from edm.validation import total_loss, validation_losses

CPU = torch.device("cpu")
Values = Iterator[Any]  # tensors, numbers, bytes


def environment() -> str:
    """Return what the outputs' bits depend on beside the code: versions of libraries, and who made the CPU."""
    return f"torch {torch.__version__.partition('+')[0]}, numpy {np.__version__}, {_cpu_maker()}"


def _cpu_maker() -> str:
    """Return the CPU's maker as Linux names it; elsewhere, what Python knows of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("vendor_id"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def digest_of(part: str) -> str:
    """Return the SHA-256 of a part's outputs."""
    torch.set_num_threads(1)
    found = hashlib.sha256()
    with torch.backends.mkldnn.flags(enabled=False):  # its kernels depend on the CPU
        for value in OUTPUTS[part]():
            found.update(_bytes(value))
    return found.hexdigest()[:32]


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


# inputs -------------------------------------------------------------------------------------------


def pixels(num: int, stream: Stream = Stream.BASELINE) -> Tensor:
    """Return `num` images of noise."""
    return to_uint8(normals(0, stream, torch.arange(num), (1, 8, 8)) / 2)


def data() -> Dataset:
    """Return a data set of noise in four classes."""
    splits = {"train": list(range(64)), "val": list(range(64, 80)), "test": list(range(80, 96))}
    return Dataset(pixels(96), torch.arange(96) % 4, splits, 0.5)  # pyright: ignore[reportArgumentType]


def network(**fields: Any) -> NetworkConfig:
    """Return the configuration of a small network."""
    return ModelConfig("nano", channels=8, **fields).network(1, 8, 4)


def model(seed: int = 0, **fields: Any) -> Denoiser:
    """Return a small network with random weights."""
    config = network(**fields)
    return Denoiser(config, 0.5, start(config, generator(seed, Stream.WEIGHTS))).eval()


def features(num: int, seed: int = 0) -> list[Tensor]:
    """Return features of `num` images in two pieces."""
    rows = normals(seed, Stream.BASELINE, torch.arange(num), (6,)) + seed / 4
    return [rows[: num // 2], rows[num // 2 :]]


# outputs ------------------------------------------------------------------------------------------


def of_networks() -> Values:
    """Yield outputs and gradients of networks of each shape."""
    for fields in ({"attention": False}, {"attention": True}, {"resample": "residual", "init": "edm", "norm": "group"}):
        yield from _of_network(model(**fields))


def _of_network(made: Denoiser) -> Values:
    x, labels = normals(0, Stream.TRAINING_NOISE, torch.arange(4), (1, 8, 8)), torch.tensor([0, 1, 2, 4])
    denoised = made.train()(x, torch.tensor([0.01, 0.5, 2.0, 60.0]), labels)
    denoised.square().sum().backward()
    yield denoised
    yield from (parameter.grad for parameter in made.parameters() if parameter.grad is not None)
    yield made.eval()(x, 1.5)


def of_norm(norm: str) -> Callable[[], Values]:
    """Return a function that yields outputs and gradients of a network with this norm and without attention."""
    return lambda: _of_network(model(norm=norm, attention=False))


TRAININGS: tuple[dict[str, Any], ...] = (
    {},
    {"optimizer": "adamw", "warmup_kimg": 0.05, "clip_norm": 0.5, "ema_rampup": None},
    {"weighting": "min_snr", "stratified": True, "micro_batch": 8, "ema_halflife_kimg": 0.0},
)


def trained(attention: bool = False, **fields: Any) -> TrainState:
    """Return a training after four steps."""
    config = TrainingConfig(**{"kimg": 0.064, "batch_size": 16, "lr": 1e-3, "ema_halflife_kimg": 0.05} | fields)
    state = TrainState(network(attention=attention, dropout=0.1), config, 0.5, 0, CPU)
    for _ in train(state, TrainingSet.of(data(), CPU)):
        pass
    return state


def of_training() -> Values:
    """Yield the states of trainings, averaged models and validation losses."""
    for fields in TRAININGS:
        state = trained(**fields)
        yield from state.tensors().values()
        averaged = averaged_model(state, TrainingSet.of(data(), CPU), 2)
        yield from averaged.state_dict().values()
        losses = validation_losses(averaged, *data().split("val"))
        yield from (*losses.values(), total_loss(losses))


def of_training_with(**fields: Any) -> Callable[[], Values]:
    """Return a function that yields the state of one training."""
    return lambda: iter(trained(**fields).tensors().values())


def of_fine_tuning() -> Values:
    """Yield the weights that networks of as many and of other classes begin with."""
    for num_classes in (4, 2):
        config = replace(network(attention=True), num_classes=num_classes)
        begun = Denoiser(config, 0.5, start(config, generator(1, Stream.WEIGHTS)))
        yield "".join(transfer(model(attention=True), begun)).encode()
        yield from begun.state_dict().values()


def of_power_averages() -> Values:
    """Yield power-function averages."""
    yield from trained(power_ema=(0.05, 0.1)).power.tensors().values()


def of_augmentation() -> Values:
    """Yield augmented and mirrored images."""
    images, index = pixels(16) / 127.5 - 1, torch.arange(16)
    yield from augment.augment(images, 0, index, 0.5)
    yield augment.flip(images, 0, index)


def of_posthoc() -> Values:
    """Yield averages of another width."""
    snapshots = [ema.Snapshot(step, width) for step in (4, 8) for width in (0.05, 0.1)]
    coefficients = ema.posthoc_coefficients(snapshots, ema.Snapshot(8, 0.07))
    yield coefficients
    parts = ((weight, {"a": normals(i, Stream.WEIGHTS, torch.arange(3))}) for i, weight in enumerate(coefficients))
    yield from ema.combined(parts).values()


def drawn(**fields: Any) -> SamplingConfig:
    """Return a configuration of few steps."""
    return SamplingConfig(**{"sampler": "euler", "steps": 4} | fields)


def of_drawing() -> Values:
    """Yield images drawn with labels, and without."""
    for config in (drawn(), drawn(guidance=0.0), drawn(sampler="stochastic_heun", seed=3)):
        for batch in generate(model(), config, 2, 9, 4):
            yield from (batch.images, batch.labels)
        index = torch.arange(3)
        yield draw(model(), config, index, labels_of(index, 4))


def of_guidance() -> Values:
    """Yield images drawn with guidance, in all steps and in some."""
    index = torch.arange(4)
    for config in (drawn(guidance=2.0), drawn(guidance=2.0, guidance_interval=(0.1, 10.0))):
        yield draw(model(), config, index, labels_of(index, 4))


def of_autoguidance() -> Values:
    """Yield images drawn with another network as guide."""
    from edm.config import GuideConfig

    index, config = torch.arange(4), drawn(guidance=2.0, guide=GuideConfig(kimg=1.0))
    yield draw(model(), config, index, labels_of(index, 4), model(1))


def of_sampler(name: str) -> Callable[[], Values]:
    """Return a function that yields images of Gaussian data, whose denoiser is known."""

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return x * 0.25 / (sigma**2 + 0.25)

    def outputs() -> Values:
        start = normals(0, Stream.SAMPLING, torch.arange(3), (1, 4, 4))
        for steps in (1, 2, 5, 9):
            config = SamplingConfig(sampler=name, steps=steps, eta=0.5)  # pyright: ignore[reportArgumentType]
            yield sample(
                denoiser, start, config, lambda step: normals(0, Stream.SAMPLING, torch.arange(3), (1, 4, 4), step + 1)
            )

    return outputs


def of_schedule(name: str) -> Callable[[], Values]:
    """Return a function that yields noise levels."""
    return lambda: iter([noise_levels(name, steps, 0.01, 60.0, 5.0) for steps in (1, 2, 7, 18)])  # pyright: ignore[reportArgumentType]


def of_classifier() -> Values:
    """Yield the state of a classifier that was trained for an epoch."""
    config = ClassifierConfig(batch_size=16, check_steps=4, most_checks=2)
    state = ClassifierTraining(config, 1, 8, 4, 64)
    for _ in train_classifier(state, data()):
        pass
    yield from (*state.tensors().values(), *state.trained().state_dict().values())


def of_classifier_features() -> Values:
    """Yield features of images, and their classes."""
    classifier = Classifier(ClassifierConfig(), 1, 8, 4)
    initialise(classifier, generator(0, Stream.CLASSIFIER))
    yield from (value for value in extract(classifier.eval(), pixels(130)) if value is not None)


def of_real_images() -> Values:
    """Yield random numbers, orders and images."""
    yield from (normals(5, Stream.BASELINE, torch.arange(7), (3,)), permutation(0, 1, 50), pixels(5))
    yield from data().split("test")


def of_fid() -> Values:
    """Yield distances and what they are made of; enough images, and too few."""
    real = features(80, 1)
    reference = Reference.of(Statistics.of(real[0]).merge(Statistics.of(real[1])))
    yield from reference.tensors().values()
    for num in (60, 5):
        rows = torch.cat(features(num))
        found = frechet(Statistics.of(rows), reference)
        influences = within_classes(found.influences(rows), torch.arange(num) % 2)
        yield from (found.distance, influences, standard_error(influences), *interval(1.0, 0.1))
        yield frechet_distance(Statistics.of(rows), reference)


def of_fid_infinity() -> Values:
    """Yield an extrapolated distance."""
    reference = Reference.of(Statistics.of(torch.cat(features(400, 1))))
    found = fid_infinity(features(300), reference, 0, torch.arange(300) % 2)
    yield from (found.value, found.standard_error)


def of_kid() -> Values:
    """Yield a kernel distance and its influences."""
    found = kernel_distance(features(40), features(50, 1))
    influences = within_classes(found.influences, torch.arange(40) % 2)
    yield from (found.value, influences, standard_error(influences), *interval(1.0, 0.1))


def of_prdc() -> Values:
    """Yield precision, recall, density, coverage and radii."""
    found = prdc(features(40), features(50, 1), 5)
    yield from (found.precision, found.recall, found.density, found.coverage, squared_radii(features(40), 5))


def of_accuracy() -> Values:
    """Yield a standard error and an interval."""
    influences = within_classes(torch.linspace(0, 1, 20, dtype=torch.float64) ** 2, torch.arange(20) % 3)
    yield from (influences, standard_error(influences), *interval(0.4, 0.02), labels_of(torch.arange(9), 4))


def of_memorisation() -> Values:
    """Yield ratios and shares of copies."""
    rows = [pixel_rows(pixels(30, Stream.VALIDATION)), pixel_rows(pixels(30, Stream.SAMPLING))]
    found = memorisation(pixel_rows(pixels(20)), rows, rows[::-1], 40)
    yield from (found.ratio, found.ratios, found.copied, found.copied_error)


def of_truncation() -> Values:
    """Yield unquantised images of two samplers and their distance."""
    images = [final_images(model(), drawn(sampler=name)) for name in ("euler", "heun")]
    yield from (*images, truncation_error(*images))


def of_digits() -> Values:
    """Yield the prepared digits."""
    with tempfile.TemporaryDirectory() as name:
        yield float(prepare(DataConfig("digits"), Path(name))["sigma_data"])  # pyright: ignore[reportArgumentType]
        yield from ((Path(name) / file).read_bytes() for file in FILES)


LAYOUTS: dict[str, tuple[str, ...]] = {  # a folder for each, in which a third of the images lie
    "loose": ("",),
    "classes": ("b", "a", "c/deep"),
    "splits": ("train/a", "val/b", "test/a"),
    "labelled": ("00000", "00001"),
}


def of_folder() -> Values:
    """Yield prepared folders of images: of every layout, kind of picture and number of channels."""
    with tempfile.TemporaryDirectory() as name:
        for layout, folders in LAYOUTS.items():
            root = Path(name) / layout
            labels = [[path, number % 3] for number, path in enumerate(write_pictures(root, folders))]
            if layout == "labelled":
                (root / "dataset.json").write_text(json.dumps({"labels": labels}))
            for channels in (3, 1):
                out = Path(name) / f"{layout}-{channels}"
                out.mkdir()
                config = DataConfig("folder", path=str(root), resolution=8, channels=channels)
                yield float(prepare(config, out)["sigma_data"])  # pyright: ignore[reportArgumentType]
                yield from ((out / file).read_bytes() for file in FILES)


def write_pictures(root: Path, folders: Sequence[str]) -> Iterator[str]:
    """Write pictures of several kinds and sizes, and yield their names. Formats without losses decode to the bit."""
    random = np.random.default_rng(0)
    upright = Image.Exif()
    upright[0x0112] = 6  # to be turned by a quarter
    for number in range(30):
        width, height = 6 + number % 7, 6 + number % 5
        mode = ("RGB", "L", "RGBA", "P", "I;16", "1")[number % 6]
        values = random.integers(0, 2**16, (height, width, 4), dtype=np.uint16)
        grey, colours = Image.fromarray(values[..., 0]), Image.fromarray((values >> 8).astype(np.uint8))
        picture = grey if mode == "I;16" else colours.convert("RGB").convert(mode) if mode != "RGBA" else colours
        name = "/".join(filter(None, (folders[number % len(folders)], f"{number:02d}.png")))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / name, exif=upright if number % 4 == 0 else Image.Exif())
        yield name


SAMPLERS = (
    *("euler", "heun", "dpm2", "stochastic_euler", "stochastic_heun"),
    *("dpmpp_2m", "dpmpp_3m", "dpmpp_2m_sde", "unipc"),
)
OUTPUTS: dict[str, Callable[[], Values]] = {
    "network": of_networks,
    "norm/batch": of_norm("batch"),
    "norm/group": of_norm("group"),
    "training": of_training,
    **{f"weighting/{name}": of_training_with(weighting=name) for name in ("edm", "min_snr")},
    **{f"optimizer/{name}": of_training_with(optimizer=name) for name in ("adam", "adamw")},
    "augmentation": of_augmentation,
    "fine-tuning": of_fine_tuning,
    "power averages": of_power_averages,
    "posthoc": of_posthoc,
    "drawing": of_drawing,
    "guidance": of_guidance,
    "autoguidance": of_autoguidance,
    **{f"sampler/{name}": of_sampler(name) for name in SAMPLERS},
    **{f"schedule/{name}": of_schedule(name) for name in ("karras", "exponential", "vp", "iddpm")},
    "classifier": of_classifier,
    "features/classifier": of_classifier_features,
    "real images": of_real_images,
    "metric/fid": of_fid,
    "metric/fid_infinity": of_fid_infinity,
    "metric/kid": of_kid,
    "metric/prdc": of_prdc,
    "metric/accuracy": of_accuracy,
    "metric/memorisation": of_memorisation,
    "metric/truncation": of_truncation,
    "data/digits": of_digits,
    "data/folder": of_folder,
}


def main() -> None:
    """Print the digest of every part's outputs on this machine."""
    for part in OUTPUTS:
        print(part, digest_of(part))


if __name__ == "__main__":
    main()
