"""Facts about every data set that are known without reading its images, and the rule of its splits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TypeVar

from edm.config import SPLITS, DataConfig, Extension, Split
from edm.data.folder import ImageFolder, carve, folder_fingerprint, folder_remarks, folder_splits, open_folder
from edm.data.parquet_columns import Choice
from edm.data.progress import OnProgress, ignore_progress

RGB = 3  # channels

Value = TypeVar("Value")


@dataclass(frozen=True)
class DatasetFacts:
    """Shape and sizes of a data set as it is prepared.

    channels, resolution: of its images. num_classes: 0 without labels. splits: number of images of each split.
    remarks: what a person should know about a folder of images, such as files that are left out. has_splits: whether a
    folder has all splits of its own, so that no seed splits it.
    """

    channels: int
    resolution: int
    num_classes: int
    splits: dict[Split, int]
    remarks: tuple[str, ...] = ()
    has_splits: bool = False


@dataclass(frozen=True)
class SourceFile:
    """A published file of a data set.

    size: in bytes. md5: as torchvision has it. url: where to get it. unpacked: name of the file or folder that comes
    out of it, which can be used in its place. drive_id: for files on Google Drive, which have no direct address.
    needed: whether it must be there; False where its content is known.
    """

    name: str
    size: int
    md5: str
    url: str
    unpacked: str
    drive_id: str | None = None
    needed: bool = True


@dataclass(frozen=True)
class Member:
    """A part of a data set that is recognised by its decoded content, however it is packed.

    name: of the file that holds it when unpacked. digest: in hex, of the content in one canonical form; SHA-1 or
    SHA-256 by its length. md5: of the file itself in the published archive, for a form that is not the canonical one.
    """

    name: str
    digest: str
    md5: str | None = None


@dataclass(frozen=True)
class KnownDataset:
    """A data set that is found by its name.

    channels, resolution: of its images; num_classes: 0 without labels.
    official: sizes of the parts of its own partition, in the order of preparation (CelebA's `valid` is val here).
    study: sizes of the 2023 study's splits.
    files: its published files, whose MD5s are its identity; page: where to get them by hand.
    layouts: folders that people have the files in, which may hold wildcards; the first is torchvision's.
    archives: names under which it is published as one archive.
    members: its parts in the order of preparation, recognised by content.
    pinned: SHA-256 of the prepared images and labels, for a data set that comes with a package instead of files.
    """

    channels: int
    resolution: int
    num_classes: int
    official: dict[Split, int]
    study: dict[Split, int]
    files: tuple[SourceFile, ...] = ()
    page: str = ""
    layouts: tuple[str, ...] = (".",)
    archives: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    pinned: str | None = None

    def parts(self, splits: str) -> dict[Split, int]:
        """Return the sizes of the official parts to prepare; the study's splits leave out CelebA's valid part."""
        return {part: size for part, size in self.official.items() if part != "val" or splits == "official"}


HUB_CACHE = "datasets--*/snapshots/*/"  # of huggingface_hub, below its folder `hub`
FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CELEBA_URL = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"  # links to the files on Google Drive

CATALOGUE: dict[str, KnownDataset] = {
    "digits": KnownDataset(
        channels=1,
        resolution=8,
        num_classes=10,
        official={"train": 1797},
        study={"train": 1197, "val": 300, "test": 300},
        pinned="0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382",
    ),
    "fashion_mnist": KnownDataset(
        channels=1,
        resolution=32,
        num_classes=10,
        official={"train": 60_000, "test": 10_000},
        study={"train": 50_000, "val": 10_000, "test": 10_000},
        files=tuple(
            SourceFile(name, size, md5, FASHION_MNIST_URL + name, unpacked=name.removesuffix(".gz"))
            for name, size, md5 in (
                ("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                ("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
                ("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
                ("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
            )
        ),
        page="https://github.com/zalandoresearch/fashion-mnist",
        # torchvision's, Debian's, the published repository's, Hugging Face's repository and its cache
        layouts=("FashionMNIST/raw", "fashion-mnist", "data/fashion", "fashion_mnist", HUB_CACHE + "fashion_mnist"),
        archives=("fashionmnist.zip",),  # Kaggle's
        # SHA-256 of the unpacked files
        members=(
            Member("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            Member("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            Member("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            Member("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
    ),
    "cifar10": KnownDataset(
        channels=3,
        resolution=32,
        num_classes=10,
        official={"train": 50_000, "test": 10_000},
        study={"train": 40_000, "val": 10_000, "test": 10_000},
        files=(
            SourceFile(
                "cifar-10-python.tar.gz",
                170_498_071,
                "c58f30108f718f92721af3b95e74349a",
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                unpacked="cifar-10-batches-py",
            ),
        ),
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        layouts=(".", "cifar-10-batches-py", "cifar-10-batches-bin", "plain_text", HUB_CACHE + "plain_text"),
        archives=("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
        # SHA-1 of the binary version's files, as MXNet publishes it; MD5 of the pickled ones, as torchvision does
        members=tuple(
            Member(name, sha1, md5)
            for name, sha1, md5 in (
                ("data_batch_1", "aadd24acce27caa71bf4b10992e9e7b2d74c2540", "c99cafc152244af753f735de768cd75f"),
                ("data_batch_2", "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795", "d4bba439e000b95fd0a9bffe97cbabec"),
                ("data_batch_3", "1dd00a74ab1d17a6e7d73e185b69dbf31242f295", "54ebc095f3ab1f0389bbae665268c751"),
                ("data_batch_4", "aab85764eb3584312d3c7f65fd2fd016e36a258e", "634d18415352ddfa80567beed471001a"),
                ("data_batch_5", "26e2849e66a845b7f1e4614ae70f4889ae604628", "482c414d41f54cd18b22e5b47cb7c3cb"),
                ("test_batch", "67eb016db431130d61cd03c7ad570b013799c88c", "40351d587109b95175f43aff81a1287e"),
            )
        ),
    ),
    "celeba": KnownDataset(
        channels=3,
        resolution=128,
        num_classes=0,
        official={"train": 162_770, "val": 19_867, "test": 19_962},
        study={"train": 150_000, "val": 12_770, "test": 19_962},
        files=(
            SourceFile(
                "img_align_celeba.zip",
                1_443_490_838,
                "00d2c5bc6d35e252742224ab0c1e8fcb",
                CELEBA_URL,
                unpacked="img_align_celeba",
                drive_id="0B7EVK8r0v71pZjFTYXZWM3FlRnM",
            ),
            SourceFile(
                "list_eval_partition.txt",
                2_836_386,
                "d32c9cbf5e040fd4025c592c306e6668",
                CELEBA_URL,
                unpacked="list_eval_partition.txt",
                drive_id="0B7EVK8r0v71pY0NSMzRuSXJEVkk",
                needed=False,
            ),
        ),
        page=CELEBA_URL,
        # torchvision's, and the folders of Google Drive's
        layouts=("celeba", "CelebA/Img", "CelebA/Eval"),
        archives=("img_align_celeba.zip", "celeba-dataset.zip"),  # the latter is Kaggle's
    ),
}


def known_dataset(config: DataConfig) -> KnownDataset:
    """Return what is known of a data set that is not a folder: of the catalogue, or of an extension."""
    name = config.name
    if not isinstance(name, Extension):
        return CATALOGUE[name]
    splits: dict[Split, int] = {split: name.fact(split) for split in SPLITS}
    shape = (name.fact("channels"), name.fact("resolution"), name.fact("num_classes"))
    content = hashlib.sha256(json.dumps([name.code, name.options]).encode()).hexdigest()
    return KnownDataset(*shape, official={"train": sum(splits.values())}, study=splits, pinned=content)


def folder_of(config: DataConfig, on_progress: OnProgress = ignore_progress) -> ImageFolder:
    """Return the images of a folder; raises DataError where it cannot be used."""
    assert config.path  # required by DataConfig
    return open_folder(config.path, on_progress, Choice(config.image_column, config.label_column))


def facts(config: DataConfig, on_progress: OnProgress = ignore_progress) -> DatasetFacts:
    """Return shape and sizes of a data set; raises DataError for a folder that cannot be used."""
    if config.name == "folder":
        assert config.resolution  # required by DataConfig
        folder = folder_of(config, on_progress)
        splits = folder_splits(folder, config.split_seed)
        sizes: dict[Split, int] = {split: len(splits[split]) for split in SPLITS}
        remarks = folder_remarks(folder, splits["train"])
        shape = config.channels or RGB, config.resolution, len(folder.classes)
        return DatasetFacts(*shape, sizes, remarks, has_splits=not folder.carved)
    known = known_dataset(config)
    sizes = known.official if config.splits == "official" else known.study
    return DatasetFacts(known.channels, config.resolution or known.resolution, known.num_classes, _in_order(sizes))


def source_fingerprint(config: DataConfig, on_progress: OnProgress = ignore_progress) -> str:
    """Return a digest that identifies the content of a data set before it is prepared, for signatures.

    It is taken over the published checksums of its files, which need not be present; for a folder, over its content.
    Raises DataError for a folder that cannot be read.
    """
    if config.name == "folder":
        return folder_fingerprint(folder_of(config, on_progress), on_progress)
    known = known_dataset(config)
    return known.pinned or hashlib.sha256(" ".join(file.md5 for file in known.files).encode()).hexdigest()


def without_defaults(config: DataConfig) -> DataConfig:
    """Return `config` without values that repeat the data set's defaults, so that equal data sets compare equal."""
    known = CATALOGUE.get(str(config.name))
    resolution = None if known and config.resolution == known.resolution else config.resolution
    return replace(config, resolution=resolution, channels=None if config.channels == RGB else config.channels)


def split_indices(config: DataConfig) -> dict[Split, list[int]]:
    """Return the indices of each split into the prepared images, sorted; the same in every run and for every model.

    Splits that the data set has itself are kept. The others are carved out of its train part, whose images rank by
    SHA-256("NAME/i"): the first ranks are test, the next val, the rest train. For a folder see `folder_splits`.
    """
    if config.name == "folder":
        return _in_order(folder_splits(folder_of(config), config.split_seed))
    known = known_dataset(config)
    parts, sizes = known.parts(config.splits), facts(config).splits
    carved: dict[Split, int] = {split: sizes[split] for split in ("test", "val") if split not in parts}
    splits = carve((f"{config.name}/{i}".encode() for i in range(parts["train"])), carved)
    start = 0
    for part, size in parts.items():
        if part != "train":
            splits[part] = list(range(start, start + size))
        start += size
    return _in_order(splits)


def _in_order(splits: dict[Split, Value]) -> dict[Split, Value]:
    return {split: splits[split] for split in SPLITS}
