"""The page itself: widgets of Gradio around a Studio. The only module that imports gradio."""

from __future__ import annotations

import hashlib
import html
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.request import ProxyHandler, Request, build_opener

import gradio as gr
from gradio import themes

from edm.config import CHURNED_SAMPLERS
from experiments.demo.networks import Network
from experiments.demo.settings import Form, form_of, most_images, samplers_of
from experiments.demo.studio import PageView, Studio
from experiments.errors import UserError
from experiments.loopback import LOOPBACK
from experiments.trials.data_records import numbered_class

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FIRST_IMAGES = 16
WAITING = 20  # drawings that may wait; those after them are told to come back later
ALL = "all in turn"
WARM_UP = "warm-up"  # the key of a page that nobody opened
FONT = ["system-ui", "sans-serif"]  # of the machine: nothing is fetched
# pixels stay squares; a label stands above its picture, not on it
CSS = """
.pixels img {image-rendering: pixelated; width: 100%; height: auto; max-height: 70vh; object-fit: contain}
.pixels [data-testid="block-label"] {position: static; width: fit-content; border: none; box-shadow: none}
.message {min-height: 3em} .message progress {width: 100%}
footer {display: none !important}
"""

Updates = tuple[Any, ...]


@dataclass(frozen=True)
class Setting:
    """The widgets of one setting of the sampler."""

    sampler: gr.Dropdown
    steps: gr.Number
    guidance: gr.Number
    interval: gr.Textbox
    churn: gr.Number

    @property
    def widgets(self) -> list[Any]:
        """All of them, in the order in which a function is given their values."""
        return [self.sampler, self.steps, self.guidance, self.interval, self.churn]


@dataclass(frozen=True)
class Output:
    """The widgets that a drawing changes."""

    message: gr.HTML
    noisy: tuple[gr.Image, gr.Image]
    denoised: tuple[gr.Image, gr.Image]
    difference: gr.Image
    slider: gr.Slider
    command: gr.Code
    python: gr.Code
    png: gr.DownloadButton
    gif: gr.DownloadButton
    nearest: gr.Image
    sentence: gr.Markdown

    @property
    def pictures(self) -> list[Any]:
        """What a view changes."""
        return [self.message, *self.noisy, *self.denoised, self.difference, self.slider]

    @property
    def widgets(self) -> list[Any]:
        """What a drawing changes."""
        return [*self.pictures, self.command, self.python, self.png, self.gif]


