"""Tiny data sets in the real formats of their files, and a catalogue that knows their counts and checksums."""

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edm.data.catalogue import CATALOGUE, Member

FASHION_SIZES = {"train": 30, "test": 10}
CIFAR_BATCH = 6
CELEBA_SIZES = {"train": 12, "val": 4, "test": 5}


@dataclass(frozen=True)
class Tiny:
    """Where the files are, and what they hold, in the order of preparation."""

    root: Path
    images: np.ndarray
    labels: np.ndarray


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def know(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, **changes: object) -> None:
    """Make the catalogue's counts and checksums those of the tiny files in `folder`."""
    known = CATALOGUE[name]
    files = tuple(
        replace(file, size=len(content := (folder / file.name).read_bytes()), md5=md5(content)) for file in known.files
    )
    monkeypatch.setitem(CATALOGUE, name, replace(known, files=files, **changes))


# Fashion-MNIST ------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """An array of unsigned bytes as an idx file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def tiny_fashion_mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """Four gzipped idx files in torchvision's layout."""
    rng, num = np.random.default_rng(0), sum(FASHION_SIZES.values())
    images = rng.integers(0, 256, (num, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, num, dtype=np.uint8)
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    parts = {"train": slice(0, FASHION_SIZES["train"]), "t10k": slice(FASHION_SIZES["train"], num)}
    for part, chosen in parts.items():
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[chosen])))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels[chosen])))
    contents = [idx(array[chosen]) for chosen in parts.values() for array in (images, labels)]
    members = tuple(
        replace(member, digest=hashlib.sha256(content).hexdigest())
        for member, content in zip(CATALOGUE["fashion_mnist"].members, contents, strict=True)
    )
    sizes = {"train": 24, "val": 6, "test": 10}
    know(monkeypatch, "fashion_mnist", folder, official=FASHION_SIZES, study=sizes, members=members)
    return Tiny(root, images, labels)


def unpack_fashion_mnist(root: Path) -> Path:
    """Replace the gzipped files by what is in them; their folder."""
    folder = root / "FashionMNIST" / "raw"
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    return folder


# CIFAR-10 -----------------------------------------------------------------------------------------


def cifar_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 and the numpy of 2009 pickled it: protocol 2, byte strings, numpy.core.multiarray."""
    data = images.reshape(len(images), -1)
    shape = b"K\x01" + b"".join(b"J" + struct.pack("<i", size) for size in data.shape) + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = b"T" + struct.pack("<i", data.nbytes) + data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    array += b"(" + shape + dtype + b"\x89" + content + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x04someq\x03U\x06labels" + numbers + b"U\x04data" + array + b"u."


def binary_batch(images: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch of the binary version."""
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True))


