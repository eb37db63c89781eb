"""Draws images in a thread, so that a page can show each step and stop after any of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor

from edm.data.dataset import to_uint8
from edm.generate import draw
from edm.pictures import Moment
from experiments.demo.networks import Network
from experiments.demo.settings import Wanted
from experiments.errors import UserError
from experiments.trials.pictures import spread_steps

KEPT = 60  # steps that can be looked at afterwards, and during the drawing
FRAME_S = 0.1  # between frames: encoding more of them would take time from the sampling


class Cancelled(Exception):
    """The person cancelled the drawing."""


@dataclass(frozen=True)
class Frame:
    """A step of a drawing: its number, how many there are, and the images at its beginning."""

    step: int
    steps: int
    moment: Moment


@dataclass
class Drawing:
    """The drawing of some images, done by `frames`.

    cancelled: is looked at before every step. kept: the steps so far. images, seconds: once it is done.
    """

    network: Network
    wanted: Wanted
    cancelled: threading.Event
    kept: list[Frame] = field(default_factory=list)
    images: UInt8[Tensor, "n c h w"] | None = None
    seconds: float = 0.0
    error: BaseException | None = None

    def frames(self, period_s: float = FRAME_S) -> Iterator[Frame]:
        """Draw, and yield the latest step whenever `period_s` has passed; the images are there at the end.

        Where the generator is closed, the drawing ends at its next step. Raises Cancelled once `cancelled` is set, and
        UserError if the images are not finite numbers.
        """
        thread = threading.Thread(target=self._run, name="drawing", daemon=True)
        thread.start()
        shown = 0
        try:
            while thread.is_alive():
                thread.join(period_s)
                if len(self.kept) > shown:
                    shown = len(self.kept)
                    yield self.kept[-1]
        finally:
            if thread.is_alive():
                self.cancelled.set()
            thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self.images = self._draw()
            self.seconds = time.monotonic() - began
        except BaseException as error:  # raised again by the thread that shows it
            self.error = error

    def _draw(self) -> UInt8[Tensor, "n c h w"]:
        network, sampling = self.network, self.wanted.sampling
        shown = spread_steps(sampling.steps, KEPT)

        def on_step(step: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
            if self.cancelled.is_set():
                raise Cancelled
            if step in shown:
                self.kept.append(Frame(step, sampling.steps, Moment.of(sigma, x, denoised, network.model.sigma_data)))

        device = next(network.model.parameters()).device
        labels = self.wanted.labels(network.model.config.num_classes).to(device)
        index = torch.arange(self.wanted.images, device=device)
        images = draw(network.model, sampling, index, labels, network.guide, on_step)
        if not bool(images.isfinite().all()):
            raise UserError("the images hold values that are not finite numbers; lower the guidance or the churn")
        return to_uint8(images).cpu()