def serve(studio: Studio, first: Network, port: int, say: Callable[[str], None]) -> None:
    """Serve the page to browsers on this machine, until interrupted.

    first: the network that the page begins with. say: is given the address. Raises UserError if the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="edm-sweep-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # the pictures on the page are files there
        page = build(studio, first, Path(folder))
        theme = themes.Default(font=FONT, font_mono=["monospace"])
        options = {"theme": theme, "css": CSS, "footer_links": [], "quiet": True, "prevent_thread_lock": True}
        try:
            _, address, _ = page.launch(server_name=LOOPBACK, server_port=port, share=False, **options)
        except OSError:
            raise UserError(f"--port {port}: is taken on this machine; give another one") from None
        _warm_up(address)
        studio.leave(WARM_UP)
        say(f"Open {address} in a browser. Ctrl-C ends it.")
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


def _warm_up(address: str) -> None:
    """Send the first request, for which Gradio loads modules for seconds, so that the first page does not wait."""
    content = json.dumps({"fn_index": 0, "data": [], "session_hash": WARM_UP}).encode()
    request = Request(f"{address}gradio_api/run/predict", content, {"Content-Type": "application/json"})  # noqa: S310 - ours
    with suppress(OSError):  # pages work without it
        build_opener(ProxyHandler({})).open(request, timeout=30).close()


def build(studio: Studio, first: Network, folder: Path) -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="edm-sweep demo", analytics_enabled=False, delete_cache=(300, 3600)) as page:
        gr.Markdown("# Draw images step by step")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                controls = _controls(studio, first)
            with gr.Column(scale=2, min_width=320):
                output = _output()
        _connect(page, Handlers(studio, folder), controls, output)
    return page.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)


@dataclass(frozen=True)
class Controls:
    """The widgets that a person sets, and the buttons."""

    network: gr.Dropdown
    label: gr.Dropdown
    seed: gr.Number
    images: gr.Number
    compare: gr.Checkbox
    first: Setting
    second: Setting
    second_group: gr.Group
    draw: gr.Button
    cancel: gr.Button

    @property
    def inputs(self) -> list[Any]:
        """What a drawing reads, in the order of Handlers.draw."""
        shared = [self.network, self.label, self.seed, self.images, self.compare]
        return [*shared, *self.first.widgets, *self.second.widgets]


def _controls(studio: Studio, first: Network) -> Controls:
    names = list(studio.offers)
    network = gr.Dropdown(names, value=first.offer.name, label="Network", visible=len(names) > 1)
    label = _label(first)
    with gr.Row():
        seed = gr.Number(first.sampling.seed, label="Seed", min_width=90)
        images = gr.Number(min(FIRST_IMAGES, most_images(first)), label="Number of images", min_width=90)
    one = _setting("", first)
    compare = gr.Checkbox(False, label="Compare with a second setting (B), from the same noise")
    with gr.Group(visible=False) as group:
        two = _setting(" of B", first)
    with gr.Row():
        draw = gr.Button("Draw", variant="primary", min_width=90)
        cancel = gr.Button("Cancel", min_width=90)
    return Controls(network, label, seed, images, compare, one, two, group, draw, cancel)


def _label(network: Network) -> gr.Dropdown:
    numbers = range(network.model.config.num_classes)
    classes = [ALL, *((numbered_class(number, network.classes), str(number)) for number in numbers)]
    return gr.Dropdown(classes, value=ALL, label="Class", visible=network.takes_label)


def _setting(which: str, network: Network) -> Setting:
    form, guided = form_of(network.sampling, FIRST_IMAGES), network.takes_guidance
    with gr.Row():
        sampler = gr.Dropdown(samplers_of(network), value=form.sampler, label=f"Sampler{which}", min_width=140)
        steps = gr.Number(form.steps, label=f"Steps{which}", min_width=90)
    churn = gr.Number(form.churn, label=f"Churn{which}", visible=form.sampler in CHURNED_SAMPLERS)
    with gr.Row():
        guidance = gr.Number(form.guidance, label=f"Guidance{which} (1: off)", visible=guided, min_width=90)
        interval = gr.Textbox(
            form.interval, label=f"only for σ{which} in", placeholder="low, high", visible=guided, min_width=110
        )
    return Setting(sampler, steps, guidance, interval, churn)


def _output() -> Output:
    message = gr.HTML(_html("Starting.", 0.0), elem_classes="message")
    with gr.Row():
        noisy = _image("State x"), _image("State x of B", visible=False)
    with gr.Row():
        denoised = _image("Denoised: D(x; σ)"), _image("Denoised: D(x; σ) of B", visible=False)
    difference = _image("Difference of the images of A and B (black: equal)", visible=False)
    slider = gr.Slider(0, 1, value=1, step=1, label="Look at a step, from pure noise to the images", interactive=True)
    with gr.Row():
        png, gif = (gr.DownloadButton(f"Download {kind}", interactive=False) for kind in ("PNG", "GIF"))
    gr.Markdown("Click on a denoised image to see its nearest training images.")
    nearest, sentence = _image("The image and its nearest training images", visible=False), gr.Markdown()
    command = _code("The same images on the command line", "shell")
    python = _code("The same images in Python", "python")
    return Output(message, noisy, denoised, difference, slider, command, python, png, gif, nearest, sentence)


def _image(label: str, visible: bool = True) -> gr.Image:
    look = {"format": "png", "buttons": ["fullscreen"], "elem_classes": "pixels", "min_width": 150}
    return gr.Image(label=label, type="pil", interactive=False, visible=visible, **look)


def _code(label: str, language: Literal["shell", "python"]) -> gr.Code:
    look = {"wrap_lines": True, "show_line_numbers": False, "lines": 2}
    return gr.Code(label=label, language=language, interactive=False, **look)


def _html(message: str, share: float) -> str:
    return f"<p>{html.escape(message)}</p><progress max='1' value='{share:.3f}'></progress>"


def _connect(page: gr.Blocks, handlers: Handlers, controls: Controls, output: Output) -> None:
    """Say which function answers which event."""
    drawing = {"inputs": controls.inputs, "outputs": output.widgets, "concurrency_id": "drawing"}
    drawing["show_progress"] = "hidden"  # the page has a bar of its own
    at_once = {"queue": False, "show_progress": "hidden"}
    page.load(handlers.begin, **at_once).then(handlers.draw, **drawing)
    controls.draw.click(handlers.begin, **at_once).then(handlers.draw, **drawing)
    controls.cancel.click(handlers.cancel, **at_once)
    page.unload(handlers.leave)
    output.slider.input(handlers.look_at, output.slider, output.pictures[:-1], **at_once)
    for number, pane in enumerate(output.denoised):
        found = [output.nearest, output.sentence]
        pane.select(handlers.neighbours, gr.State(number), found, show_progress="hidden")
    changed = [controls.label, controls.seed, controls.images, *controls.first.widgets, *controls.second.widgets]
    controls.network.change(handlers.choose, controls.network, changed, show_progress="hidden")
    for setting in (controls.first, controls.second):
        setting.sampler.change(show_churn, setting.sampler, setting.churn, **at_once)
    compared = [controls.second_group, output.noisy[1], output.denoised[1], output.difference]
    controls.compare.change(show_second, controls.compare, compared, **at_once)


def show_churn(sampler: str) -> Any:
    """Show the churn of samplers that add noise."""
    return gr.update(visible=sampler in CHURNED_SAMPLERS)


def show_second(compare: bool) -> Updates:
    """Show what belongs to the second setting."""
    return tuple(gr.update(visible=compare) for _ in range(4))


class Handlers:
    """The functions that answer events of the page; `request` names the open page."""

    def __init__(self, studio: Studio, folder: Path) -> None:
        self.studio, self.folder = studio, folder

    def begin(self, request: gr.Request) -> None:
        """Prepare a page for a drawing, which may have to wait for others."""
        self.studio.begin(_key(request))

    def cancel(self, request: gr.Request) -> None:
        """End the page's drawing at its next step."""
        self.studio.cancel(_key(request))

    def leave(self, request: gr.Request) -> None:
        """Forget a closed page and its files."""
        self.studio.leave(_key(request))
        shutil.rmtree(self._folder_of(_key(request)), ignore_errors=True)

    def draw(
        self, request: gr.Request, name: str, label: str, seed: float, images: float, compare: bool, *fields: Any
    ) -> Iterator[Updates]:
        """Draw, and change the page with every frame; the recipes and files come last."""
        half, shared = len(fields) // 2, (None if label == ALL else int(label), seed, images)
        forms = [_form(shared, fields[:half]), *([_form(shared, fields[half:])] if compare else [])]
        rest = (gr.skip(),) * 4
        finished = False
        for view in self.studio.draw(_key(request), name, forms):
            finished = view.steps is not None
            yield (*self._updates(view), *rest)
        if finished:
            yield (*(gr.skip(),) * 7, *self.studio.recipes(_key(request)), *self._downloads(_key(request)))

    def _folder_of(self, key: str) -> Path:
        """Return the folder of a page's files. Whoever reaches the port chooses the key, which may be a path itself."""
        return self.folder / hashlib.sha256(key.encode()).hexdigest()

    def _downloads(self, key: str) -> Updates:
        folder = self._folder_of(key)
        folder.mkdir(exist_ok=True)
        # a new folder each time: under an old address a browser would give out the earlier file
        files = self.studio.write_files(key, Path(tempfile.mkdtemp(dir=folder)))
        return tuple(gr.update(value=str(file), interactive=True) for file in files or ())

    def _updates(self, view: PageView) -> Updates:
        """Return the values of Output.pictures."""
        shown = [*(pane and pane.noisy for pane in view.panes), *(pane and pane.denoised for pane in view.panes)]
        pictures = (gr.skip() if picture is None else self._file(picture) for picture in (*shown, view.difference))
        slider = gr.skip() if view.steps is None else gr.update(maximum=view.steps, value=view.steps)
        return _html(view.message, view.share), *pictures, slider

    def _file(self, picture: Picture | None) -> str | None:
        """Return a file that holds a picture, written whole and once: Gradio would write it anew while it is read."""
        if picture is None:
            return None
        content = BytesIO()
        picture.save(content, format="PNG", compress_level=1)
        path = self.folder / f"{hashlib.sha256(content.getvalue()).hexdigest()}.png"
        if not path.exists():
            temporary = path.with_suffix(f".{threading.get_ident()}")
            temporary.write_bytes(content.getvalue())
            temporary.replace(path)
        return str(path)

    def look_at(self, request: gr.Request, position: float) -> Updates:
        """Show a step of what was drawn."""
        view = self.studio.look_at(_key(request), position)
        return (gr.skip(),) * 6 if view is None else self._updates(view)[:-1]

    def neighbours(self, request: gr.Request, number: int, event: gr.SelectData) -> Updates:
        """Show the nearest training images of the one that was clicked."""
        x, y = event.index
        picture, sentence = self.studio.neighbours(_key(request), number, x, y)
        return gr.update(value=self._file(picture), visible=picture is not None), sentence

    def choose(self, name: str) -> Updates:
        """Show what a network takes, with its own defaults."""
        network = self.studio.network(name)
        form = form_of(network.sampling, min(FIRST_IMAGES, most_images(network)))
        guided = network.takes_guidance
        setting = (
            gr.update(choices=samplers_of(network), value=form.sampler),
            gr.update(value=form.steps),
            *(gr.update(value=value, visible=guided) for value in (form.guidance, form.interval)),
            gr.update(value=form.churn, visible=form.sampler in CHURNED_SAMPLERS),
        )
        return _label(network), form.seed, form.images, *setting, *setting


def _key(request: gr.Request) -> str:
    assert request.session_hash is not None, "only pages call this"
    return request.session_hash


def _form(shared: tuple[int | None, float, float], fields: tuple[Any, ...]) -> Form:
    (label, seed, images), (sampler, steps, guidance, interval, churn) = shared, fields
    return Form(label, sampler, steps, guidance, interval, churn, seed, images)
