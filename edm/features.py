"""What turns images into the features that scores are computed on: pytorch-fid's Inception, or a small classifier."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.error import URLError

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from edm.config import ClassifierConfig
from edm.data.prepare import Dataset, to_unit
from edm.fid import Statistics
from edm.network import initialise
from edm.noise import Stream, generator, permutation

EXTRACTOR_BATCH = 100  # fixed: features drift in their last bits with the batch size

INCEPTION_URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
)
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
WEIGHTS_VARIABLE = "EDM_SWEEP_WEIGHTS"


class WeightsError(RuntimeError):
    """Weights of a feature extractor are absent or wrong; the message says which, its checksum and where to put it."""


@runtime_checkable
class Extractor(Protocol):
    """Images -> features, and class scores where it knows classes."""

    dimension: int
    knows_classes: bool

    def __call__(
        self, images: UInt8[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"] | None]: ...


class Classifier(nn.Module):
    """A small convolutional classifier; its features are what its last layer sees."""

    knows_classes = True

    def __init__(self, config: ClassifierConfig, image_channels: int, resolution: int, num_classes: int) -> None:
        super().__init__()
        self.dimension = config.feature_channels
        width = config.channels
        layers = [*_conv_block(image_channels, width), *_conv_block(width, width), nn.MaxPool2d(2)]
        while resolution > 8:  # down to 4x4 before the last block
            layers += [*_conv_block(width, width), nn.MaxPool2d(2)]
            resolution //= 2
        layers += [*_conv_block(width, 2 * width), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        self.features = nn.Sequential(*layers, nn.Linear(8 * width, config.feature_channels), nn.ReLU())
        self.classes = nn.Linear(config.feature_channels, num_classes)

    def forward(self, images: UInt8[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        features = self.features(to_unit(images).contiguous(memory_format=torch.channels_last))
        return features, self.classes(features)


def _conv_block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def train_classifier(config: ClassifierConfig, data: Dataset, num_classes: int) -> Iterator[Classifier]:
    """Train the classifier on the train split, always on the CPU and in one order, yielding it after every epoch."""
    images, labels = data.split("train")
    model = Classifier(config, images.shape[1], images.shape[2], num_classes)
    initialise(model, generator(config.seed, Stream.CLASSIFIER))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=1e-2)
    steps = config.epochs * (len(images) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=max(steps, 2))
    for epoch in range(config.epochs):
        model.train()
        order = permutation(config.seed, epoch, len(images))
        for chosen in order.split(config.batch_size):
            if len(chosen) < config.batch_size:
                break
            loss = F.cross_entropy(model(images[chosen])[1], labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        yield model.eval()


class Inception:
    """pytorch-fid's Inception-v3: 2,048 features, images resized to 299x299 by its own (bilinear) rule."""

    dimension = 2048
    knows_classes = False

    def __init__(self, weights: dict[str, Tensor], device: torch.device) -> None:
        from pytorch_fid import inception  # heavy

        # its constructor would fetch the weights itself, unchecked; hand it the checked ones instead
        fetch, inception.load_state_dict_from_url = inception.load_state_dict_from_url, lambda *_, **__: weights
        try:
            self.network = inception.InceptionV3([3]).to(device).eval()
        finally:
            inception.load_state_dict_from_url = fetch

    def __call__(self, images: UInt8[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], None]:
        """Features of images; grayscale is repeated to three channels."""
        unit = images.float() / 255
        return self.network(unit.expand(-1, 3, -1, -1))[0].flatten(1), None


def inception_file(folder: Path | None = None) -> Path:
    """Where Inception's weights are, fetched if they are not there.

    Looked for in `folder`, else where EDM_SWEEP_WEIGHTS points (the file or its folder), else in torch's hub cache.
    Raises WeightsError where they are absent and cannot be fetched, or are not the published ones.
    """
    path = _inception_place(folder)
    if not path.is_file():
        _fetch_inception(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != INCEPTION_SHA256:
        raise WeightsError(
            f"{path} is not the published file: its sha256 is {found}, expected {INCEPTION_SHA256}; replace it"
        )
    return path


def _inception_place(folder: Path | None) -> Path:
    place = folder or Path(os.environ.get(WEIGHTS_VARIABLE) or Path(torch.hub.get_dir()) / "checkpoints")
    return place if place.suffix == ".pth" else place / INCEPTION_FILE


def _fetch_inception(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(INCEPTION_URL, str(path), hash_prefix=INCEPTION_SHA256[:8], progress=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights for 'features: inception' are not there and could not be fetched ({error}). "
            f"Get {INCEPTION_FILE} (95,628,359 bytes, sha256 {INCEPTION_SHA256}) from {INCEPTION_URL} "
            f"and put it at {path}, or point {WEIGHTS_VARIABLE} to it; "
            "or use 'evaluation.features: classifier', which needs no download"
        ) from error


def load_inception(device: torch.device) -> Inception:
    """The published network on `device`; raises WeightsError as `inception_file` does."""
    return Inception(torch.load(inception_file(), map_location="cpu", weights_only=True), device)


@torch.no_grad()
def extract(
    extractor: Extractor, images: UInt8[Tensor, "n c h w"], device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"] | None]:
    """Features of `images` and the classes found in them, in batches of one fixed size, the last one padded."""
    features: list[Tensor] = []
    classes: list[Tensor] = []
    for batch in images.split(EXTRACTOR_BATCH):
        padding = batch[-1:].expand(EXTRACTOR_BATCH - len(batch), -1, -1, -1)
        # no TF32: scores must not hang on a short float format of the GPU
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            found, scores = extractor(torch.cat([batch, padding]).to(device))
        features.append(found[: len(batch)].cpu())
        if scores is not None:
            classes.append(scores[: len(batch)].argmax(dim=1).cpu())
    return torch.cat(features), torch.cat(classes) if classes else None


def image_statistics(
    extractor: Extractor,
    images: UInt8[Tensor, "n c h w"],
    device: torch.device | str = "cpu",
    chunk: int = 1000,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Statistics:
    """Feature statistics of any number of images, memory bounded by `chunk`; `on_progress` hears how many are done."""
    total: Statistics | None = None
    for first in range(0, len(images), chunk):
        part = Statistics.of(extract(extractor, images[first : first + chunk], device)[0])
        total = part if total is None else total.merge(part)
        on_progress(total.count)
    assert total is not None, "statistics of no images"
    return total
