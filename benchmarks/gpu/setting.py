"""What every section is told: on which device, how large, and where data and pictures are."""

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


@dataclass(frozen=True)
class Setting:
    """How to run a section.

    device: cuda or cpu. tiny: run all of its code on next to nothing; figures then mean nothing. scratch: a folder for
    files that sections leave each other. out: a folder for pictures. data: a folder of FashionMNIST's files; None where
    it was found nowhere.
    """

    device: str
    tiny: bool
    scratch: Path
    out: Path
    data: Path | None

    @property
    def torch_device(self) -> "torch.device":
        """The device, as torch has it."""
        import torch

        return torch.device(self.device)

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device == "cuda"


def find_data(given: Path | None, root: Path) -> Path | None:
    """Return the folder of FashionMNIST's files: the given one, or the first of the usual places that has them."""
    if given is not None:
        return given
    places = [root / place for place in USUAL_PLACES]
    return next((place for place in places if any(place.rglob(f"{FIRST_FILE}*"))), None)
