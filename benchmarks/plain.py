"""The plain loop: training, sampling and scoring as a careful beginner writes them, which is how the 2023 study works.

Everything is in float32 and contiguous layout. Training reads images through a DataLoader and calls `.item()` at every
step. Sampling draws 10 images at a time and calls the network twice for guidance. Scoring writes every image as a PNG
file, reads the files again for each split, and takes scipy's matrix square root. The network is edm's U-Net with
torch's own kernels, and the sums are the same, so that a ratio to this loop says what the rest of edm is worth. The
benchmarks import it.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edm.config import NetworkConfig
from edm.kernels.available import torch_only
from edm.networks.unet import UNet
from edm.schedules import noise_levels

P_MEAN, P_STD = -1.2, 1.2  # of ln(sigma), EDM's
LABEL_DROPOUT = 0.2
SAMPLED_AT_ONCE = 10
READ_AT_ONCE = 50
INCEPTION_SIDE = 299


class PlainImages(Dataset[tuple[Tensor, Tensor]]):
    """uint8 images [n, c, h, w] and their labels, scaled to [-1, 1] one by one."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index].float() / 127.5 - 1, self.labels[index]


class PlainDenoiser(nn.Module):
    """EDM's preconditioned denoiser around the U-Net, for one sigma and one label for each image."""

    def __init__(self, config: NetworkConfig, sigma_data: float) -> None:
        super().__init__()
        self.config, self.sigma_data = config, sigma_data
        self.network = UNet(config)

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """Return the denoised images."""
        s = sigma[:, None, None, None]
        total = s**2 + self.sigma_data**2
        with torch_only():
            output = self.network(x / total.sqrt(), sigma.log() / 4, label)
        return self.sigma_data**2 / total * x + s * self.sigma_data / total.sqrt() * output


def plain_training(
    model: PlainDenoiser, data: PlainImages, batch_size: int, device: torch.device, workers: int = 0, lr: float = 1e-4
) -> Iterator[float]:
    """Train for ever; yield the loss of every step."""
    kept = workers > 0
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=kept)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    while True:
        for on_host, labels_on_host in loader:
            images, labels = on_host.to(device), labels_on_host.to(device)
            labels[torch.rand(len(labels), device=device) < LABEL_DROPOUT] = model.config.num_classes
            sigma = (P_MEAN + P_STD * torch.randn(len(images), device=device)).exp()
            noisy = images + sigma[:, None, None, None] * torch.randn_like(images)
            denoised = model(noisy, sigma, labels if model.config.num_classes else None)
            weight = (sigma**2 + model.sigma_data**2) / (sigma * model.sigma_data) ** 2
            loss = (weight[:, None, None, None] * (denoised - images) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()


@torch.no_grad()
def plain_sampling(model: PlainDenoiser, steps: int, guidance: float, device: torch.device) -> Iterator[Tensor]:
    """Draw images by Euler's method for ever; yield uint8 images [10, c, h, w] on the CPU."""
    config = model.config
    sigmas = noise_levels("karras", steps, 0.002, 80.0)
    model.eval()
    while True:
        shape = (SAMPLED_AT_ONCE, config.image_channels, config.resolution, config.resolution)
        x = sigmas[0] * torch.randn(shape, device=device)
        labels = torch.arange(SAMPLED_AT_ONCE, device=device) % max(config.num_classes, 1)
        for sigma, following in itertools.pairwise(sigmas):
            level = torch.full((SAMPLED_AT_ONCE,), sigma, device=device)
            denoised = model(x, level, labels if config.num_classes else None)
            if guidance != 1:
                unconditional = model(x, level, torch.full_like(labels, config.num_classes))
                denoised = unconditional + guidance * (denoised - unconditional)
            x = x + (following - sigma) * (x - denoised) / sigma
        yield ((x.clip(-1, 1) + 1) * 127.5).to(torch.uint8).cpu()


def write_pictures(images: Tensor, folder: Path) -> list[Path]:
    """Write uint8 images [n, c, h, w] as one PNG file each; return their paths."""
    from PIL import Image  # not everywhere that the rest runs

    paths = [folder / f"{number:06d}.png" for number in range(len(images))]
    for image, path in zip(images.expand(-1, 3, -1, -1), paths, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return paths


@torch.no_grad()
def features_of_pictures(paths: Sequence[Path], network: nn.Module, device: torch.device) -> np.ndarray:
    """Return the features of PNG files by a network that takes RGB images in [-1, 1] of 299 pixels a side."""
    from PIL import Image

    found = []
    for start in range(0, len(paths), READ_AT_ONCE):
        arrays = [np.array(Image.open(path)) for path in paths[start : start + READ_AT_ONCE]]
        batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float().to(device) / 255
        resized = nn.functional.interpolate(batch, size=(INCEPTION_SIDE,) * 2, mode="bilinear", align_corners=False)
        found.append(network(2 * resized.contiguous() - 1).cpu().numpy())
    return np.concatenate(found)


Moments = tuple[np.ndarray, np.ndarray]  # mean and covariance


def plain_distance(a: Moments, b: Moments) -> float:
    """Return the squared Frechet distance of two Gaussians, as pytorch-fid and clean-fid do."""
    from scipy.linalg import sqrtm  # not everywhere that the rest runs

    root = sqrtm(a[1] @ b[1])
    return float(((a[0] - b[0]) ** 2).sum() + np.trace(a[1]) + np.trace(b[1]) - 2 * np.trace(root.real))


def plain_scores(
    images: Tensor, references: Sequence[Moments], network: nn.Module, device: torch.device, folder: Path
) -> list[float]:
    """Return the distance of images to every reference: PNG files, read and measured again for each."""
    paths = write_pictures(images, folder)
    scores = []
    for reference in references:
        features = features_of_pictures(paths, network, device).astype(np.float64)
        scores.append(plain_distance((features.mean(axis=0), np.cov(features, rowvar=False)), reference))
    return scores
