"""What the demo's page does, without a browser and without Gradio."""

import re
import shlex
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import edm
from edm.config import MAX_GAMMA, NetworkConfig, SamplingConfig
from edm.data.dataset import to_uint8
from edm.extension import Extension
from edm.files import save_model
from edm.generate import draw
from edm.metrics.memorisation import pixel_rows
from edm.precondition import Denoiser
from experiments.cli.main import app
from experiments.demo import drawing
from experiments.demo.drawing import Cancelled, Drawing
from experiments.demo.networks import Network, Offer, load, offers
from experiments.demo.recipes import command, python_lines
from experiments.demo.settings import Form, Wanted, form_of, most_images, read, samplers_of
from experiments.demo.studio import PageView, Studio
from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from tests.conftest import TINY
from tests.planning import load_sweep, plan_sweep

CPU = torch.device("cpu")
KEY = "page"
FORM = form_of(SamplingConfig(steps=5), images=6)
TILE = 72 + 2  # pixels of an enlarged image and of the gap after it


@pytest.fixture(scope="module")
def studio(finished: tuple[Plan, Store]) -> Studio:
    torch.set_num_threads(1)
    _, store = finished
    return Studio(offers([], store), store, CPU)


@pytest.fixture(scope="module")
def name(studio: Studio) -> str:
    return next(iter(studio.offers))


@pytest.fixture(scope="module")
def network(studio: Studio, name: str) -> Network:
    return studio.network(name)


def test_the_command_names_a_class_that_cannot_be_mistaken(network: Network, studio: Studio) -> None:
    wanted = replace(read(FORM, network), label=2)
    assert "--label 2 " in command(network, wanted, studio.store)
    odd = replace(network, classes=("0", "1", "10", "2"))
    assert "--label number=2 " in command(odd, wanted, studio.store)


def views(studio: Studio, name: str, *forms: Form) -> list[PageView]:
    studio.begin(KEY)
    return list(studio.draw(KEY, name, list(forms)))


def without_classes(label_dropout: float | None = None, num_classes: int = 0) -> Network:
    """A network that was never trained, of images without labels."""
    config = NetworkConfig(1, 8, num_classes, channels=8, depths=(1,), heads=(0,), bridge_heads=0)
    return Network(Offer("plain"), Denoiser(config, 0.5).eval(), None, SamplingConfig(), label_dropout)


def pixels(picture: Image.Image, number: int, columns: int) -> torch.Tensor:
    """An image of 8x8 pixels in a picture, at its own size."""
    y, x = number // columns * TILE, number % columns * TILE
    return torch.from_numpy(np.array(picture))[y : y + 72 : 9, x : x + 72 : 9]


# what is offered -------------------------------------------------------------------------------------


def test_all_finished_trainings_are_offered(studio: Studio, finished: tuple[Plan, Store]) -> None:
    plan, _ = finished
    assert set(studio.offers) == {f"tiny_digits:{plan.names[signature]}" for signature in plan.trainings}


def test_trainings_with_a_cell_each_are_offered_by_the_cells_names(trained: Store, tmp_path: Path) -> None:
    """No axis of sampling tells a training from its cell: both have one name."""
    for record in (trained.root / "sweeps").glob("*.json"):
        record.unlink()
    text = TINY.replace("tiny_digits", "alone").replace("  sampling.sampler: [euler, heun]\n", "")
    (tmp_path / "alone.yaml").write_text(text.replace("steps: 3", "steps: 3, sampler: euler"))
    record_plan(plan_sweep(load_sweep(tmp_path / "alone.yaml")), trained)
    studio = Studio(offers([], trained), trained, CPU)
    assert set(studio.offers) == {"alone:no-attention", "alone:attention"}
    assert studio.network("alone:attention").sampling.sampler == "euler"


def test_a_cell_brings_its_own_sampling(finished: tuple[Plan, Store]) -> None:
    _, store = finished
    [offer] = offers(["attention/euler"], store)
    assert offer.name.endswith("euler")
    assert load(offer, store, CPU).sampling.sampler == "euler"


