"""What the page does, without its widgets: draws for each open page, remembers what it shows, and answers clicks."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import UInt8
from torch import Tensor

from edm.pictures import TITLED_TILE, Moment, grid_picture, image_at, save_animation
from experiments.demo.drawing import Cancelled, Drawing, Frame
from experiments.demo.nearest import TrainingImages
from experiments.demo.networks import Network, Offer, load
from experiments.demo.recipes import command, python_lines
from experiments.demo.settings import Form, Wanted, form_of, read
from experiments.errors import UserError
from experiments.store.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

NAMES = ("A", "B")  # of two settings side by side


@dataclass(frozen=True)
class Pane:
    """One setting's pictures: the states and, below them, the denoiser's outputs."""

    noisy: Picture
    denoised: Picture


@dataclass(frozen=True)
class PageView:
    """What the page shows from now on; None where nothing changes.

    message: a sentence for the person. share: of the work, from 0 to 1. panes: of the settings, the second one only
    where two are compared. difference: of the images of both. steps: how many can be looked at.
    """

    message: str
    share: float
    panes: tuple[Pane | None, Pane | None] = (None, None)
    difference: Picture | None = None
    steps: int | None = None


@dataclass
class Session:
    """What one open page has drawn. drawings: one, or two that are compared, once they are finished."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    drawings: list[Drawing] = field(default_factory=list)


class Studio:
    """The networks on offer, those that are loaded, and the open pages."""

    def __init__(self, offers: list[Offer], store: Store, device: torch.device) -> None:
        self.offers = {offer.name: offer for offer in offers}
        self.store, self.device = store, device
        self._networks: dict[str, Network] = {}
        self._training_images: dict[str, TrainingImages] = {}
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def network(self, name: str) -> Network:
        """Return a network by its name, loaded at its first use; raises UserError."""
        with self._lock:
            if name not in self._networks:
                self._networks[name] = load(self.offers[name], self.store, self.device)
            return self._networks[name]

    def warm_up(self, name: str) -> Network:
        """Load a network and draw an image from it, so that the first page does not wait for what happens only once."""
        network = self.network(name)
        for _ in self.draw(name, name, [form_of(replace(network.sampling, steps=1), images=1)]):
            pass
        self.leave(name)
        return network

    def begin(self, key: str) -> None:
        """Forget an earlier request of a page to cancel."""
        self._session(key).cancelled.clear()

    def cancel(self, key: str) -> None:
        """End a page's drawing at its next step, also one that still waits for others."""
        self._session(key).cancelled.set()

    def leave(self, key: str) -> None:
        """Forget a page that was closed, and end its drawing."""
        self.cancel(key)
        self._sessions.pop(key, None)

    def draw(self, key: str, name: str, forms: list[Form]) -> Iterator[PageView]:
        """Draw with one setting, or two from the same noise; yield what the page shows."""
        session = self._session(key)
        try:
            network = self.network(name)
            wanted = [self._read(form, network, number, len(forms)) for number, form in enumerate(forms)]
            drawings = [Drawing(network, each, session.cancelled) for each in wanted]
            for number, drawing in enumerate(drawings):
                for frame in drawing.frames():
                    yield _progress_view(frame, number, len(drawings))
            session.drawings = drawings
            yield _finished_view(drawings)
        except Cancelled:
            yield PageView("Cancelled.", 0.0)
        except UserError as error:
            yield PageView(f"{_capitalised(str(error))}.", 0.0)

    def _read(self, form: Form, network: Network, number: int, count: int) -> Wanted:
        try:
            return read(form, network)
        except UserError as error:
            raise UserError(f"setting {NAMES[number]}: {error}" if count > 1 else str(error)) from None

    def look_at(self, key: str, position: float) -> PageView | None:
        """Show a step of what was drawn, by the slider's position from 0 to PageView.steps; None before any drawing.

        The last position is the finished images. A second setting shows its step of the nearest noise level.
        """
        drawings = self._session(key).drawings
        if not drawings:
            return None
        first, index = drawings[0], int(position)
        if index >= len(first.kept):
            return _finished_view(drawings)
        frame = first.kept[index]
        moments = [frame.moment, *(_nearest_moment(each, frame.moment.sigma) for each in drawings[1:])]
        panes = [_pane(moment.noisy, moment.denoised) for moment in moments]
        message = f"σ = {frame.moment.sigma:.3g}, step {frame.step + 1} of {frame.steps}."
        return PageView(message, 1.0, (panes[0], panes[1] if len(panes) > 1 else None))

    def neighbours(self, key: str, number: int, x: int, y: int) -> tuple[Picture | None, str]:
        """Return the image at a pixel of a pane beside its nearest training images, and a sentence about them."""
        drawings = self._session(key).drawings
        if number >= len(drawings):
            return None, "Draw images first."
        drawing = drawings[number]
        images = _images(drawing)
        index = image_at(x, y, images.shape[2], _columns(len(images)), TITLED_TILE)
        if index >= len(images):
            return None, "There is no image here; click on one."
        training = drawing.network.training
        if training is None:
            return None, "The training images of a model file are not known; choose a training of the store."
        try:
            found = self._training_set(drawing.network).nearest_to(images[index])
        except UserError as error:
            return None, f"{_capitalised(str(error))}."
        parts = [f"nearest in {each.space}: distance {each.distance:.3g}" for each in found]
        tiles = torch.stack([images[index], *(each.image for each in found)])
        return grid_picture(tiles, len(tiles), TITLED_TILE), f"Image {index}; " + "; ".join(parts) + "."

    def _training_set(self, network: Network) -> TrainingImages:
        training = network.training
        assert training is not None
        with self._lock:
            if training.data.signature not in self._training_images:
                self._training_images[training.data.signature] = TrainingImages(training, self.store)
            return self._training_images[training.data.signature]

    def recipes(self, key: str) -> tuple[str, str]:
        """Return the command and the Python lines that draw the (first) images again; empty before any drawing."""
        drawings = self._session(key).drawings
        if not drawings:
            return "", ""
        each = drawings[0]
        return command(each.network, each.wanted, self.store), python_lines(each.network, each.wanted, self.store)

    def write_files(self, key: str, folder: Path) -> tuple[Path, Path] | None:
        """Write the (first) images as PNG and their denoising as GIF; None before any drawing."""
        drawings = self._session(key).drawings
        if not drawings:
            return None
        png, gif = folder / "images.png", folder / "denoising.gif"
        images = _images(drawings[0])
        _grid(images).save(png, format="PNG")
        save_animation([frame.moment for frame in drawings[0].kept], images, gif)
        return png, gif

    def _session(self, key: str) -> Session:
        return self._sessions.setdefault(key, Session())


