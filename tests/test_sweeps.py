"""Every shipped sweep plans, trains what its header says, costs what it says, and holds the study's configurations."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from edm.config import Extension, ModelConfig, Pretrained, TrainingConfig
from edm.config.canonical import reached_halflife
from edm.cost import num_parameters
from edm.noise import Stream, normals
from edm.pretrained.study import configurations
from edm.samplers import sample
from experiments.inputs import InputFiles
from experiments.sweep.plan import Plan, plan_sweep
from experiments.sweep.reader import load_sweep
from experiments.sweep.shorter import longest_planned
from experiments.sweep.tasks import Training
from tests import ROOT

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
SHARED = ("samplers", "guidance")  # sweeps that use a training of another one
PRETRAINED = ("edm_samplers", "study_checkpoints")  # sweeps that draw from networks of others
UNTRAINED = (*SHARED, *PRETRAINED)
SMALL = (
    "digits",
    "fashion_mnist_small",
    "lengths",
    "preconditioning",
)  # sweeps for a laptop, of which nothing is published
# floating-point operations per second of training and of drawing, as the headers say
GUESSED = (2e13, 2e13)
MEASURED = (6.7e13, 2.3e13)  # with the study's network for 32x32 pixels, on an H200
LARGE = (3.2e14, 2e13)  # with its networks for 128x128; drawing is a guess

# the 2023 study, as its reference file has it: sweep, cell, parameters, batch size, thousands of images
STUDY = [
    ("fashion_mnist", "attention/label_dropout=0.2", 5_031_081, 32, 5000),
    ("fashion_mnist", "no-attention/label_dropout=0.2", 4_150_953, 32, 5000),
    ("fashion_mnist", "attention/label_dropout=1", 5_031_081, 32, 5000),
    ("cifar10", "attention/label_dropout=0.2", 5_033_387, 32, 8000),
    ("cifar10", "no-attention/label_dropout=0.2", 4_153_259, 32, 8000),
    ("cifar10", "attention/label_dropout=1", 5_033_387, 32, 8000),
    ("celeba_sizes", "tiny/none", 30_942_291, 64, 18_750),
    ("celeba_sizes", "tiny/bridge", 35_181_651, 64, 18_750),
    ("celeba_sizes", "small/attention", 80_246_611, 32, 18_750),
    ("celeba_sizes", "big/attention", 81_317_715, 32, 18_750),
]


STUDY_RUNS = {
    **{"cd7361sa": 0, "obsni1b4": 0, "2afztznb": 1, "b1c03cxg": 2, "qilujz38": 2, "kdptvqiq": 3},
    **{"68jizu4x": 4, "o34zhgdu": 5, "xa2po595": 6, "7ehn1vxw": 7},
}


FFHQ = ModelConfig(architecture="ddpmpp", multipliers=(1, 2, 2, 2))


class PublishedFiles(InputFiles):
    """Knows what published networks are without their files, which are not here."""

    def model(self, path: str) -> Pretrained:
        if path.endswith(".pkl"):
            network = FFHQ.network(3, 64, 0) if "ffhq" in path else ModelConfig(architecture="ddpmpp").network(3, 32, 0)
            return Pretrained(path, path, replace(network, augment_labels=9), 0.5)
        run = path.split("/")[-2].removeprefix("run_")
        return Pretrained(path, run, list(configurations())[STUDY_RUNS[run]], None)


def planned(name: str) -> Plan:
    inputs = PublishedFiles()
    return plan_sweep(load_sweep(ROOT / "sweeps" / f"{name}.yaml", (), inputs), inputs)


def header(path: Path) -> str:
    lines = path.read_text().splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


def first_step(training: Training, plan: Plan) -> int:
    """After how many steps a training begins, as a shorter one of its sweep takes those."""
    shorter = longest_planned(plan.shorter.get(training.signature, ()), plan.trainings)
    return plan.trainings[shorter].config.num_steps if shorter is not None else 0


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_it_plans_and_is_named_after_its_file(path: Path) -> None:
    plan = planned(path.stem)
    assert plan.sweep.name == path.stem
    assert len({plan.cell_name(cell) for cell in plan.cells}) == len(plan.cells)
    assert all(e.config.images > e.features.dimension for e in plan.evaluations.values())


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_a_half_life_that_it_sets_is_reached(path: Path) -> None:
    """A longer one would be an axis that does nothing; the default is EDM's."""
    for cell in planned(path.stem).sweep.cells:
        halflife = cell.training.ema_halflife_kimg
        assert halflife in (0, TrainingConfig().ema_halflife_kimg) or halflife < 1.01 * reached_halflife(cell.training)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_its_header_has_the_command_what_it_does_and_what_that_costs(path: Path) -> None:
    head, plan = header(path), planned(path.stem)
    assert f"edm-sweep run sweeps/{path.name}" in head
    evaluations = list(plan.evaluations.values())
    images = evaluations[0].config.images
    assert f"{len(evaluations)} x {images:,} images" in head
    drawing, training = sum(e.flops for e in evaluations), 0.0
    if path.stem in UNTRAINED:
        assert "nothing is trained" in head
    else:
        assert f"Trains {len(plan.trained)} networks" in head
        training = sum(t.flops * (1 - first_step(t, plan) / t.config.num_steps) for t in plan.trained.values())
    said = re.search(r"Cost: ([\d.e+]+) floating-point operations(?:, ([\d.]+) h)?", head)
    assert said is not None
    assert float(said[1]) == pytest.approx(training + drawing, rel=0.05)
    if said[2]:
        known = LARGE if path.stem == "celeba_sizes" else MEASURED
        of_training, of_drawing = known if "on one H200" in head else GUESSED
        assert float(said[2]) == pytest.approx((training / of_training + drawing / of_drawing) / 3600, rel=0.1)