def test_a_folder_and_a_file_of_a_model_are_offered(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = finished
    save_model(without_classes().model, tmp_path / "model.safetensors")
    for name in (str(tmp_path), str(tmp_path / "model.safetensors")):
        [offer] = offers([name], store)
        network = load(offer, store, CPU)
        assert network.training is None and network.model.config.num_classes == 0


def test_what_cannot_be_offered_is_a_sentence(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = finished
    (tmp_path / "text.safetensors").write_text("no model")
    with pytest.raises(UserError, match="is in no known format; give a model folder"):
        load(offers([str(tmp_path)], store)[0], store, CPU)
    with pytest.raises(UserError, match="does not exist; give the path of a trained network"):
        offers(["absent.pkl"], store)
    with pytest.raises(UserError, match="matches no cell"):
        offers(["nothing"], store)
    with pytest.raises(UserError, match="has no finished training of a sweep; run a sweep first"):
        offers([], Store(tmp_path))
    with pytest.raises(UserError, match="is not a model file"):
        load(offers([str(tmp_path / "text.safetensors")], store)[0], store, CPU)


@pytest.mark.parametrize(
    ("network", "label", "guidance"),
    [
        (without_classes(), False, False),
        (without_classes(0.1, num_classes=10), True, True),
        (without_classes(None, num_classes=10), True, True),  # a model file: unknown
        (without_classes(0.0, num_classes=10), True, False),
        (without_classes(1.0, num_classes=10), False, False),
    ],
)
def test_a_page_asks_only_for_what_the_network_takes(network: Network, label: bool, guidance: bool) -> None:
    assert (network.takes_label, network.takes_guidance) == (label, guidance)
    wanted = read(replace(FORM, label=3, guidance=4.0, interval="1, 2"), network)
    assert wanted.label == (3 if label else None)
    assert wanted.sampling.guidance == (4.0 if guidance else 1.0)
    assert wanted.sampling.guidance_interval == ((1.0, 2.0) if guidance else None)


# settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: 0 is not possible; give a whole number from 1 to 256"),
        ({"steps": 2.5}, "steps: 2.5 is not possible; give a whole number from 1 to 256"),
        ({"steps": 300}, "steps: 300 is not possible; give a whole number from 1 to 256"),
        ({"steps": float("nan")}, "steps: nan is not possible; give a whole number from 1 to 256"),
        ({"images": None}, "number of images: is empty; give a whole number from 1 to 64"),
        ({"images": 65}, "number of images: 65 is not possible; give a whole number from 1 to 64"),
        ({"seed": -1}, "seed: -1 is not possible"),
        ({"guidance": None}, "guidance: is empty; give a number"),
        ({"guidance": float("inf")}, "guidance: inf is not a finite number"),
        ({"interval": "3"}, "guidance interval: '3' is not two numbers; give two noise levels, such as 0.3, 5"),
        ({"interval": "a, b"}, "guidance interval: 'a, b' is not two numbers"),
        ({"interval": "5, 1"}, "guidance interval: 5 to 1 is not a range of noise levels"),
        ({"sampler": "stochastic_heun", "churn": -1}, "churn: -1.0 is below 0"),
    ],
)
def test_a_wrong_input_is_a_sentence_on_the_page(studio, name: str, changes: dict, message: str) -> None:
    [view] = views(studio, name, replace(FORM, **changes))
    assert view.message.lower().startswith(message.lower()) and view.message.endswith(".")
    assert view.panes == (None, None) and view.steps is None


def test_warming_up_leaves_nothing_behind(studio: Studio, name: str) -> None:
    assert studio.warm_up(name) is studio.network(name)
    assert studio.recipes(name) == ("", "")
    studio.leave(name)


def test_a_mistake_of_the_second_setting_says_so(studio: Studio, name: str) -> None:
    [view] = views(studio, name, FORM, replace(FORM, steps=0))
    assert view.message.startswith("Setting B: steps: 0 is not possible")


def test_large_images_are_limited_in_number() -> None:
    large = without_classes()
    assert most_images(large) == 64
    config = replace(large.model.config, resolution=128, image_channels=3)
    assert most_images(replace(large, model=Denoiser(config, 0.5))) == 21


def test_a_form_reads_back_as_the_sampling_that_it_shows(network: Network) -> None:
    sampling = SamplingConfig(
        sampler="stochastic_heun", steps=7, guidance=2.0, guidance_interval=(0.3, 5.0), s_churn=9.0
    )
    assert read(form_of(sampling, 4), network).sampling == sampling


def test_a_sampler_of_an_extension_stays_the_cells_own(network: Network) -> None:
    own = Extension("mine", code="0" * 64)
    extended = replace(network, sampling=replace(network.sampling, sampler=own))
    assert "mine" in samplers_of(extended) and "mine" not in samplers_of(network)
    assert read(replace(FORM, sampler="mine"), extended).sampling.sampler == own
    assert read(replace(FORM, sampler="euler"), extended).sampling.sampler == "euler"


# drawing ---------------------------------------------------------------------------------------------


