"""A network of the study's kind, so small that tests can train it."""

from edm.config import NetworkConfig

NETWORK = NetworkConfig(
    image_channels=1,
    resolution=8,
    num_classes=3,
    channels=8,
    depths=(1, 1),
    heads=(0, 2),
    bridge_heads=2,
    cond_channels=4,
)