def _images(drawing: Drawing) -> UInt8[Tensor, "n c h w"]:
    assert drawing.images is not None, "only finished drawings are kept"
    return drawing.images


def _columns(count: int) -> int:
    return math.ceil(math.sqrt(count))


def _grid(images: UInt8[Tensor, "n c h w"]) -> Picture:
    return grid_picture(images, _columns(len(images)), TITLED_TILE)


def _pane(noisy: UInt8[Tensor, "n c h w"], denoised: UInt8[Tensor, "n c h w"]) -> Pane:
    return Pane(_grid(noisy), _grid(denoised))


def _progress_view(frame: Frame, number: int, count: int) -> PageView:
    pane = _pane(frame.moment.noisy, frame.moment.denoised)
    which = f"Setting {NAMES[number]}: " if count > 1 else ""
    message = f"{which}σ = {frame.moment.sigma:.3g}, step {frame.step + 1} of {frame.steps}."
    return PageView(message, (number + frame.step / frame.steps) / count, (pane, None) if number == 0 else (None, pane))


def _finished_view(drawings: list[Drawing]) -> PageView:
    images = [_images(drawing) for drawing in drawings]
    panes = [_pane(each, each) for each in images]
    steps = len(drawings[0].kept)
    nfe = " and ".join(str(each.wanted.sampling.nfe) for each in drawings)
    seconds = " and ".join(f"{each.seconds:.2g}" for each in drawings)
    message = f"Done: {len(images[0])} images, {nfe} network evaluations for each, in {seconds} s."
    if len(images) == 1:
        return PageView(message, 1.0, (panes[0], None), steps=steps)
    difference = (images[0].int() - images[1].int()).abs()
    changes = difference.flatten(1).double().mean(dim=1)
    message += f" A and B differ by {float(changes.mean()):.1f} grey levels on average"
    message += f", most in image {int(changes.argmax())} ({float(changes.max()):.1f})."
    return PageView(message, 1.0, (panes[0], panes[1]), _grid(difference.to(torch.uint8)), steps)


def _nearest_moment(drawing: Drawing, sigma: float) -> Moment:
    return min((frame.moment for frame in drawing.kept), key=lambda moment: abs(math.log(moment.sigma / sigma)))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