def test_the_images_are_those_of_the_sampler_and_every_step_is_seen(studio: Studio, name: str) -> None:
    network = studio.network(name)
    last = views(studio, name, FORM)[-1]
    images = to_uint8(draw(network.model, read(FORM, network).sampling, torch.arange(6), torch.arange(6)))
    pane, none = last.panes
    assert pane is not None and none is None and last.steps == 5 and last.share == 1
    assert re.fullmatch(r"Done: 6 images, 9 network evaluations for each, in [\d.e-]+ s\.", last.message)
    for number, image in enumerate(images):
        assert torch.equal(pixels(pane.denoised, number, columns=3), image[0])
    looked = [studio.look_at(KEY, position) for position in range(6)]
    assert looked[0].message == "σ = 80, step 1 of 5." and looked[5].message == last.message
    assert (
        len({view.panes[0].denoised.tobytes() for view in looked}) == 5
    )  # the last step takes its output as the image


def test_frames_arrive_while_images_are_drawn(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a frame as soon as there is one, and a sampler that waits until it was seen."""
    seen = threading.Semaphore(0)
    original = drawing.Frame

    def frame(*arguments: object) -> drawing.Frame:
        if arguments[0]:
            assert seen.acquire(timeout=30)
        return original(*arguments)

    monkeypatch.setattr(drawing, "Frame", frame)
    steps = []
    for shown in Drawing(network, read(FORM, network), threading.Event()).frames(period_s=0.01):
        steps.append(shown.step)
        seen.release()
    assert steps == [0, 1, 2, 3, 4]


def test_many_steps_are_thinned(network: Network) -> None:
    made = Drawing(network, read(replace(FORM, steps=100, images=1), network), threading.Event())
    list(made.frames())
    steps = [frame.step for frame in made.kept]
    assert len(steps) == drawing.KEPT and steps[0] == 0 and steps[-1] == 99 and steps == sorted(steps)


def test_a_drawing_ends_at_the_step_at_which_it_is_cancelled(network: Network) -> None:
    made = Drawing(network, read(replace(FORM, steps=200), network), threading.Event())
    frames = made.frames(period_s=0.01)
    next(frames)
    made.cancelled.set()
    with pytest.raises(Cancelled):
        list(frames)
    assert made.images is None and len(made.kept) < drawing.KEPT


def test_a_closed_page_ends_its_drawing(network: Network) -> None:
    made = Drawing(network, read(replace(FORM, steps=200), network), threading.Event())
    frames = made.frames(period_s=0.01)
    next(frames)
    frames.close()
    assert isinstance(made.error, Cancelled)
    assert not [thread for thread in threading.enumerate() if thread.name == "drawing"]


def test_cancel_reaches_a_drawing_that_still_waits(studio: Studio, name: str) -> None:
    studio.begin(KEY)
    studio.cancel(KEY)
    [view] = studio.draw(KEY, name, [FORM])
    assert view.message == "Cancelled."
    assert views(studio, name, FORM)[-1].steps == 5  # and the next one is drawn


def test_two_pages_do_not_share_what_they_show(studio: Studio, name: str) -> None:
    views(studio, name, FORM)
    studio.begin("other")
    list(studio.draw("other", name, [replace(FORM, seed=1)]))
    assert "--seed 0" in studio.recipes(KEY)[0] and "--seed 1" in studio.recipes("other")[0]
    studio.leave("other")
    assert studio.recipes("other") == ("", "") and studio.look_at("other", 0) is None
    studio.leave("other")


def test_images_that_are_not_finite_are_said(studio: Studio, name: str) -> None:
    [*_, view] = views(studio, name, replace(FORM, guidance=1e308, steps=3))
    assert view.message == "The images hold values that are not finite numbers; lower the guidance or the churn."


# comparing -------------------------------------------------------------------------------------------


def test_two_settings_start_from_the_same_noise(studio: Studio, name: str) -> None:
    last = views(studio, name, FORM, replace(FORM, steps=3, sampler="euler"))[-1]
    first, second = studio.look_at(KEY, 0).panes
    assert first.noisy.tobytes() == second.noisy.tobytes()
    left, right, difference = (
        pixels(picture, 4, columns=3).int() for picture in (*(pane.denoised for pane in last.panes), last.difference)
    )
    assert torch.equal(difference, (left - right).abs()) and difference.any()
    assert "9 and 3 network evaluations" in last.message and "A and B differ by" in last.message


def test_equal_settings_do_not_differ(studio: Studio, name: str) -> None:
    last = views(studio, name, FORM, FORM)[-1]
    assert "A and B differ by 0.0 grey levels on average" in last.message


# nearest training images -----------------------------------------------------------------------------


def test_a_click_shows_the_nearest_training_images(studio: Studio, name: str) -> None:
    pane, _ = views(studio, name, FORM)[-1].panes
    picture, sentence = studio.neighbours(KEY, 0, x=TILE + 5, y=TILE + 5)  # second row and column of three
    drawn = pixels(pane.denoised, 4, columns=3)
    data = np.load(next(studio.store.root.glob("data/*/images.npy")))
    shown = pixels(picture, 1, columns=3)
    assert torch.equal(pixels(picture, 0, columns=3), drawn)
    assert any(np.array_equal(shown.numpy(), image[0]) for image in data)
    distances = (pixel_rows(torch.from_numpy(data)) - pixel_rows(drawn[None, None])).norm(dim=1)
    distance = float((shown.float() - drawn.float()).norm())
    assert distance >= float(distances.min()) - 1e-3
    assert sentence.startswith(f"Image 4; nearest in pixels: distance {distance:.3g}; nearest in features: distance ")


def test_clicks_that_meet_no_image_are_answered(studio: Studio, name: str) -> None:
    assert studio.neighbours("new page", 0, 0, 0)[1] == "Draw images first."
    views(studio, name, replace(FORM, images=5))
    assert studio.neighbours(KEY, 0, x=2 * TILE + 5, y=TILE + 5)[1] == "There is no image here; click on one."
    assert studio.neighbours(KEY, 1, 0, 0)[1] == "Draw images first."


# recipes and files -----------------------------------------------------------------------------------

SETTINGS = [
    SamplingConfig(steps=4, guidance=2.5, guidance_interval=(0.3, 5.0)),
    SamplingConfig(steps=3, sampler="stochastic_heun", s_churn=5.0, seed=3),
    SamplingConfig(steps=3, sampler="stochastic_euler", s_churn=4 * MAX_GAMMA),
]


@pytest.mark.parametrize("sampling", SETTINGS, ids=lambda each: each.sampler)
@pytest.mark.parametrize("label", [None, 7])
def test_the_command_and_the_lines_draw_the_same_images(
    network: Network, studio: Studio, tmp_path: Path, monkeypatch, sampling: SamplingConfig, label: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = Wanted(sampling, label, 4)
    words = shlex.split(command(network, wanted, studio.store))
    assert words[:2] == ["edm-sweep", "sample"]
    result = CliRunner().invoke(app, [*words[1:], "--out", "command.png"])
    assert result.exit_code == 0, result.output
    exec(python_lines(network, wanted, studio.store), {})
    images = to_uint8(draw(network.model, sampling, torch.arange(4), wanted.labels(10)))
    with Image.open("command.png") as grid, Image.open("grid.png") as row:
        assert torch.equal(torch.from_numpy(np.array(grid))[34 : 34 + 32 : 4, :32:4], images[2, 0])
        assert torch.equal(torch.from_numpy(np.array(row))[:32:4, 68 : 68 + 32 : 4], images[2, 0])


def test_a_model_file_has_python_lines_only(finished: tuple[Plan, Store], tmp_path: Path, monkeypatch) -> None:
    _, store = finished
    monkeypatch.chdir(tmp_path)
    save_model(without_classes().model, tmp_path / "model.safetensors")
    network = load(offers([str(tmp_path)], store)[0], store, CPU)
    wanted = read(replace(FORM, images=2), network)
    assert command(network, wanted, store).startswith("# edm-sweep sample draws from trainings of a store")
    exec(python_lines(network, wanted, store), {})
    images = to_uint8(draw(edm.load(tmp_path), wanted.sampling, torch.arange(2), torch.zeros(2).long()))
    with Image.open("grid.png") as row:
        assert torch.equal(torch.from_numpy(np.array(row))[:32:4, 34 : 34 + 32 : 4], images[1, 0])


def test_the_files_are_the_images_and_their_denoising(studio: Studio, name: str, tmp_path: Path) -> None:
    pane, _ = views(studio, name, FORM)[-1].panes
    png, gif = studio.write_files(KEY, tmp_path)
    with Image.open(png) as picture, Image.open(gif) as animation:
        assert picture.tobytes() == pane.denoised.tobytes()
        assert animation.format == "GIF" and animation.n_frames == 6
    assert studio.write_files("new page", tmp_path) is None


# the command -----------------------------------------------------------------------------------------


def test_without_gradio_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["demo"])
    assert isinstance(result.exception, UserError)
    assert (
        str(result.exception) == "demo: Gradio is not installed; run 'uv sync --extra demo', or install edm-sweep[demo]"
    )


def test_only_the_page_needs_gradio() -> None:
    code = "import sys\nsys.modules['gradio'] = None\nimport experiments.cli.main, experiments.demo.studio"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
