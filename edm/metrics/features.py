"""Feature extractors, which turn images into the vectors that scores compare: Inception, DINOv2, a small classifier."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from edm.config import AnyClassifierConfig, Features, FormerClassifierConfig, Resize
from edm.config.evaluation import LARGEST_PLAIN_SIDE
from edm.data.dataset import to_unit
from edm.metrics.inception import InceptionV3
from edm.metrics.resize import resize as resized
from edm.metrics.weights import (
    DINOV2_WEIGHTS,
    INCEPTION_WEIGHTS,
    PUBLISHED,
    MissingPackageError,
    Weights,
    find_weights,
)
from edm.networks.device import full_precision

EXTRACTOR_BATCH = 100  # fixed, since the last bits of features depend on the batch size

INCEPTION_SIDE = 299  # pixels
INCEPTION_AT_ONCE = 20  # images on a CPU: 100 take 1.2 times as long, fewer have other last bits; divides the batch
GREY_LEVELS: dict[Resize, int] = {"pytorch-fid": 255, "clean": 256, "tensorflow": 256}  # 256: (x - 128) / 128
DINOV2_NETWORK = "vit_large_patch14_dinov2"  # its name in timm
DINOV2_SIDE, DINOV2_PATCH = 224, 14  # pixels
DINOV2_MEAN, DINOV2_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, from 0 to 1


class FeatureError(RuntimeError):
    """Images have no features that can be scored; the message says which images and why."""


@runtime_checkable
class Extractor(Protocol):
    """Turns uint8 images into features, and into class scores if it knows classes.

    dimension: of its features. knows_classes: whether calls return class scores; otherwise they return None for them.
    """

    dimension: int
    knows_classes: bool

    @property
    def fingerprint(self) -> str:
        """SHA-256 over name, preprocessing and weights, which identifies the feature space."""
        ...

    def __call__(self, images: UInt8[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"] | None]:
        """Return features of images and, if it knows classes, a score for each class."""
        ...


def fingerprint(name: str, preprocessing: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal, over everything that decides an extractor's features.

    preprocessing: values that JSON can hold. weights: enter by name, type, shape and bytes, in any order.
    """
    digest = hashlib.sha256(json.dumps([name, preprocessing], sort_keys=True).encode())
    for title, value in sorted(weights.items()):
        digest.update(json.dumps([title, str(value.dtype), list(value.shape)]).encode())
        plain = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(plain.numpy().data)
    return digest.hexdigest()


