"""What every section is told: on which device, how large, and where data and pictures are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# where FashionMNIST's files may be: Debian's package, then a checkout's own folders, in torchvision's layout or flat
USUAL_PLACES = (
    "/usr/share/datasets/fashion-mnist",
    "/usr/share/dataset-fashion-mnist",
    "data",
    "runs/sources",
    "fashion-mnist",
)
PACKAGE = "dataset-fashion-mnist"  # Debian's, 30 MB
FIRST_FILE = "train-images-idx3-ubyte"
COMPILED = "compiled.json"  # file of the scratch folder: names of programs that are compiled
FOUND_SHARE = 0.3  # of the time of compiling, which programs take that torch finds in its cache


@dataclass(frozen=True)
class Setting:
    """How to run a section.

    device: cuda or cpu. tiny: run all of its code on next to nothing; figures then mean nothing. scratch: a folder for
    files that sections leave each other. out: a folder for pictures. data: a folder of FashionMNIST's files; None where
    it was found nowhere. sections: the names of those that run.
    """

    device: str
    tiny: bool
    scratch: Path
    out: Path
    data: Path | None
    sections: tuple[str, ...] = ()

    @property
    def torch_device(self) -> "torch.device":
        """The device, as torch has it."""
        import torch

        return torch.device(self.device)

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device == "cuda"

    def note_compiled(self, names: Sequence[str]) -> None:
        """Note for later sections which programs torch has in its cache."""
        (self.scratch / COMPILED).write_text(json.dumps(names))

    def compiling_s(self, name: str, seconds: float) -> float:
        """Return how long it takes until a program can run that takes `seconds` to compile."""
        noted = self.scratch / COMPILED
        if self.tiny:
            return 0.0
        return FOUND_SHARE * seconds if noted.exists() and name in json.loads(noted.read_text()) else seconds


def find_data(given: Path | None, root: Path) -> Path | None:
    """Return the folder of FashionMNIST's files: the given one, or the first of the usual places that has them."""
    if given is not None:
        return given
    places = [root / place for place in USUAL_PLACES]
    return next((place for place in places if any(place.rglob(f"{FIRST_FILE}*"))), None)
