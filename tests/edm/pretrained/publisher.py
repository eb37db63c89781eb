"""A server on this machine that publishes networks in NVlabs' place, and a small network for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edm.config import ModelConfig, NetworkConfig
from edm.pretrained import published
from edm.pretrained.published import PublishedNetwork

NAME = "edm-tiny-8x8-cond-vp"
SMALL = PublishedNetwork(NAME, "ddpmpp", 8, 10)


def small(num_classes: int = 10) -> NetworkConfig:
    return ModelConfig(architecture="ddpmpp", channels=8, multipliers=(1, 2), depths=(1, 1)).network(1, 8, num_classes)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Publish the files of a folder, which is made; NVlabs' address is this server's meanwhile."""
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(published, "ADDRESS", f"http://127.0.0.1:{server.server_port}/")
            patch.setenv("no_proxy", "127.0.0.1")
            yield folder
        server.shutdown()
