"""What the classes of published data sets show, in the order of their numbers. Those of digits are their numbers."""

from __future__ import annotations

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    # Xiao et al. 2017, Table 2
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    # batches.meta of the published files
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