class Classifier(nn.Module):
    """A small convolutional classifier; its features are the inputs of its last layer."""

    knows_classes = True

    def __init__(self, config: AnyClassifierConfig, image_channels: int, resolution: int, num_classes: int) -> None:
        super().__init__()
        self.dimension = config.feature_channels
        former = isinstance(config, FormerClassifierConfig)
        make = _former_convolutions if former else _convolutions
        layers = [*make(image_channels, config.channels, resolution), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        self.features = nn.Sequential(*layers, nn.Linear(8 * config.channels, config.feature_channels), nn.ReLU())
        self.classes = nn.Linear(config.feature_channels, num_classes)

    def forward(self, images: UInt8[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return features and class scores of uint8 images."""
        features = self.features(to_unit(images).contiguous(memory_format=torch.channels_last))
        return features, self.classes(features)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over its present weights."""
        return fingerprint("classifier", {"range": [-1, 1]}, self.state_dict())


def _convolutions(image_channels: int, width: int, side: int) -> Iterator[nn.Module]:
    """Yield layers that bring images of `side` pixels down to 4x4 or less, in `2 * width` channels."""
    stride = 2 if side > LARGEST_PLAIN_SIDE else 1  # the first layers are most of the work
    yield from _conv_block(image_channels, width, stride)
    side = -(-side // stride)
    yield from _conv_block(width, width)
    yield nn.MaxPool2d(2)
    side //= 2
    while side > 8:
        yield from _conv_block(width, width)
        yield nn.MaxPool2d(2)
        side //= 2
    yield from _conv_block(width, 2 * width)
    if side > 4:
        yield nn.MaxPool2d(2)
        yield from _conv_block(2 * width, 2 * width)


def _former_convolutions(image_channels: int, width: int, side: int) -> Iterator[nn.Module]:
    """Yield the layers of version 1."""
    yield from _conv_block(image_channels, width)
    yield from _conv_block(width, width)
    yield nn.MaxPool2d(2)
    while side > 8:  # down to 4x4 before the last block
        yield from _conv_block(width, width)
        yield nn.MaxPool2d(2)
        side //= 2
    yield from _conv_block(width, 2 * width)


def _conv_block(inputs: int, outputs: int, stride: int = 1) -> Iterator[nn.Module]:
    yield from (nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Inception:
    """pytorch-fid's Inception-v3: 2,048 features of images resized to 299 x 299.

    weights: its state dict. resize: the rule. pytorch-fid then brings grey levels to [-1, 1] by 2 x / 255 - 1,
    clean-fid and the original network by (x - 128) / 128.
    """

    dimension = 2048
    knows_classes = False

    def __init__(self, weights: dict[str, Tensor], device: torch.device, resize: Resize = "pytorch-fid") -> None:
        network = InceptionV3()
        network.load_state_dict(weights)
        # measured on one thread of a CPU: channels-last is 1.4 to 2.3 times as fast; not measured on a GPU in float32
        self.layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        self.at_once = INCEPTION_AT_ONCE if device.type == "cpu" else EXTRACTOR_BATCH
        network = network.to(device).to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.network = network.eval().requires_grad_(False)
        self.resize: Resize = resize
        self.levels = GREY_LEVELS[resize]
        preprocessing: dict[str, Any] = {"resize": resize, "side": INCEPTION_SIDE, "range": [-1, 1]}
        if self.levels != 255:
            preprocessing["levels"] = self.levels
        self.fingerprint = fingerprint("inception", preprocessing, weights)

    def __call__(self, images: UInt8[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], None]:
        """Features of images; a grey channel is repeated to three channels."""
        return torch.cat([self._features(part) for part in torch.split(images, self.at_once)]), None

    def _features(self, images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        unit = resized(images, self.resize, INCEPTION_SIDE) / self.levels
        color = unit.expand(-1, 3, -1, -1).contiguous(memory_format=self.layout)
        return self.network(2 * color - 1)


class Dinov2:
    """DINOv2's ViT-L/14 (Oquab et al. 2023): 1,024 features, its class token after the last normalisation.

    Images are prepared as Stein et al. 2023 ("Exposing flaws of generative model evaluation metrics") do: resized to
    224 x 224, bicubic with antialias and not rounded to whole grey levels (their `--clean_resize`), and normalised by
    ImageNet's mean and standard deviation. weights: as Meta published them. architecture: timm's name of the network.
    Raises MissingPackageError if timm is not installed.
    """

    knows_classes = False

    def __init__(self, weights: dict[str, Tensor], device: torch.device, architecture: str = DINOV2_NETWORK) -> None:
        timm = _timm()
        with torch.device("meta"):  # no time is spent on initial weights that are replaced
            network = timm.create_model(architecture, img_size=DINOV2_SIDE, num_classes=0)
        network.load_state_dict(_for_timm(weights), assign=True)
        self.network = network.to(device).eval().requires_grad_(False)
        self.dimension: int = network.num_features
        self.mean, self.std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (DINOV2_MEAN, DINOV2_STD)
        )
        preprocessing = {"resize": "clean", "side": DINOV2_SIDE, "mean": DINOV2_MEAN, "std": DINOV2_STD}
        self.fingerprint = fingerprint("dinov2", preprocessing, weights)

    def __call__(self, images: UInt8[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], None]:
        """Features of images; a grey channel is repeated to three channels."""
        unit = resized(images, "clean", DINOV2_SIDE) / 255
        return self.network((unit - self.mean) / self.std), None


def _timm() -> ModuleType:
    try:
        import timm  # heavy, and an optional dependency
    except ImportError as error:
        raise MissingPackageError("features: dinov2", "timm") from error
    return timm


def _for_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return Meta's weights as timm's network for 224 x 224 images expects them; the names are the same."""
    used = {name: value for name, value in weights.items() if name != "mask_token"}  # used in training only
    return {**used, "pos_embed": _positions_at(used["pos_embed"], DINOV2_SIDE // DINOV2_PATCH)}


def _positions_at(positions: Float[Tensor, "1 n d"], grid: int) -> Float[Tensor, "1 m d"]:
    """Resample the position embeddings of class token and patches to an image of `grid` x `grid` patches.

    This is Meta's own rule, which differs from timm's: bicubic without antialias, by a factor for a tenth of a patch
    more.
    """
    token, patches = positions[:, :1], positions[:, 1:]
    trained = round(patches.shape[1] ** 0.5)
    square = torch.permute(patches.reshape(len(patches), trained, trained, -1), (0, 3, 1, 2))
    factor = (grid + 0.1) / trained
    resampled = F.interpolate(square, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([token, resampled.flatten(2).transpose(1, 2)], dim=1)


def required_weights(name: Features) -> Weights | None:
    """Return the published file that a feature space needs; None for the classifier, which is trained here.

    Raises MissingPackageError if the package that builds the network is not installed.
    """
    if name == "dinov2":
        _timm()
    return PUBLISHED.get(name)


def load_inception(device: torch.device, resize: Resize = "pytorch-fid", given: Path | None = None) -> Inception:
    """Load the published network onto `device`; its weights are found as by `find_weights`, whose errors it raises."""
    path = find_weights(INCEPTION_WEIGHTS, given)
    return Inception(torch.load(path, map_location="cpu", weights_only=True), device, resize)


def load_dinov2(device: torch.device, given: Path | None = None) -> Dinov2:
    """Load the published network onto `device`; its weights are found as by `find_weights`, whose errors it raises."""
    _timm()  # before 1.2 GB are downloaded
    path = find_weights(DINOV2_WEIGHTS, given)
    return Dinov2(torch.load(path, map_location="cpu", weights_only=True), device)


@torch.no_grad()
def extract(
    extractor: Extractor,
    images: UInt8[Tensor, "n c h w"],
    device: torch.device | str = "cpu",
    first: int = 0,
    on_batch: Callable[[int], None] = lambda _: None,
) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"] | None]:
    """Return the features of `images`, and their predicted classes if the extractor knows classes, on the CPU.

    Batches have one fixed size, the last one padded. first: number of the first image, for messages. on_batch: called
    after each batch with the number of images done. Raises FeatureError where there are no images or an image's
    features are not finite.
    """
    if len(images) == 0:
        raise FeatureError("no images to take features of: the split is empty or none were drawn; give at least one")
    features: list[Tensor] = []
    classes: list[Tensor] = []
    for batch in torch.split(images, EXTRACTOR_BATCH):
        padding = torch.broadcast_to(batch[-1:], (EXTRACTOR_BATCH - len(batch), *batch.shape[1:]))
        with full_precision():
            found, scores = extractor(torch.cat([batch, padding]).to(device))
        features.append(found[: len(batch)].cpu())
        _require_finite(features[-1], first + (len(features) - 1) * EXTRACTOR_BATCH, device)
        if scores is not None:
            classes.append(scores[: len(batch)].argmax(dim=1).cpu())
        on_batch(min(len(features) * EXTRACTOR_BATCH, len(images)))
    return torch.cat(features), torch.cat(classes) if classes else None


def _require_finite(features: Float[Tensor, "b d"], first: int, device: torch.device | str) -> None:
    """Raise FeatureError for the first image with NaN or infinite features; images are numbered from `first`."""
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        raise FeatureError(
            f"image {first + int(finite.logical_not().nonzero()[0])} has features that are NaN or infinite on {device}:"
            " the extractor's weights or the device are at fault; compute them on the CPU to see which"
        )