@pytest.mark.parametrize("path", [p for p in SWEEPS if p.stem not in ("digits", *UNTRAINED)], ids=lambda p: p.stem)
def test_its_header_has_the_sizes_of_its_networks(path: Path) -> None:
    said = re.search(r"Trains \d+ networks \((.*?)\)", header(path))
    assert said is not None
    sizes = [num_parameters(training.network) / 1e6 for training in planned(path.stem).trainings.values()]
    for number in re.findall(r"([\d.]+) M", said[1]):
        digits = len(number.partition(".")[2])
        assert number in {f"{size:.{digits}f}" for size in sizes}


@pytest.mark.parametrize("path", [p for p in SWEEPS if p.stem not in SMALL], ids=lambda p: p.stem)
def test_its_header_has_the_published_numbers_to_expect(path: Path) -> None:
    assert re.search(r"Published.*\d\.\d\d", header(path))


@pytest.mark.parametrize(("sweep", "cell", "parameters", "batch_size", "kimg"), STUDY)
def test_the_studys_configurations_are_there(
    sweep: str, cell: str, parameters: int, batch_size: int, kimg: int
) -> None:
    plan = planned(sweep)
    training = next(c.training for c in plan.cells if plan.cell_name(c).startswith(cell))
    config = training.config
    assert num_parameters(training.network) == parameters
    assert (config.batch_size, config.kimg, config.lr) == (batch_size, kimg, 1e-4)
    assert config.ema_halflife_kimg == 0 and config.optimizer == "adam" and not config.warmup_kimg


def test_the_studys_sampling_is_there() -> None:
    for name, sampler, guidance in (
        ("fashion_mnist", "euler", 1),
        ("cifar10", "euler", 2.5),
        ("celeba_sizes", "stochastic_heun", 1),
    ):
        sampling = planned(name).cells[0].evaluation.sampling
        assert (sampling.sampler, sampling.steps, sampling.guidance) == (sampler, 50, guidance)
        assert (sampling.rho, sampling.sigma_min, sampling.sigma_max) == (7, 0.002, 80)
    # it churns by sqrt(2) - 1 at every step
    assert (sampling.s_churn, sampling.s_min, sampling.s_max, sampling.s_noise) == (float("inf"), 0, float("inf"), 1)


@pytest.mark.skipif(not (ROOT.parent / "shared").exists(), reason="the reference file lies beside the repository")
def test_the_table_above_is_the_reference_files() -> None:
    reference: dict[str, Any] = yaml.safe_load((ROOT.parent / "shared/reference/zenchiyu_2023.yaml").read_text())
    configs = reference["configs"].values()
    assert sorted(c["parameters"] for c in configs) == sorted(row[2] for row in STUDY)
    images = {name: split["train"] for name, split in reference["protocol"]["splits"].items()}
    epochs = {"fashion_mnist": 100, "cifar10": 200, "celeba_sizes": 125}
    for sweep, _, _, _, kimg in STUDY:
        assert kimg * 1000 == epochs[sweep] * images[sweep.removesuffix("_sizes")]


@pytest.mark.parametrize("name", SHARED)
def test_a_comparison_of_samplers_trains_nothing_new(name: str) -> None:
    assert set(planned(name).trainings) < set(planned("cifar10").trainings)


# a sampler of one's own -------------------------------------------------------------------------------

RESTART = ROOT / "sweeps" / "extending" / "restart.yaml"


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The denoiser of Gaussian data with standard deviation 0.5."""
    return x * 0.25 / (sigma**2 + 0.25)


def drawn(num_restarts: int, count: int = 400) -> Tensor:
    """Images of Gaussian data, drawn by Restart."""
    base = planned_restart().cells[-1].evaluation.sampling
    assert isinstance(base.sampler, Extension)
    options = {**dict(base.sampler.options), "num_restarts": num_restarts}
    config = replace(base, sampler=replace(base.sampler, options=tuple(options.items())))
    index = torch.arange(count)

    def noise(step: int) -> Tensor:
        return normals(0, Stream.SAMPLING, index, (1, 4, 4), step)

    return sample(gaussian, noise(0), config, lambda step: noise(step + 1))


def planned_restart() -> Plan:
    return plan_sweep(load_sweep(RESTART, (), InputFiles()), InputFiles())


def test_restart_is_compared_at_equally_many_evaluations() -> None:
    plan = planned_restart()
    assert {planned.evaluation.sampling.nfe for planned in plan.cells} == {35}
    head = header(RESTART)
    assert f"{len(plan.evaluations)} x {plan.cells[0].evaluation.config.images:,} images" in head
    flops = sum(task.flops for task in (*plan.trainings.values(), *plan.evaluations.values()))
    said = re.search(r"Cost: ([\d.e+]+) floating-point operations", head)
    assert said is not None and float(said[1]) == pytest.approx(flops, rel=0.05)


def test_restart_without_restarts_is_heuns_method() -> None:
    config = planned_restart().cells[0].evaluation.sampling
    assert config.sampler == "heun"
    start = normals(0, Stream.SAMPLING, torch.arange(400), (1, 4, 4))
    solved = sample(gaussian, start, replace(config, steps=12), lambda step: start)
    torch.testing.assert_close(drawn(0), solved, rtol=1e-12, atol=1e-12)


def test_every_restart_contracts_the_error_of_the_steps_before() -> None:
    """In 12 steps Heun's method ends 14% too wide; restarts forget part of that, as the paper says."""
    none, one, three = (drawn(number) for number in (0, 1, 3))
    assert abs(three.std() - 0.5) < abs(one.std() - 0.5) < abs(none.std() - 0.5)
    assert float((three - none).std()) > 0.05  # the noise that was added on the way is another one