def tiny_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch, **replaced: bytes) -> Tiny:
    """The archive, with its six batches; `replaced` gives some of these another content."""
    known, rng = CATALOGUE["cifar10"], np.random.default_rng(0)
    num = CIFAR_BATCH * len(known.members)
    images = rng.integers(0, 256, (num, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 10, num)
    contents = {}
    binary = {}
    for i, name in enumerate(member.name for member in known.members):
        chosen = slice(i * CIFAR_BATCH, (i + 1) * CIFAR_BATCH)
        contents[name] = replaced.get(name, cifar_batch(images[chosen], labels[chosen].tolist()))
        binary[name] = binary_batch(images[chosen], labels[chosen])
    root.mkdir(exist_ok=True)
    with tarfile.open(root / known.files[0].name, "w:gz") as tar:
        for name, content in {"batches.meta": b"not read", **contents}.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    members = tuple(
        Member(name, hashlib.sha1(binary[name]).hexdigest(), md5(content)) for name, content in contents.items()
    )
    sizes = {"train": num - CIFAR_BATCH, "test": CIFAR_BATCH}
    study = {"train": num - CIFAR_BATCH - 7, "val": 7, "test": CIFAR_BATCH}
    know(monkeypatch, "cifar10", root, official=sizes, study=study, members=members)
    return Tiny(root, images, labels)


def unpack_cifar10(root: Path) -> Path:
    """Replace the archive by what is in it; its folder."""
    archive = root / "cifar-10-python.tar.gz"
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    archive.unlink()
    return root / "cifar-10-batches-py"


# CelebA -------------------------------------------------------------------------------------------


def picture(seed: int, size: tuple[int, int] = (178, 218), mode: str = "RGB") -> Image.Image:
    """A picture with something to see at every scale."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(int)
    noisy = smooth + rng.integers(-20, 21, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image file's content."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiny_celeba(root: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """The zip archive of JPEGs and the partition file, in torchvision's layout. `images` are the decoded originals."""
    folder = root / "celeba"
    folder.mkdir(parents=True)
    num = sum(CELEBA_SIZES.values())
    names = [f"{i:06d}.jpg" for i in range(1, num + 1)]
    contents = [encoded(picture(i), "JPEG", quality=90) for i in range(num)]
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        archive.writestr("img_align_celeba/", b"")
        for name, content in zip(names, contents, strict=True):
            archive.writestr(f"img_align_celeba/{name}", content)
    parts = [part for part, size in zip("012", CELEBA_SIZES.values(), strict=True) for _ in range(size)]
    lines = (f"{name} {part} \n" for name, part in zip(names, parts, strict=True))
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    know(monkeypatch, "celeba", folder, official=CELEBA_SIZES, study={"train": 9, "val": 3, "test": 5})
    images = np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in contents])
    return Tiny(root, images, np.zeros(num, dtype=np.int64))


def unpack_celeba(root: Path) -> Path:
    """Replace the archive by what is in it; its folder."""
    archive = root / "celeba" / "img_align_celeba.zip"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(root / "celeba")
    archive.unlink()
    return root / "celeba" / "img_align_celeba"


# packed anew --------------------------------------------------------------------------------------


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """A zip archive of files by name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def parquet(path: Path, column: str, images: np.ndarray, labels: np.ndarray, mode: str) -> None:
    """A parquet file as Hugging Face writes it: PNG files with their names, and labels."""
    import pyarrow
    from pyarrow.parquet import write_table

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": encoded(Image.fromarray(image, mode), "PNG"), "path": None} for image in images]
    write_table(pyarrow.table({column: rows, "label": labels.astype(np.int64)}), path)


# a folder of images -------------------------------------------------------------------------------


def image_tree(root: Path, *paths: str, size: tuple[int, int] = (20, 16)) -> Path:
    """A folder with a small PNG under each of `paths`."""
    for i, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encoded(picture(i, size), "PNG"))
    return root


# parquet files ------------------------------------------------------------------------------------

CLASS_LABEL, IMAGE = "ClassLabel", "Image"


def images_of(numbers: range, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> list[dict[str, object]]:
    """A column of images as the package datasets writes it: bytes and paths."""
    return [{"bytes": encoded(picture(i, size), kind), "path": f"{i}.{kind.lower()}"} for i in numbers]


def write_columns(
    path: Path, columns: dict[str, object], features: dict[str, object] | None = None, group: int | None = None
) -> Path:
    """A parquet file of columns. features: what the metadata say of them; group: rows of a row group."""
    import json

    import pyarrow
    from pyarrow.parquet import write_table

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    write_table(table, path, row_group_size=group)
    return path


def write_shard(
    path: Path, numbers: range, names: tuple[str, ...] = ("finch", "owl"), group: int | None = None
) -> Path:
    """A parquet file as the package datasets writes it: images, and class numbers with the names of the classes."""
    features = {"image": {"_type": IMAGE}, "label": {"names": list(names), "_type": CLASS_LABEL}}
    columns = {"image": images_of(numbers), "label": [i % len(names) for i in numbers]}
    return write_columns(path, columns, features, group)
