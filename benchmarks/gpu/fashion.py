"""FashionMNIST from its idx files; a few hundred of its images, or made-up ones in the same format, for tiny checks."""

import gzip
import struct
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import PACKAGE, Setting
from edm.config import DataConfig, Split
from edm.data.catalogue import CATALOGUE, split_indices
from edm.data.dataset import Dataset, to_unit
from edm.data.fashion_mnist import PADDING
from edm.data.readers import idx_bytes, read_idx

SIDE, CLASSES = 28, 10
KNOWN = CATALOGUE["fashion_mnist"]
TINY: dict[Split, int] = {"train": 200, "val": 60, "test": 60}


def fashion_mnist(setting: Setting, report: Report) -> Dataset | None:
    """Return the data set, padded to 32x32 and in splits of the study's sizes; None where its files are absent."""
    folder = setting.data
    if folder is None and setting.tiny:
        folder = setting.scratch / "made-up"
        write_made_up(folder)
    if folder is None:
        why = f"FashionMNIST's files were found nowhere; install Debian's {PACKAGE}, or give their folder with --data."
        report.skip("FashionMNIST", why)
        return None
    parts = read(folder, "train"), read(folder, "test")
    pixels = np.concatenate([part[0] for part in parts])[:, None]
    border = (PADDING, PADDING)
    found = torch.from_numpy(np.pad(pixels, ((0, 0), (0, 0), border, border)))
    classes = torch.from_numpy(np.concatenate([part[1] for part in parts]).astype(np.int64))
    splits = tiny_splits() if setting.tiny else split_indices(DataConfig("fashion_mnist"))
    sigma_data = float(to_unit(found[splits["train"]]).double().std())
    return Dataset(found, classes, splits, sigma_data)


def read(folder: Path, part: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of the train or the test part, from files anywhere in a folder, gzipped or not."""
    contents = [content_of(find(folder, name)) for name in names(part)]
    (size,) = struct.unpack(">I", contents[1][4:8])  # of the labels, whose only dimension it is
    images = read_idx(contents[0], (size, SIDE, SIDE), f"images of {folder}")
    return images, read_idx(contents[1], (size,), f"labels of {folder}")


def names(part: Split) -> tuple[str, str]:
    """Return the names of the published files of a part."""
    files = [file.unpacked for file in KNOWN.files]
    return (files[0], files[1]) if part == "train" else (files[2], files[3])


def find(folder: Path, name: str) -> Path:
    """Return the path of a file; raises FileNotFoundError."""
    found = sorted(folder.rglob(f"{name}*"))
    if not found:
        raise FileNotFoundError(f"{folder}: has no {name}, gzipped or not")
    return found[0]


def content_of(path: Path) -> bytes:
    """Return the bytes of a file, unpacked."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def tiny_splits() -> dict[Split, list[int]]:
    """Return the first few images of the train part."""
    starts = np.cumsum([0, *TINY.values()]).tolist()
    return {split: list(range(start, start + size)) for (split, size), start in zip(TINY.items(), starts, strict=False)}


def write_made_up(folder: Path) -> None:
    """Write idx files of random rectangles, as wide as their class says."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    parts: tuple[tuple[Split, int], ...] = (("train", sum(TINY.values())), ("test", 20))
    for part, num in parts:
        labels = np.arange(num, dtype=np.uint8) % CLASSES
        images = generator.integers(0, 60, (num, SIDE, SIDE), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[8:20, 8 : 10 + label] += 150
        for name, values in zip(names(part), (images, labels), strict=True):
            (folder / name).write_bytes(idx_bytes(values))
